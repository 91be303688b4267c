import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeEach, describe, expect, it } from 'vitest'
import { readMountOptions } from '../../cli/composefs-mount.js'
import { writeComposefs } from '../../lib/composefs/erofs-write.js'
import { composefs } from '../../lib/index.js'
import { directory as deepDirectory } from '../lib/composefs/random-nodes.js'
import { useScratch } from '../lib/linux/scratch.js'
import { result } from './fake-library.js'

const scratch = useScratch()
const at = (...names: string[]) => join(scratch.path, ...names)
const ROOT = '/ 0 40755 2 0 0 0 0.0 - - -\n'
const WHITEOUT = '/w 0 20600 1 0 0 0 0.0 - - -\n'

const run = (args: readonly string[], wish?: Parameters<typeof result>[1]) =>
  result(['composefs', ...args], wish)
const bytes = (latin1: string) => Buffer.from(latin1, 'latin1')

async function digestOf(
  dump: string,
  versions: { minVersion?: 0 | 1; maxVersion?: 0 | 1 } = {},
): Promise<string> {
  const text = async function* () {
    yield Buffer.from(dump)
  }
  return (await composefs.make({ dump: text(), ...versions })).digest
}

let directory = ''
beforeEach(() => {
  directory = at('source')
  mkdirSync(directory)
  writeFileSync(`${directory}/file`, 'x'.repeat(100))
})

