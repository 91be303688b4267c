import { execFileSync, spawn } from 'node:child_process'
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeEach, describe, expect, it } from 'vitest'
import { writeComposefs } from '../../../../lib/composefs/erofs-write.js'
import { verityDigest } from '../../../../lib/composefs/verity.js'
import { composefs, type ListedEntry } from '../../../../lib/index.js'
import { directory, node } from '../../composefs/random-nodes.js'
import { rejectionOf, useScratch } from '../../linux/scratch.js'

const scratch = useScratch()
const at = (...names: string[]) => join(scratch.path, ...names)

const A = 'a'.repeat(64)
const B = 'b'.repeat(64)
const LINES = [
  '/ 0 40755 4 0 0 0 7.5 - - -',
  '/-\\x20\\\\x20 4 100644 1 0 0 0 8.0 - \\x00b=c -',
  '/etc 0 40755 2 0 0 0 8.0 - - -',
  `/etc/hosts 100 100644 2 0 0 0 8.0 aa/${'a'.repeat(62)} - ${A} user.x=1`,
  '/etc/link 0 120777 1 0 0 0 8.0 /a\\x20b - -',
  `/hosts 100 @100644 2 0 0 0 8.0 /etc/hosts - -`,
  '/null 0 20666 1 0 0 259 8.0 - - -',
  `/usr 0 40755 2 0 0 0 8.0 - - -`,
  `/usr/again 100 100644 1 0 0 0 8.0 aa/${'a'.repeat(62)} - ${A}`,
  `/usr/odd 70 100644 1 0 0 0 8.0 -\\n=/x - -`,
  `/usr/other 9000 100644 1 0 0 0 8.0 bb/${'b'.repeat(62)} - ${B}`,
]

async function image(name: string, lines: readonly string[]): Promise<string> {
  const text = `${lines.join('\n')}\n`
  const dump = async function* () {
    yield Buffer.from(text)
  }
  await composefs.make({ dump: dump(), image: at(name) })
  return at(name)
}

let path = ''
beforeEach(async () => {
  path = await image('image', LINES)
})

const bytes = async function* (from: string) {
  const all = readFileSync(from)
  for (let i = 0; i < all.length; i += 1000) yield all.subarray(i, i + 1000)
}

describe('the list of an image', () => {
  it('has all entries in order, escaped, with what they lead to', async () => {
    const [listing] = await composefs.list({ images: [path] })
    const entry = (name: string, kind: string, more = {}) => ({
      path: name,
      kind,
      target: null,
      object: null,
      linkTo: null,
      ...more,
    })
    expect({ ...listing, entries: [...listing!.entries()] }).toEqual({
      image: path,
      entries: [
        // A blank stays a blank, and what was written as a backslash and x20 stays that.
        entry('/- \\\\x20', 'file'),
        entry('/etc', 'directory'),
        entry('/etc/hosts', 'file', { object: `aa/${'a'.repeat(62)}` }),
        entry('/etc/link', 'symlink', { target: '/a\\x20b' }),
        entry('/hosts', 'file', { linkTo: '/etc/hosts' }),
        entry('/null', 'char'),
        entry('/usr', 'directory'),
        entry('/usr/again', 'file', { object: `aa/${'a'.repeat(62)}` }),
        entry('/usr/odd', 'file', { object: '-\\n=/x' }),
        entry('/usr/other', 'file', { object: `bb/${'b'.repeat(62)}` }),
      ],
    })
  })

  it('has only what the filter names', async () => {
    const [listing] = await composefs.list({ images: [path], filter: ['null', 'hosts', 'nosuch'] })
    expect([...listing!.entries()].map((entry) => [entry.path, entry.object])).toEqual([
      ['/hosts', `aa/${'a'.repeat(62)}`],
      ['/null', null],
    ])
    expect(await rejectionOf(composefs.list({ images: [path], filter: ['a/b'] }))).toMatchObject({
      code: 'option-invalid',
      facts: { option: 'filter', value: 'a/b' },
    })
  })
})

describe('the list of an image of deep directories', () => {
  it('is made while it is taken, with the paths of further names', async () => {
    const name = 'n'.repeat(255)
    const file = node({ nlink: 2 })
    let deep = directory({ a: file, b: { kind: 'link', target: file } })
    for (let i = 0; i < 600; i++) deep = directory({ [name]: deep })
    writeFileSync(at('deep'), Buffer.concat([...writeComposefs(deep)]))
    const [listing] = await composefs.list({ images: [at('deep')] })
    let last: ListedEntry | undefined
    let chars = 0
    for (const entry of listing!.entries()) {
      last = entry
      chars += entry.path.length
    }
    expect(chars).toBeGreaterThan(100 * readFileSync(at('deep')).length)
    expect(last).toMatchObject({
      path: expect.stringMatching(/n\/b$/),
      linkTo: expect.stringMatching(/n\/a$/),
    })
  })
})

