import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  appendFileSync,
  chmodSync,
  existsSync,
  ftruncateSync,
  linkSync,
  lutimesSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { byteString } from '../../../../lib/bytes.js'
import { parseDump } from '../../../../lib/composefs/dump-parse.js'
import { writeDump } from '../../../../lib/composefs/dump-write.js'
import { readComposefs } from '../../../../lib/composefs/erofs-read.js'
import { verityDigest } from '../../../../lib/composefs/verity.js'
import { composefs } from '../../../../lib/index.js'
import { pathString } from '../../../../lib/linux/c-string.js'
import { AT_FDCWD, O_CREAT, O_WRONLY } from '../../../../lib/linux/constants.js'
import {
  close,
  makeDirectoryAt,
  makeNodeAt,
  openAt,
  openDirectory,
  openDirectoryAt,
  setTimesAt,
} from '../../../../lib/linux/files.js'
import { setXattrAt } from '../../../../lib/linux/xattr.js'
import type { MakeFromDirectory } from '../../../../lib/operations/composefs/api.js'
import { scanToTree } from '../../../../lib/operations/composefs/scan.js'
import { isRoot, openBelow, rejectionOf, useScratch, withoutPrivileges } from '../../linux/scratch.js'

const scratch = useScratch()
const at = (...names: string[]) => join(scratch.path, ...names)

/** A directory to scan, with nothing in it. */
function source(): string {
  mkdirSync(at('source'))
  return at('source')
}

/** What an image of the source says of itself: the lines of its dump, and the image. */
async function dumpOf(options: Partial<MakeFromDirectory> = {}) {
  const pieces: Uint8Array[] = []
  const made = await composefs.make({
    directory: at('source'),
    useEpoch: true,
    threads: 1,
    image: { write: async (bytes) => void pieces.push(bytes) },
    ...options,
  })
  const image = Buffer.concat(pieces)
  const text = [...writeDump(readComposefs(image).root, { hardLinks: 'first' })].join('')
  return { made, image, lines: text.trimEnd().split('\n') }
}

/** `PATH SIZE MODE NLINK` and all from PAYLOAD on: what does not depend on who runs the tests. */
const shortened = (lines: readonly string[]) =>
  lines.map((line) => line.replace(/^((?:\S+ ){4})(?:\S+ ){4}/, '$1')).slice(1)

const objectOf = (bytes: Uint8Array) => {
  const digest = verityDigest(bytes)
  return `${digest.slice(0, 2)}/${digest.slice(2)} - ${digest}`
}