describe('composefs mk', () => {
  it('writes an image and says nothing', async () => {
    expect(await run(['mk', directory, at('image')])).toMatchObject({ status: 0, stdout: '', stderr: '' })
    expect((await composefs.info({ images: [at('image')] }))[0]).toMatchObject({ objects: 1 })
  })

  it('prints the digest when asked, with an image or alone', async () => {
    const { digest } = await composefs.make({ directory })
    expect(await run(['mk', '--print-digest', directory, at('image')])).toMatchObject({
      status: 0,
      stdout: `${digest}\n`,
    })
    expect(await run(['mk', '--print-digest-only', directory])).toMatchObject({
      status: 0,
      stdout: `${digest}\n`,
    })
    expect(await run(['mk', '--print-digest-only', '--print-digest', directory])).toMatchObject({
      stdout: `${digest}\n`,
    })
  })

  it('reads a dump from standard input and writes the image to standard output, the digest behind it', async () => {
    const { status, stdout, stderr } = await run(['mk', '--from-file', '-', '-'], { input: ROOT })
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
    const digest = await digestOf(ROOT)
    const image = async function* () {
      yield bytes(stdout)
    }
    expect(await composefs.info({ images: [image()] })).toMatchObject([{ digest }])
    const both = await run(['mk', '--from-file', '--print-digest', '-', '-'], { input: ROOT })
    expect(both.stdout).toBe(`${stdout}${digest}\n`)
  })

  it('answers in JSON', async () => {
    const { stdout } = await run(['mk', '--json', '--digest-store', at('objects'), directory, at('image')])
    const { digest } = await composefs.make({ directory })
    expect(JSON.parse(stdout)).toEqual({
      image: at('image'),
      digest,
      hash: 'sha256',
      version: 0,
      inodes: 258,
      bytes: readFileSync(at('image')).length,
      objects: 1,
    })
    const only = await run(['mk', '--json', '--print-digest-only', directory])
    expect(JSON.parse(only.stdout)).toMatchObject({ image: null, digest, objects: null })
  })

  it.each([
    [[], {}],
    [['--min-version=0'], { minVersion: 0, maxVersion: 0 }],
    [['--min-version=1'], { minVersion: 1, maxVersion: 0 }],
    [['--max-version=0'], { minVersion: 0, maxVersion: 0 }],
    [['--max-version=1'], { minVersion: 0, maxVersion: 1 }],
    [['--min-version=0', '--max-version', '1'], {}],
  ] as const)('with %j chooses the version as mkcomposefs does', async (options, versions) => {
    for (const input of [ROOT, ROOT + WHITEOUT]) {
      const { stdout } = await run(['mk', ...options, '--from-file', '--print-digest-only', '-'], { input })
      expect(stdout).toBe(`${await digestOf(input, versions)}\n`)
    }
  })

  it('hands on what shall be read of a directory', async () => {
    const asked: unknown[] = []
    const options = '--use-epoch --skip-devices --user-xattrs --threads 3 --hash sha512 --scan-like=1.0.8'
    const library = {
      composefs: {
        ...composefs,
        make: async ({ signal: _, ...request }: object & { signal?: unknown }) => {
          asked.push(request)
          return { digest: 'd', hash: 'sha512', version: 0, inodes: 1, bytes: 1, objects: null }
        },
      },
    }
    await run(['mk', ...options.split(' '), '--digest-store=o', 'source', 'image'], {
      library: library as never,
    })
    await run(['mk', '--print-digest-only', '--skip-xattrs', 'source'], { library: library as never })
    expect(asked).toEqual([
      {
        directory: 'source',
        image: 'image',
        hash: 'sha512',
        digestStore: 'o',
        useEpoch: true,
        skipDevices: true,
        xattrs: 'user',
        threads: 3,
        hardLinks: 'split',
      },
      {
        directory: 'source',
        hash: 'sha256',
        useEpoch: false,
        skipDevices: false,
        xattrs: 'none',
        hardLinks: 'keep',
      },
    ])
  })

  it('is strict with dumps when CFS_PARSE_STRICT is set, to whatever', async () => {
    const input = ROOT.trimEnd()
    const line = ['mk', '--from-file', '--print-digest-only', '-']
    expect((await run(line, { input })).status).toBe(0)
    const strict = await run(line, { input, env: { CFS_PARSE_STRICT: '' } })
    expect(strict).toMatchObject({ status: 17, stdout: '' })
    expect(strict.stderr).toContain('it does not end with a newline')
  })

  it('takes options of directories with a dump, as mkcomposefs does, and says that they mean nothing', async () => {
    const ran = await run(
      ['mk', '--from-file', '--use-epoch', '--digest-store=o', '--print-digest-only', '-'],
      {
        input: ROOT,
      },
    )
    expect(ran).toMatchObject({
      status: 0,
      stdout: `${await digestOf(ROOT)}\n`,
      stderr:
        'groot: warning: --digest-store means nothing with --from-file\ngroot: warning: --use-epoch means nothing with --from-file\n',
    })
    expect(existsSync('o')).toBe(false)
  })

  it.each([
    [['source'], 2, 'it needs IMAGE, or --print-digest-only'],
    [['--print-digest', 'source'], 2, 'it needs IMAGE, or --print-digest-only'],
    [
      ['--print-digest-only', 'source', 'image'],
      2,
      '--print-digest-only writes no image, and "image" is given',
    ],
    [['', 'image'], 2, 'a path is empty'],
    [['source', ''], 2, 'a path is empty'],
    [
      ['--skip-xattrs', '--user-xattrs', 'source', 'image'],
      2,
      '--skip-xattrs and --user-xattrs exclude each other',
    ],
    [['--json', 'source', '-'], 2, 'cannot both go to standard output'],
    [['one', 'two', 'three'], 2, 'it takes SOURCE and IMAGE, not 3 arguments'],
    [['--print-digest-only', '/nosuch'], 13, 'Cannot scan "/nosuch": there is no such directory'],
    [['--print-digest-only', '/etc/passwd'], 2, 'it is no directory; --from-file reads text'],
    [['--from-file', '--print-digest-only', '/nosuch'], 13, 'there is no such file'],
    [['--print-digest', '/nosuch', '/nosuch/image'], 13, 'the directory that it would be in is not there'],
  ])('%j is refused', async (args, status, message) => {
    const ran = await run(['mk', ...args])
    expect({ status: ran.status, stdout: ran.stdout }).toEqual({ status, stdout: '' })
    expect(ran.stderr).toContain(message)
  })

  it('writes no image to a terminal', async () => {
    const ran = await run(['mk', directory, '-'], { isAnswerTerminal: true })
    expect(ran).toMatchObject({
      status: 2,
      stdout: '',
      stderr: 'groot: Cannot make an image: standard output is a terminal, and images are not text\n',
    })
  })

  it('fails when nobody takes the image', async () => {
    const writeAnswer = async () => {
      throw Object.assign(new Error('EPIPE: broken pipe'), { code: 'EPIPE' })
    }
    expect(await run(['mk', directory, '-'], { writeAnswer })).toMatchObject({ status: 20 })
    expect(await run(['mk', '--print-digest-only', directory], { writeAnswer })).toMatchObject({ status: 0 })
  })

  it('needs no home and no store', async () => {
    const ran = await run(['mk', '--print-digest-only', directory], { env: {}, uid: 1000 })
    expect(ran).toMatchObject({ status: 0, stderr: '', opened: [] })
  })
})