describe('the dump of an image', () => {
  const textOf = async (filter: readonly string[] = []) =>
    (await composefs.dump({ images: [path], filter })).map(({ text }) => [...text()].join(''))

  it('makes the same image again', async () => {
    const [text = ''] = await textOf()
    expect(text).toContain(`\n/hosts 100 @100644 2 0 0 0 8.0 /etc/hosts - ${A} user.x=1\n`)
    writeFileSync(at('dump'), text)
    await composefs.make({ dump: at('dump'), image: at('again') })
    expect(readFileSync(at('again'))).toEqual(readFileSync(path))
  })

  it('with a filter has the top as it is, and the first name that is left as the file', async () => {
    const [whole = ''] = await textOf()
    const [text = ''] = await textOf(['hosts'])
    expect(text.split('\n')).toEqual([
      whole.split('\n')[0],
      `/hosts 100 100644 2 0 0 0 8.0 aa/${'a'.repeat(62)} - ${A} user.x=1`,
      '',
    ])
    expect(whole.split('\n')[0]).toMatch(/^\/ \d+ 40755 4 /)
  })
})

describe('objects', () => {
  it('are told sorted, once for all images, escaped', async () => {
    const other = await image('other', [
      '/ 0 40755 2 0 0 0 0.0 - - -',
      `/f 9000 100644 1 0 0 0 0.0 bb/${'b'.repeat(62)} - ${B}`,
      '/g 9000 100644 1 0 0 0 0.0 00/plain - -',
    ])
    expect(await composefs.objects({ images: [path, bytes(other)] })).toEqual([
      '-\\n=/x',
      '00/plain',
      `aa/${'a'.repeat(62)}`,
      `bb/${'b'.repeat(62)}`,
    ])
    expect(await composefs.objects({ images: [path], filter: ['hosts'] })).toEqual([`aa/${'a'.repeat(62)}`])
    expect(await composefs.objects({ images: [path], filter: ['null'] })).toEqual([])
  })

  it('are missing where the kernel would not find them', async () => {
    const basedir = at('objects')
    mkdirSync(join(basedir, 'aa'), { recursive: true })
    const missing = () => composefs.missingObjects({ images: [path], basedir })
    const [a, b] = [`aa/${'a'.repeat(62)}`, `bb/${'b'.repeat(62)}`]
    expect(await missing()).toEqual(['-\\n=/x', a, b])
    writeFileSync(join(basedir, a), '')
    mkdirSync(join(basedir, b), { recursive: true })
    expect(await missing()).toEqual(['-\\n=/x', b])
    mkdirSync(join(basedir, '-\n='))
    symlinkSync(join(basedir, a), join(basedir, '-\n=/x'))
    expect(await missing()).toEqual(['-\\n=/x', b])
  })

  it('are never looked for outside of the directory', async () => {
    mkdirSync(at('objects/aa'), { recursive: true })
    writeFileSync(at('outside'), '')
    symlinkSync('..', at('objects/up'))
    const escaping = await image('escaping', [
      '/ 0 40755 2 0 0 0 0.0 - - -',
      '/f 9000 100644 1 0 0 0 0.0 ../outside - -',
      '/g 9000 100644 1 0 0 0 0.0 up/outside - -',
      '/h 9000 100644 1 0 0 0 0.0 aa/../../outside - -',
    ])
    const missing = await composefs.missingObjects({ images: [escaping], basedir: at('objects') })
    expect(missing).toEqual(['../outside', 'aa/../../outside', 'up/outside'])
  })

  it.each([
    ['nosuch', 'file-missing'],
    ['image', 'usage-invalid'],
  ])('are not looked for in %s', async (name, code) => {
    const error = await rejectionOf(composefs.missingObjects({ images: [path], basedir: at(name) }))
    expect(error).toMatchObject({ code, facts: { path: at(name) } })
  })
})