describe('an image of a directory', () => {
  it('holds small files, names the objects of others, and has empty ones as they are', async () => {
    const directory = source()
    const contents = { empty: 0, one: 1, 'in-64': 64, 'out-65': 65, block: 4096, 'more-4097': 4097 }
    for (const [name, size] of Object.entries(contents))
      writeFileSync(`${directory}/${name}`, 'x'.repeat(size))
    const big = Buffer.alloc(3 * 1024 * 1024 + 5, 'groot')
    writeFileSync(`${directory}/big`, big)
    const { lines } = await dumpOf()
    expect(shortened(lines)).toEqual([
      `/big ${big.length} 100644 1 ${objectOf(big)}`,
      `/block 4096 100644 1 ${objectOf(Buffer.alloc(4096, 'x'))}`,
      '/empty 0 100644 1 - - -',
      `/in-64 64 100644 1 - ${'x'.repeat(64)} -`,
      `/more-4097 4097 100644 1 ${objectOf(Buffer.alloc(4097, 'x'))}`,
      '/one 1 100644 1 - x -',
      `/out-65 65 100644 1 ${objectOf(Buffer.alloc(65, 'x'))}`,
    ])
  })

  it('keeps hard links, and makes files of them when it shall be like mkcomposefs 1.0.8', async () => {
    const directory = source()
    mkdirSync(`${directory}/d`)
    writeFileSync(`${directory}/file`, 'small')
    linkSync(`${directory}/file`, `${directory}/d/again`)
    symlinkSync('target', `${directory}/link`)
    linkSync(`${directory}/link`, `${directory}/d/link`)
    const size = directorySize(['again', 'link'])
    expect(shortened((await dumpOf()).lines)).toEqual([
      `/d ${size} 40755 2 - - -`,
      '/d/again 5 100644 2 - small -',
      '/d/link 6 120777 2 target - -',
      '/file 5 @100644 2 /d/again small -',
      '/link 6 @120777 2 /d/link - -',
    ])
    expect(shortened((await dumpOf({ hardLinks: 'split' })).lines)).toEqual([
      `/d ${size} 40755 2 - - -`,
      '/d/again 5 100644 1 - small -',
      '/d/link 6 120777 1 target - -',
      '/file 5 100644 1 - small -',
      '/link 6 120777 1 target - -',
    ])
  })

  it('has names and targets as bytes', async () => {
    const directory = source()
    for (const name of ['caf\xe9', '\xff', 'a b', 'new\nline', 'back\\slash', '=', '-'])
      writeFileSync(Buffer.from(`${directory}/${name}`, 'latin1'), '')
    symlinkSync(Buffer.from('to\xfe', 'latin1'), `${directory}/link`)
    const { lines } = await dumpOf()
    expect(lines.slice(1).map((line) => line.split(' ')[0])).toEqual([
      '/-',
      '/=',
      '/a\\x20b',
      '/back\\\\slash',
      '/caf\\xe9',
      '/link',
      '/new\\nline',
      '/\\xff',
    ])
    expect(lines.find((line) => line.startsWith('/link'))).toMatch(/ to\\xfe - -$/)
  })

  it('has times to the nanosecond, before the epoch too, and none with useEpoch', async () => {
    const directory = source()
    writeFileSync(`${directory}/old`, '')
    symlinkSync('x', `${directory}/link`)
    setTimesAt(AT_FDCWD, pathString(`${directory}/old`), -2n, 123_456_789)
    lutimesSync(`${directory}/link`, 0, 1_700_000_000.25)
    const { lines } = await dumpOf({ useEpoch: false })
    const times = Object.fromEntries(
      lines.map((line) => line.split(' ')).map((fields) => [fields[0], fields[7]]),
    )
    expect(times).toMatchObject({ '/old': '-2.123456789', '/link': '1700000000.250000000' })
    expect((await dumpOf()).lines.every((line) => line.split(' ')[7] === '0.0')).toBe(true)
  })

  it('has FIFOs and sockets, and does not wait for them', async () => {
    const directory = source()
    makeNodeAt(AT_FDCWD, pathString(`${directory}/fifo`), 'fifo', 0o640)
    const server = createServer().listen(`${directory}/socket`)
    await new Promise((resolve) => server.once('listening', resolve))
    try {
      const modes = (await dumpOf()).lines.slice(1).map((line) => line.split(' ').slice(0, 3))
      expect(modes.map(([path, , mode]) => [path, mode?.slice(0, -3)])).toEqual([
        ['/fifo', '10'],
        ['/socket', '140'],
      ])
    } finally {
      server.close()
    }
  })

  it.skipIf(!isRoot)('has devices, whiteouts as such, and none with skipDevices (needs root)', async () => {
    const directory = source()
    makeNodeAt(AT_FDCWD, pathString(`${directory}/null`), 'char', 0o666, 1, 3)
    makeNodeAt(AT_FDCWD, pathString(`${directory}/disk`), 'block', 0o660, 259, 70_000)
    makeNodeAt(AT_FDCWD, pathString(`${directory}/whiteout`), 'char', 0o600, 0, 0)
    const { made, lines } = await dumpOf()
    expect(made.version).toBe(1)
    const numbers = lines.slice(1).map((line) => line.split(' '))
    expect(numbers.map((fields) => [fields[0], fields[6]])).toEqual([
      ['/disk', String((70_000 & 0xff) | (259 << 8) | ((70_000 >> 8) << 20))],
      ['/null', '259'],
      ['/whiteout', '0'],
    ])
    const without = await dumpOf({ skipDevices: true })
    expect({ version: without.made.version, lines: without.lines.length }).toEqual({ version: 0, lines: 1 })
  })

  it('has xattrs of files, directories and, as root, symlinks: all, only those of users, or none', async () => {
    const directory = source()
    writeFileSync(`${directory}/file`, 'x'.repeat(100))
    mkdirSync(`${directory}/directory`)
    symlinkSync('x', `${directory}/link`)
    setXattr(directory, 'file', 'user.a', 'b\0=')
    setXattr(directory, 'directory', 'user.d', '')
    if (isRoot) {
      setXattr(directory, 'link', 'trusted.t', 'v')
      setXattr(directory, 'file', 'trusted.overlay.redirect', '/etc/shadow')
    }
    const xattrsOf = async (xattrs: 'all' | 'user' | 'none') =>
      (await dumpOf({ xattrs })).lines
        .map((line) => line.split(' '))
        .map((fields) => [fields[0], ...fields.slice(11)].join(' '))
        .filter((line) => line.includes(' '))
    const users = ['/directory user.d=', '/file user.a=b\\x00\\x3d']
    // Read back, the escaped name is the container's own again.
    const all = [
      '/directory user.d=',
      '/file trusted.overlay.redirect=/etc/shadow user.a=b\\x00\\x3d',
      '/link trusted.t=v',
    ]
    expect(await xattrsOf('all')).toEqual(isRoot ? all : users)
    expect(await xattrsOf('user')).toEqual(users)
    expect(await xattrsOf('none')).toEqual([])
  })

  it('of sparse files has the digest of their zeros', async () => {
    const directory = source()
    const size = 9 * 1024 * 1024 + 7
    const fd = openSync(`${directory}/sparse`, 'w')
    ftruncateSync(fd, size)
    close(fd)
    writeFileSync(`${directory}/ends-in-data`, '')
    truncateSync(`${directory}/ends-in-data`, 5 * 1024 * 1024)
    appendFileSync(`${directory}/ends-in-data`, 'data')
    const ends = Buffer.concat([Buffer.alloc(5 * 1024 * 1024), Buffer.from('data')])
    expect(shortened((await dumpOf()).lines)).toEqual([
      `/ends-in-data ${ends.length} 100644 1 ${objectOf(ends)}`,
      `/sparse ${size} 100644 1 ${objectOf(Buffer.alloc(size))}`,
    ])
  })

  it('follows the path of the directory, and no symlink in it', async () => {
    const directory = source()
    mkdirSync(at('other'))
    writeFileSync(at('other/secret'), 'secret')
    symlinkSync(at('other'), `${directory}/away`)
    symlinkSync(directory, at('name'))
    const { made } = await dumpOf()
    expect(shortened((await dumpOf()).lines)).toEqual([
      `/away ${at('other').length} 120777 1 ${at('other')} - -`,
    ])
    expect((await composefs.make({ directory: at('name'), useEpoch: true })).digest).toBe(made.digest)
  })

  it('is the same with any number of threads, and leaves no descriptor open', async () => {
    const directory = source()
    for (let i = 0; i < 40; i++) {
      mkdirSync(`${directory}/d${i % 7}/e${i}`, { recursive: true })
      for (let j = 0; j < 30; j++)
        writeFileSync(`${directory}/d${i % 7}/e${i}/f${j}`, `${i} ${j} `.repeat(j * j))
    }
    const digests = new Set<string>()
    for (const threads of [1, 2, 3, 2]) digests.add((await composefs.make({ directory, threads })).digest)
    expect(digests.size).toBe(1)
    expect(openBelow(directory)).toEqual([])
  })

  it('takes large files apart among its threads', async () => {
    const directory = source()
    const contents = Array.from({ length: 5 }, (_, i) => Buffer.alloc(17 * 1024 * 1024 + i, String(i)))
    for (const [i, bytes] of contents.entries()) writeFileSync(`${directory}/f${i}`, bytes)
    writeFileSync(`${directory}/small`, 'x'.repeat(100))
    const { lines } = await dumpOf({ threads: 3 })
    expect(shortened(lines)).toEqual([
      ...contents.map((bytes, i) => `/f${i} ${bytes.length} 100644 1 ${objectOf(bytes)}`),
      `/small 100 100644 1 ${objectOf(Buffer.alloc(100, 'x'))}`,
    ])
  })

  it('reaches deeper than a path can say', async () => {
    const directory = source()
    const name = 'd'.repeat(200)
    let fd = openDirectory(pathString(directory))
    for (let depth = 0; depth < 80; depth++) {
      makeDirectoryAt(fd, byteString(name), 0o755)
      const next = openDirectoryAt(fd, byteString(name))
      close(fd)
      fd = next
    }
    close(openAt(fd, byteString('file'), O_WRONLY | O_CREAT, 0o644))
    close(fd)
    const { tree } = await scanToTree(directory, {
      algorithm: 'sha256',
      xattrs: 'all',
      objects: null,
      threads: 1,
    })
    let node = tree.root
    for (let depth = 0; depth < 80; depth++) {
      const next = node.children.get(byteString(name))
      if (next?.kind !== 'directory') throw new Error(`nothing at depth ${depth}`)
      node = next
    }
    expect(node.children.get(byteString('file'))).toMatchObject({ kind: 'file', size: 0 })
  })

  it('by SHA-512 demands and names objects by it', async () => {
    const directory = source()
    const bytes = Buffer.alloc(5000, 'y')
    writeFileSync(`${directory}/file`, bytes)
    const digest = verityDigest(bytes, 'sha512')
    const { made, lines } = await dumpOf({ hash: 'sha512', digestStore: at('objects') })
    expect(shortened(lines)).toEqual([
      `/file 5000 100644 1 ${digest.slice(0, 2)}/${digest.slice(2)} - ${digest}`,
    ])
    expect(made).toMatchObject({
      hash: 'sha512',
      digest: expect.stringMatching(/^[0-9a-f]{128}$/),
      objects: 1,
    })
    expect(readFileSync(at('objects', digest.slice(0, 2), digest.slice(2)))).toEqual(bytes)
  })

  it('is the same as that of its dump', async () => {
    const directory = source()
    mkdirSync(`${directory}/d`)
    writeFileSync(`${directory}/d/f`, 'x'.repeat(1000))
    linkSync(`${directory}/d/f`, `${directory}/g`)
    const { made, lines } = await dumpOf({ useEpoch: false })
    const dump = async function* () {
      yield Buffer.from(`${lines.join('\n')}\n`)
    }
    expect(await composefs.make({ dump: dump() })).toEqual({ ...made, objects: null })
  })
})