describe('composefs info, ls, dump, objects and measure', () => {
  let image = ''
  beforeEach(async () => {
    image = at('image')
    writeFileSync(
      at('dump'),
      `${ROOT}/a\\x20b 1 100644 1 0 0 0 0.0 - \\x00 -\n/d 0 40755 2 0 0 0 0.0 - - -\n/l 0 120777 1 0 0 0 0.0 to - -\n/o 9 100644 2 0 0 0 0.0 aa/b - -\n/p 9 @100644 2 0 0 0 0.0 /o - -\n`,
    )
    await composefs.make({ dump: at('dump'), image })
  })

  it('list entries', async () => {
    const lines = '/a b\n/d/\t\n/l\t-> to\n/o\t@ aa/b\n/p\n'
    expect(await run(['ls', image])).toMatchObject({ status: 0, stdout: lines, stderr: '' })
    expect(await run(['ls', image, '-'], { input: [readFileSync(image)] })).toMatchObject({
      stdout: lines + lines,
    })
    expect(await run(['ls', '--filter=l', '--filter', 'o', image])).toMatchObject({
      stdout: '/l\t-> to\n/o\t@ aa/b\n',
    })
    const { stdout } = await run(['ls', '--json', '--filter=p', image])
    expect(JSON.parse(stdout)).toEqual([
      { image, entries: [{ path: '/p', kind: 'file', target: null, object: 'aa/b', linkTo: null }] },
    ])
  })

  it.each([['ls'], ['ls', '--json'], ['dump', '--json']])(
    '%s %s writes long answers in pieces',
    async (...line) => {
      let deep = deepDirectory({})
      for (let i = 0; i < 300; i++) deep = deepDirectory({ ['n'.repeat(255)]: deep })
      writeFileSync(image, Buffer.concat([...writeComposefs(deep)]))
      const pieces: string[] = []
      const writeAnswer = async (piece: unknown) => void pieces.push(String(piece))
      expect((await run([...line, image], { writeAnswer })).status).toBe(0)
      expect(pieces.join('').length).toBeGreaterThan(10 ** 7)
      expect(Math.max(...pieces.map(({ length }) => length))).toBeLessThan(300_000)
      if (line.includes('--json')) expect(JSON.parse(pieces.join(''))).toMatchObject([{ image }])
    },
  )

  it('answer in JSON for no entries and several images', async () => {
    const { stdout } = await run(['ls', '--json', '--filter=none', image, '-'], {
      input: [readFileSync(image)],
    })
    expect(stdout).toBe(
      `${JSON.stringify([
        { image, entries: [] },
        { image: null, entries: [] },
      ])}\n`,
    )
  })

  it('print dumps', async () => {
    const { stdout } = await run(['dump', image])
    expect(stdout.split('\n').slice(1)).toEqual([
      '/a\\x20b 1 100644 1 0 0 0 0.0 - \\x00 -',
      expect.stringMatching(/^\/d \d+ 40755 2 0 0 0 0\.0 - - -$/),
      '/l 2 120777 1 0 0 0 0.0 to - -',
      '/o 9 100644 2 0 0 0 0.0 aa/b - -',
      '/p 9 @100644 2 0 0 0 0.0 /o - -',
      '',
    ])
    const [document] = JSON.parse((await run(['dump', '--json', '--filter=p', '--filter=o', image])).stdout)
    expect(document.entries.slice(1)).toEqual([
      {
        path: '/o',
        size: '9',
        mode: '100644',
        nlink: 2,
        uid: 0,
        gid: 0,
        rdev: 0,
        mtime: '0.0',
        linkTo: null,
        payload: 'aa/b',
        content: null,
        digest: null,
        xattrs: {},
      },
      expect.objectContaining({ path: '/p', linkTo: '/o', payload: null }),
    ])
  })

  it('list objects, and those that are missing', async () => {
    expect(await run(['objects', image])).toMatchObject({ status: 0, stdout: 'aa/b\n' })
    expect(await run(['objects', '--json', image])).toMatchObject({ stdout: '["aa/b"]\n' })
    expect(await run(['missing-objects', `--basedir=${scratch.path}`, image])).toMatchObject({
      stdout: 'aa/b\n',
    })
    mkdirSync(at('aa'))
    writeFileSync(at('aa/b'), '')
    const none = { status: 0, stdout: '' }
    expect(await run(['missing-objects', '--basedir', scratch.path, image])).toMatchObject(none)
    expect(await run(['missing-objects', image])).toMatchObject({ status: 2, stdout: '' })
  })

  it('show what an image is', async () => {
    const digest = (await composefs.info({ images: [image] }))[0]?.digest
    expect((await run(['info', image])).stdout.split('\n')).toEqual([
      image,
      `  digest   ${digest} (fs-verity, sha256)`,
      '  version  0',
      `  size     ${readFileSync(image).length} bytes, 261 inodes`,
      '  holds    2 files, 2 directories, 1 symlink, 1 further name',
      '  objects  1, 9 bytes, not all with a digest',
      '  inline   1 file',
      '',
    ])
    expect(JSON.parse((await run(['info', '--json', image])).stdout)).toEqual(
      await composefs.info({ images: [image] }),
    )
    expect(await run(['measure', image])).toMatchObject({ stdout: `${digest}\n` })
    const sha512 = (await run(['measure', '--hash=sha512', '-'], { input: [readFileSync(image)] })).stdout
    expect(sha512).toMatch(/^[0-9a-f]{128}\n$/)
    expect(JSON.parse((await run(['measure', '--json', image])).stdout)).toEqual([
      { file: image, digest, hash: 'sha256', by: 'computation' },
    ])
  })

  it('print nothing when one of several images is damaged', async () => {
    writeFileSync(at('wrong'), 'nonsense')
    for (const verb of ['info', 'ls', 'dump', 'objects']) {
      const { status, stdout, stderr } = await run([verb, image, at('wrong')])
      expect({ verb, status, stdout }).toEqual({ verb, status: 17, stdout: '' })
      expect(stderr).toContain(`Cannot read "${at('wrong')}" as a composefs image`)
    }
  })

  it('read standard input once', async () => {
    expect(await run(['ls', '-', '-'])).toMatchObject({
      status: 2,
      stderr: 'groot: Cannot read standard input twice: "-" is given more than once\n',
    })
  })
})