describe('the description of an image', () => {
  it('has its identity and what it holds', async () => {
    const all = readFileSync(path)
    const info = {
      image: path,
      digest: verityDigest(all),
      hash: 'sha256',
      version: 0,
      acl: false,
      bytes: all.length,
      inodes: 10 + 256,
      entries: { file: 5, directory: 3, symlink: 1, char: 1, block: 0, fifo: 0, socket: 0, links: 1 },
      objects: 3,
      objectBytes: 100 + 70 + 9000,
      inlineFiles: 1,
      verity: 'none',
      oldest: '7.000000005',
    }
    expect(await composefs.info({ images: [path] })).toEqual([info])
    expect(await composefs.info({ images: [bytes(path)], hash: 'sha512' })).toEqual([
      { ...info, image: null, hash: 'sha512', digest: verityDigest(all, 'sha512') },
    ])
  })

  it.each([
    [[`a/x - ${A}`], 'sha256'],
    [[`a/x - ${A}`, 'b/y - -'], 'none'],
    [[], 'none'],
  ])('says of %j that the digests are %s', async (fields, verity) => {
    const files = fields.map((each, i) => `/f${i} 100 100644 1 0 0 0 0.0 ${each}`)
    const made = await image('some', ['/ 0 40755 2 0 0 0 -1.5 - - -', ...files])
    expect(await composefs.info({ images: [made] })).toMatchObject([{ verity, oldest: '-0.999999995' }])
  })
})

describe('what is no image', () => {
  it.each([
    ['a short file', () => Buffer.from('short')],
    ['zeros', () => Buffer.alloc(8192)],
    ['a cut image', () => readFileSync(path).subarray(0, 8192)],
    ['an image with more behind it', () => Buffer.concat([readFileSync(path), Buffer.alloc(4096)])],
    [
      'an altered image',
      () => {
        const all = readFileSync(path)
        all[1200]! ^= 1
        return all
      },
    ],
  ])('is refused by name: %s', async (_, contents) => {
    writeFileSync(at('wrong'), contents())
    for (const call of [composefs.info, composefs.list, composefs.dump, composefs.objects]) {
      const error = await rejectionOf(call({ images: [at('wrong')] }))
      expect(error).toMatchObject({ code: 'composefs-invalid', facts: { path: at('wrong') } })
      expect(error.message).toContain(`Cannot read "${at('wrong')}" as a composefs image`)
    }
  })

  it('is not read for ever, nor into memory because it says that it is large', async () => {
    expect(await rejectionOf(composefs.info({ images: ['/dev/zero'] }))).toMatchObject({
      code: 'composefs-invalid',
    })
    const huge = readFileSync(path)
    huge.writeUInt32LE(0xffff_ffff, 1024 + 36)
    writeFileSync(at('huge'), huge)
    expect(await rejectionOf(composefs.info({ images: [at('huge')] }))).toMatchObject({
      code: 'limit-exceeded',
      facts: { path: at('huge') },
    })
  })

  it('is refused when it is not there, or a directory', async () => {
    expect(await rejectionOf(composefs.list({ images: [at('nosuch')] }))).toMatchObject({
      code: 'file-missing',
    })
    expect(await rejectionOf(composefs.list({ images: [scratch.path] }))).toMatchObject({
      code: 'usage-invalid',
    })
  })
})

describe('the digest of a file', () => {
  it('is computed, of files and of bytes', async () => {
    for (const size of [0, 1, 4096, 4097, 600_000]) {
      const content = Buffer.alloc(size, 'z')
      writeFileSync(at('file'), content)
      const [digest, digest512] = [verityDigest(content), verityDigest(content, 'sha512')]
      expect(await composefs.measure({ files: [at('file'), bytes(at('file'))] })).toEqual([
        { file: at('file'), digest, hash: 'sha256', by: 'computation' },
        { file: null, digest, hash: 'sha256', by: 'computation' },
      ])
      expect(await composefs.measure({ files: [at('file')], hash: 'sha512' })).toMatchObject([
        { digest: digest512 },
      ])
    }
  })

  it('of an empty file is that of the kernel', async () => {
    writeFileSync(at('file'), '')
    const [measured] = await composefs.measure({ files: [at('file')] })
    expect(measured?.digest).toBe('3d248ca542a24fc62d1c43b916eae5016878e2533c88238480b26128a1f1af95')
  })

  it('is refused for a directory, and for what is not there', async () => {
    expect(await rejectionOf(composefs.measure({ files: [scratch.path] }))).toMatchObject({
      code: 'usage-invalid',
    })
    expect(await rejectionOf(composefs.measure({ files: [at('nosuch')] }))).toMatchObject({
      code: 'file-missing',
      facts: { path: at('nosuch') },
    })
  })

  it('is read through a pipe', async () => {
    execFileSync('mkfifo', [at('fifo')])
    const measured = composefs.measure({ files: [at('fifo')] })
    spawn('sh', ['-c', 'printf hello > "$1"', 'sh', at('fifo')])
    expect(await measured).toMatchObject([{ digest: verityDigest(Buffer.from('hello')) }])
  })
})