describe('a directory that is not left alone', () => {
  it('is refused when a file is changed while it is read', async () => {
    const directory = source()
    const path = `${directory}/file`
    writeFileSync(path, Buffer.alloc(64 * 1024 * 1024))
    utimesSync(path, 0, 0)
    const error = rejectionOf(composefs.make({ directory, threads: 1 }))
    // Its reading is cut into slices, and this comes in between.
    setTimeout(() => appendFileSync(path, 'more'), 10)
    expect(await error).toMatchObject({ code: 'source-changed', facts: { path: 'file' }, temporary: true })
    expect(openBelow(directory)).toEqual([])
  })

  it('is refused when a file becomes something else before it is read', async () => {
    const directory = source()
    const paths = Array.from({ length: 8 }, (_, i) => `${directory}/${i}`)
    for (const path of paths) {
      writeFileSync(path, Buffer.alloc(16 * 1024 * 1024))
      utimesSync(path, 0, 0)
    }
    const error = rejectionOf(composefs.make({ directory, threads: 1 }))
    setTimeout(() => {
      for (const path of paths) {
        unlinkSync(path)
        symlinkSync('/etc/passwd', path)
      }
    }, 10)
    expect(await error).toMatchObject({ code: 'source-changed', kind: 'integrity' })
  })

  it('is no longer read when the signal fires', async () => {
    const directory = source()
    for (let i = 0; i < 4; i++) writeFileSync(`${directory}/${i}`, Buffer.alloc(20 * 1024 * 1024, i))
    const controller = new AbortController()
    const request = { directory, digestStore: at('objects'), signal: controller.signal, threads: 2 }
    const error = rejectionOf(composefs.make(request))
    setTimeout(() => controller.abort(), 20)
    expect(await error).toMatchObject({ code: 'aborted' })
    expect(readdirSync(at('objects'))).toEqual([])
    expect(openBelow(directory)).toEqual([])
  })
})