describe('composefs mount', () => {
  it('reads the options of mount.composefs', () => {
    expect(readMountOptions('basedir=/a:/b,upperdir=/u,workdir=/w,digest=ab,verity,rw')).toEqual({
      objects: ['/a', '/b'],
      upper: '/u',
      work: '/w',
      digest: 'ab',
      verity: 'require',
      readOnly: false,
    })
    expect(readMountOptions('ro,basedir=/x\\,y\\\\z=1')).toEqual({
      objects: ['/x,y\\z=1'],
      verity: 'off',
      readOnly: true,
    })
    expect(readMountOptions('ro,rw,noverity,basedir=a')).toMatchObject({ readOnly: false, verity: 'off' })
  })

  it.each([
    ['', 'option-invalid', 'basedir'],
    ['basedir', 'option-invalid', 'basedir'],
    ['basedir=', 'option-invalid', 'basedir'],
    ['basedir=a::b', 'option-invalid', 'basedir'],
    ['basedir=a,nosuch', 'option-invalid', 'nosuch'],
    ['basedir=a,ro=1', 'option-invalid', 'ro'],
    ['basedir=a,verity,noverity', 'option-invalid', 'noverity'],
    ['basedir=a,,ro', 'option-invalid', ''],
    ['basedir=a,__proto__=x', 'option-invalid', '__proto__'],
  ])('refuses %j', (text, code, value) => {
    expect(() => readMountOptions(text)).toThrow(
      expect.objectContaining({ code, facts: { option: 'options', value } }),
    )
  })

  it('refuses by name what it cannot', async () => {
    expect(() => readMountOptions('basedir=a,idmap=/proc/1/ns/user')).toThrow(
      expect.objectContaining({ code: 'system-unsupported', facts: { option: 'idmap' } }),
    )
    expect(await run(['mount', '-t', 'ext4', '-o', 'basedir=a', 'image', 'target'])).toMatchObject({
      status: 2,
    })
  })

  it.each([
    ['image', 'nosuch', 13, 'there is no directory'],
    ['nosuch', '.', 13, 'there is no such file'],
    ['image', 'image', 2, 'is no directory'],
    ['.', '.', 2, 'it is a directory'],
    ['image', '.', 17, 'it does not begin as composefs images do'],
  ])('of %s on %s is refused before anything is mounted', async (image, target, status, message) => {
    writeFileSync(at('image'), Buffer.alloc(8192))
    const ran = await run([
      'mount',
      '-t',
      'composefs',
      '-o',
      `basedir=${scratch.path}`,
      at(image),
      at(target),
    ])
    expect({ status: ran.status, stdout: ran.stdout }).toEqual({ status, stdout: '' })
    expect(ran.stderr).toContain(message)
    expect(readdirSync(scratch.path).sort()).toEqual(['image', 'source'])
  })

  it('needs what is written and where it is prepared together', async () => {
    const options = `basedir=${scratch.path},upperdir=${directory}`
    expect(await run(['mount', '-o', options, at('image'), directory])).toMatchObject({
      status: 2,
      stderr: 'groot: Cannot mount: upper and work directory go together\n',
    })
  })
})

describe('help', () => {
  it('of the group names its verbs, of the command the group', async () => {
    const group = await run(['--help'])
    expect(group).toMatchObject({ status: 0, stderr: '' })
    for (const verb of ['mk', 'info', 'ls', 'dump', 'objects', 'missing-objects', 'measure', 'mount'])
      expect(group.stdout).toContain(`groot composefs ${verb} `)
    const command = (await result('--help')).stdout
    expect(command).toContain('groot composefs VERB …')
    expect(command).not.toContain('composefs mk')
    expect(await run([])).toMatchObject({ status: 2, stdout: '' })
  })

  it('of a verb has its options', async () => {
    const { stdout } = await run(['mount', '--help'])
    expect(stdout).toMatch(
      /^groot composefs mount \[options\] IMAGE TARGET\n[\s\S]*-o, --options[\s\S]*-t, --type/,
    )
  })
})
