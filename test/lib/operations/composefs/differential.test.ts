/**
 * Against the C tools themselves, where they can be run: by the paths in GROOT_MKCOMPOSEFS and GROOT_COMPOSEFS_INFO, or
 * from PATH.
 */
import { spawnSync } from 'node:child_process'
import { linkSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { byteString } from '../../../../lib/bytes.js'
import { composefs } from '../../../../lib/index.js'
import { pathString } from '../../../../lib/linux/c-string.js'
import { close, makeNodeAt, openDirectory } from '../../../../lib/linux/files.js'
import { setXattrAt } from '../../../../lib/linux/xattr.js'
import { result } from '../../../cli/fake-library.js'
import { isRoot, useScratch } from '../../linux/scratch.js'

const MKCOMPOSEFS = process.env.GROOT_MKCOMPOSEFS ?? 'mkcomposefs'
const COMPOSEFS_INFO = process.env.GROOT_COMPOSEFS_INFO ?? 'composefs-info'
const hasTools = [MKCOMPOSEFS, COMPOSEFS_INFO].every(
  (tool) => spawnSync(tool, ['--help']).error === undefined,
)

const scratch = useScratch()
const at = (...names: string[]) => join(scratch.path, ...names)

function tool(name: string, ...args: string[]): { status: number | null; stdout: string } {
  const { status, stdout } = spawnSync(name, args, { encoding: 'latin1', maxBuffer: 2 ** 30 })
  return { status, stdout }
}

async function groot(...args: string[]): Promise<{ status: number; stdout: string }> {
  const { status, stdout } = await result(['composefs', ...args])
  return { status, stdout }
}

/** A tree with one of everything that can be made here. */
function makeTree(): string {
  const directory = at('tree')
  mkdirSync(`${directory}/etc`, { recursive: true })
  for (const size of [0, 1, 63, 64, 65, 4095, 4096, 4097, 524_288, 524_289, 1_048_577])
    writeFileSync(`${directory}/f${size}`, Buffer.alloc(size, `${size} `))
  for (let i = 0; i < 300; i++) writeFileSync(`${directory}/etc/entry-${i}`, `${i} `.repeat(i))
  linkSync(`${directory}/f65`, `${directory}/etc/hard`)
  linkSync(`${directory}/f1`, `${directory}/another`)
  symlinkSync('x'.repeat(300), `${directory}/link`)
  symlinkSync('../a b', `${directory}/etc/link`)
  for (const name of ['caf\xe9', '\x80\xff', 'a b', 'new\nline', 'back\\slash', '-', '=', ' ', 'tab\t'])
    writeFileSync(Buffer.from(`${directory}/${name}`, 'latin1'), 'y'.repeat(70))
  const fd = openDirectory(pathString(directory))
  try {
    makeNodeAt(fd, byteString('fifo'), 'fifo', 0o600)
    setXattrAt(fd, byteString('f65'), byteString('user.one'), byteString('1'))
    setXattrAt(fd, byteString('f4096'), byteString('user.one'), byteString('1'))
    if (isRoot) {
      makeNodeAt(fd, byteString('null'), 'char', 0o666, 1, 3)
      makeNodeAt(fd, byteString('disk'), 'block', 0o660, 259, 70_000)
      makeNodeAt(fd, byteString('whiteout'), 'char', 0o600, 0, 0)
      setXattrAt(fd, byteString('etc'), byteString('trusted.overlay.opaque'), byteString('y'))
      setXattrAt(fd, byteString('link'), byteString('security.x'), byteString('z'))
    }
  } finally {
    close(fd)
  }
  return directory
}

/**
 * Dumps in which two things are the same that differ: attributes stand in byte order in groot's, and in that of the image
 * in those of composefs-info. And of a FIFO or socket whose inode is an extended one for a size that is not in the image,
 * groot tells such a size, so that the same image comes of the dump; composefs-info tells 0, of which another one comes.
 */
function comparable(text: string): string {
  return text
    .replace(/^(\S+) 4294967296 (10|140)(?=\d{3} )/gm, '$1 0 $2')
    .replace(/^((?:\S+ ){10}\S+) (.+)$/gm, (_, fields: string, xattrs: string) =>
      [fields, ...xattrs.split(' ').sort()].join(' '),
    )
}

/**
 * Of a backing path that is shorter than those of objects, composefs-info 1.0.8 prints what happens to stand behind it in
 * memory, too.
 */
async function isOverread(image: string): Promise<boolean> {
  return (await composefs.objects({ images: [image] })).some((path) => path.length < 66)
}

/** The paths of objects are escaped here as everywhere; composefs-info prints them raw. */
const ODD_PAYLOADS = ['payload-odd.dump']

const GOLDEN = new URL('../../../golden/composefs/', import.meta.url)

describe.skipIf(!hasTools)('the C tools and groot (needs mkcomposefs and composefs-info)', () => {
  it.each([
    [],
    ['--use-epoch'],
    ['--skip-devices'],
    ['--skip-xattrs'],
    ['--user-xattrs'],
    ['--min-version=0'],
    ['--min-version=1'],
    ['--max-version=1'],
    ['--threads=1'],
  ])('make the same image of a directory, with %j', async (...options: string[]) => {
    const directory = makeTree()
    const theirs = tool(MKCOMPOSEFS, '--print-digest', ...options, directory, at('theirs'))
    const ours = await groot('mk', '--scan-like=1.0.8', '--print-digest', ...options, directory, at('ours'))
    expect(ours).toEqual(theirs)
    expect(readFileSync(at('ours')).equals(readFileSync(at('theirs')))).toBe(true)
  })

  it('fill the same digest store', async () => {
    const directory = makeTree()
    tool(MKCOMPOSEFS, `--digest-store=${at('theirs')}`, '--print-digest-only', directory)
    await groot('mk', `--digest-store=${at('ours')}`, '--print-digest-only', directory)
    const listed = (path: string) => readdirSync(path, { recursive: true }).sort()
    expect(listed(at('ours'))).toEqual(listed(at('theirs')))
    expect(listed(at('ours')).length).toBeGreaterThan(200)
  })

  it('print the same of every golden image, and of one with everything', async () => {
    const images = readdirSync(GOLDEN)
      .filter((name) => /\.dump(\.gz)?$/.test(name))
      .flatMap((name) => {
        const bytes = readFileSync(new URL(name, GOLDEN))
        writeFileSync(at('dump'), name.endsWith('.gz') ? gunzipSync(bytes) : bytes)
        const { status } = tool(MKCOMPOSEFS, '--from-file', at('dump'), at(name))
        return status === 0 ? [at(name)] : []
      })
    tool(MKCOMPOSEFS, makeTree(), at('everything'))
    expect(images.length).toBeGreaterThan(50)
    for (const image of [...images, at('everything')]) {
      if (await isOverread(image)) continue
      const hasOdd = ODD_PAYLOADS.some((name) => image === at(name))
      for (const verb of hasOdd ? ['ls', 'dump'] : ['ls', 'dump', 'objects']) {
        const [theirs, ours] = [tool(COMPOSEFS_INFO, verb, image), await groot(verb, image)]
        expect({ image, verb, ...ours, stdout: comparable(ours.stdout) }).toEqual({
          image,
          verb,
          ...theirs,
          stdout: comparable(theirs.stdout),
        })
      }
    }
  })

  it('filter the same', async () => {
    tool(MKCOMPOSEFS, makeTree(), at('image'))
    for (const filter of [['etc'], ['f65', 'another'], ['nosuch'], [' ', '-']]) {
      const options = filter.map((name) => `--filter=${name}`)
      for (const verb of ['ls', 'dump', 'objects'])
        expect(await groot(verb, ...options, at('image'))).toEqual(
          tool(COMPOSEFS_INFO, ...options, verb, at('image')),
        )
    }
  })

  it('miss the same objects', async () => {
    const directory = makeTree()
    tool(MKCOMPOSEFS, `--digest-store=${at('objects')}`, directory, at('image'))
    const basedir = `--basedir=${at('objects')}`
    expect(await groot('missing-objects', basedir, at('image'))).toEqual({ status: 0, stdout: '' })
    const [prefix = ''] = readdirSync(at('objects'))
    spawnSync('rm', ['-r', at('objects', prefix)])
    const theirs = tool(COMPOSEFS_INFO, basedir, 'missing-objects', at('image'))
    expect(theirs.stdout).not.toBe('')
    expect(await groot('missing-objects', basedir, at('image'))).toEqual(theirs)
  })

  it('measure the same, but for empty files', async () => {
    for (const size of [1, 4096, 4097, 128 * 4096, 128 * 4096 + 1]) {
      writeFileSync(at('file'), Buffer.alloc(size, 'm'))
      expect(await groot('measure', at('file'))).toEqual(tool(COMPOSEFS_INFO, 'measure-file', at('file')))
    }
  })

  it('read what the other wrote', async () => {
    const directory = makeTree()
    const { digest } = await composefs.make({ directory, image: at('ours') })
    const dump = tool(COMPOSEFS_INFO, 'dump', at('ours')).stdout
    writeFileSync(at('dump'), dump, 'latin1')
    expect((await composefs.make({ dump: at('dump') })).digest).toBe(
      tool(MKCOMPOSEFS, '--from-file', '--print-digest-only', at('dump')).stdout.trim(),
    )
    expect(await composefs.measure({ files: [at('ours')] })).toMatchObject([{ digest }])
  })
})