describe('a directory that cannot be scanned', () => {
  it.each([
    ['nosuch', { code: 'file-missing', facts: { path: expect.stringContaining('nosuch') } }],
    ['file', { code: 'usage-invalid' }],
  ])('is refused: %s', async (name, expected) => {
    writeFileSync(at('file'), '')
    expect(await rejectionOf(composefs.make({ directory: at(name) }))).toMatchObject(expected)
  })

  it('is refused with the name of what cannot be read, and empty files need not be', async () => {
    const directory = source()
    chmodSync(scratch.path, 0o755)
    writeFileSync(`${directory}/empty`, '', { mode: 0 })
    await withoutPrivileges(async () => {
      expect(await composefs.make({ directory, threads: 1 })).toMatchObject({ version: 0 })
    })
    writeFileSync(`${directory}/secret`, 'x', { mode: 0 })
    await withoutPrivileges(async () => {
      expect(await rejectionOf(composefs.make({ directory, threads: 1 }))).toMatchObject({
        code: 'system-call',
        facts: { errno: 'EACCES', path: 'secret' },
      })
    })
  })

  it('is refused when no image can hold it, and nothing is written', async () => {
    const directory = source()
    writeFileSync(`${directory}/file`, '')
    let names = 0
    try {
      for (; names < 12; names++) setXattr(directory, 'file', `user.${names}`, 'v'.repeat(3000))
    } catch {
      // This filesystem holds no more than fits into a block.
    }
    if (names < 12) return
    expect(await rejectionOf(composefs.make({ directory, image: at('image') }))).toMatchObject({
      code: 'composefs-refused',
    })
    expect(readdirSync(scratch.path)).toEqual(['source'])
  })
})

describe('a digest store', () => {
  it('gets each content once, by its digest, readable by all, and nothing of what the image holds', async () => {
    const directory = source()
    const contents = [Buffer.alloc(65, 'a'), Buffer.alloc(5000, 'b'), Buffer.alloc(2 * 1024 * 1024 + 1, 'c')]
    for (const [i, bytes] of contents.entries()) writeFileSync(`${directory}/f${i}`, bytes, { mode: 0o600 })
    writeFileSync(`${directory}/copy`, contents[1]!)
    writeFileSync(`${directory}/small`, 'x'.repeat(64))
    writeFileSync(`${directory}/empty`, '')
    const umask = process.umask(0o077)
    try {
      const first = await composefs.make({ directory, digestStore: at('new/objects'), threads: 1 })
      expect(first.objects).toBe(3)
    } finally {
      process.umask(umask)
    }
    const stored = readdirSync(at('new/objects'), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name))
    const expected = contents.map((bytes) => {
      const digest = verityDigest(bytes)
      return at('new/objects', digest.slice(0, 2), digest.slice(2))
    })
    expect(stored.sort()).toEqual(expected.sort())
    for (const path of stored) {
      expect(statSync(path).mode & 0o7777).toBe(0o644)
      expect(path.endsWith(verityDigest(readFileSync(path)).slice(2))).toBe(true)
    }
    expect(await composefs.make({ directory, digestStore: at('new/objects') })).toMatchObject({ objects: 0 })
  })

  it('keeps what is there, and the same image comes of it', async () => {
    const directory = source()
    writeFileSync(`${directory}/f`, 'x'.repeat(100))
    const without = await composefs.make({ directory })
    const made = await composefs.make({ directory, digestStore: at('objects') })
    expect(made).toEqual({ ...without, objects: 1 })
    const digest = verityDigest(Buffer.from('x'.repeat(100)))
    const before = statSync(at('objects', digest.slice(0, 2), digest.slice(2)))
    await composefs.make({ directory, digestStore: at('objects') })
    const after = statSync(at('objects', digest.slice(0, 2), digest.slice(2)))
    expect([after.ino, after.mtimeMs]).toEqual([before.ino, before.mtimeMs])
  })

  it('keeps holes', async () => {
    const directory = source()
    writeFileSync(`${directory}/sparse`, 'x')
    truncateSync(`${directory}/sparse`, 64 * 1024 * 1024)
    if (statSync(`${directory}/sparse`).blocks > 1000) return
    await composefs.make({ directory, digestStore: at('objects') })
    const [prefix = ''] = readdirSync(at('objects'))
    const [rest = ''] = readdirSync(at('objects', prefix))
    expect(statSync(at('objects', prefix, rest))).toMatchObject({ size: 64 * 1024 * 1024 })
    expect(statSync(at('objects', prefix, rest)).blocks).toBeLessThan(1000)
  })

  it.each(['source', 'source/objects', 'name/objects'])(
    'is refused inside of what is scanned: %s',
    async (path) => {
      const directory = source()
      symlinkSync(directory, at('name'))
      const error = await rejectionOf(composefs.make({ directory, digestStore: at(path) }))
      expect(error).toMatchObject({ code: 'usage-invalid', facts: { path: at(path), source: directory } })
      expect(readdirSync(directory)).toEqual([])
    },
  )

  it.each([
    ['missing', 'file-missing'],
    ['file', 'usage-invalid'],
    ['file/below', 'usage-invalid'],
  ])('is not made when what is to be scanned cannot be: %s', async (path, code) => {
    writeFileSync(at('file'), '')
    const error = await rejectionOf(composefs.make({ directory: at(path), digestStore: at('objects') }))
    expect(error).toMatchObject({ code, facts: { path: at(path) } })
    expect(existsSync(at('objects'))).toBe(false)
  })

  it('that cannot be one is refused', async () => {
    const directory = source()
    writeFileSync(at('file'), '')
    expect(await rejectionOf(composefs.make({ directory, digestStore: at('file') }))).toMatchObject({
      code: 'system-call',
    })
  })
})

describe('an image of a dump', () => {
  const GOLDEN = new URL('../../../golden/composefs/', import.meta.url)
  const { vectors } = JSON.parse(readFileSync(new URL('index.json', GOLDEN), 'utf8')) as {
    vectors: {
      name: string
      file: string
      expect?: Record<'min0max1' | 'min1max1', { formatVersion: 0 | 1; size: number; fsverity: string }>
    }[]
  }
  const bytesOf = (file: string) => {
    const bytes = readFileSync(new URL(file, GOLDEN))
    return file.endsWith('.gz') ? gunzipSync(bytes) : bytes
  }

  it('has the digest of mkcomposefs, by file and by pieces', async () => {
    for (const { name, file, expect: expected } of vectors) {
      if (expected === undefined) continue
      const { formatVersion, size, fsverity } = expected.min0max1
      const bytes = bytesOf(file)
      const pieces = async function* () {
        for (let i = 0; i < bytes.length; i += 10_000) yield bytes.subarray(i, i + 10_000)
      }
      const made = await composefs.make({ dump: pieces() })
      expect([name, made]).toMatchObject([name, { digest: fsverity, version: formatVersion, bytes: size }])
      writeFileSync(at('dump'), bytes)
      const least = await composefs.make({ dump: at('dump'), minVersion: 1, maxVersion: 1 })
      expect([name, least.digest]).toEqual([name, expected.min1max1.fsverity])
    }
  })

  it.each([
    ['', {}, 'dump-invalid'],
    ['/ 0 40755 2 0 0 0 0.0 - - -', { strict: true }, 'dump-invalid'],
  ])('%j is refused with %j', async (text, options, code) => {
    writeFileSync(at('dump'), text)
    expect(await rejectionOf(composefs.make({ dump: at('dump'), ...options }))).toMatchObject({ code })
  })

  it('that is not there, or is a directory, is refused', async () => {
    expect(await rejectionOf(composefs.make({ dump: at('nosuch') }))).toMatchObject({
      code: 'file-missing',
      facts: { path: at('nosuch') },
    })
    expect(await rejectionOf(composefs.make({ dump: scratch.path }))).toMatchObject({ code: 'usage-invalid' })
  })

  it('is read from a FIFO, which it waits for without holding anybody up', async () => {
    execFileSync('mkfifo', [at('fifo')])
    const made = composefs.make({ dump: at('fifo') })
    const writer = spawn('sh', ['-c', 'printf "/ 0 40755 2 0 0 0 0.0 - - -\\n" > "$1"', 'sh', at('fifo')])
    expect(await made).toMatchObject({ version: 0, inodes: 257 })
    expect(writer.exitCode ?? (await once(writer, 'close'))[0]).toBe(0)
    const controller = new AbortController()
    const waiting = rejectionOf(composefs.make({ dump: at('fifo'), signal: controller.signal }))
    setTimeout(() => controller.abort(), 20)
    expect(await waiting).toMatchObject({ code: 'aborted' })
  })
})

describe('any small directory', () => {
  it('reads back from its image as it is on disk', async () => {
    const name = fc.stringMatching(/^[a-z]{1,3}$/)
    const trees = fc.dictionary(
      name,
      fc.oneof(fc.nat(9000), fc.dictionary(name, fc.nat(200), { maxKeys: 4 })),
      { maxKeys: 6 },
    )
    let count = 0
    await fc.assert(
      fc.asyncProperty(trees, async (tree) => {
        const directory = at(`tree-${++count}`)
        const expected: string[] = []
        const write = (path: string, size: number) => {
          const bytes = Buffer.alloc(size, path)
          writeFileSync(`${directory}${path}`, bytes)
          expected.push(`${path} ${size} ${size > 64 ? verityDigest(bytes) : '-'}`)
        }
        mkdirSync(directory)
        for (const [top, below] of Object.entries(tree)) {
          if (typeof below === 'number') write(`/${top}`, below)
          else {
            mkdirSync(`${directory}/${top}`)
            for (const [inner, size] of Object.entries(below)) write(`/${top}/${inner}`, size)
          }
        }
        const { lines } = await dumpOf({ directory })
        const found = lines.map((line) => line.split(' ')).filter((fields) => fields[2]!.startsWith('100'))
        expect(found.map((fields) => `${fields[0]} ${fields[1]} ${fields[10]}`).sort()).toEqual(
          expected.sort(),
        )
        // What was read of the text is the same tree.
        expect(
          [...writeDump(parseDump(Buffer.from(`${lines.join('\n')}\n`)))].join('').trimEnd().split('\n'),
        ).toEqual(lines)
      }),
      { numRuns: 30 },
    )
    expect(existsSync(at('tree-1'))).toBe(true)
  })
})

function setXattr(directory: string, name: string, key: string, value: string): void {
  const fd = openDirectory(pathString(directory))
  setXattrAt(fd, byteString(name), byteString(key), byteString(value))
  close(fd)
}

/** Of a directory in an image: names and their records, with `.` and `..`. */
function directorySize(names: readonly string[]): number {
  return ['.', '..', ...names].reduce((sum, name) => sum + 12 + name.length, 0)
}
