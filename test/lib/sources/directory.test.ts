import { execFileSync } from 'node:child_process'
import {
  appendFileSync,
  chmodSync,
  cpSync,
  linkSync,
  lutimesSync,
  mkdirSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:net'
import { relative } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { byteString, printable } from '../../../lib/bytes.js'
import { sha256 } from '../../../lib/digest.js'
import type { TarEntry } from '../../../lib/layer/entry.js'
import { DEFAULT_LIMITS } from '../../../lib/layer/limits.js'
import { TarReader } from '../../../lib/layer/read-tar.js'
import { directorySource } from '../../../lib/sources/directory.js'
import { AMD64, blobBytes, failure, LAYER, resolveIt, Scratch } from './builders.js'

let scratch: Scratch
beforeEach(() => {
  scratch = new Scratch()
  mkdirSync(scratch.join('root'))
})
afterEach(() => scratch[Symbol.asyncDispose]())

const open = (path = scratch.join('root')) => directorySource({ path }, scratch.context)

async function resolveRoot(path?: string) {
  await using source = await open(path)
  return await resolveIt(source)
}

async function tarOfRoot(path?: string): Promise<Buffer> {
  await using source = await open(path)
  const { layers } = await resolveIt(source)
  return await blobBytes(source, layers[0]!)
}

/** A line for each member: kind, mode, path, target, content, time. */
function listTar(bytes: Buffer): { lines: string[]; entries: TarEntry[] } {
  const lines: string[] = []
  const entries: TarEntry[] = []
  let content: Buffer[] = []
  const reader = new TarReader(
    {
      raw() {},
      entry(entry) {
        entries.push(entry)
        content = []
      },
      content(part) {
        content.push(Buffer.from(part))
      },
      entryEnd() {
        const { kind, mode, path, linkPath, mtimeSeconds, mtimeNanoseconds } = entries.at(-1)!
        const time = `${mtimeSeconds}.${String(mtimeNanoseconds).padStart(9, '0')}`
        const text = Buffer.concat(content).toString()
        lines.push(
          `${kind} ${mode.toString(8)} ${printable(path)} ${time} ${printable(linkPath)}${text}`.trimEnd(),
        )
      },
    },
    DEFAULT_LIMITS,
  )
  reader.write(bytes)
  reader.end()
  return { lines, entries }
}

/** A tree with what directories can hold without root. */
function fill(): void {
  scratch.write({ 'etc/motd': 'hello', 'etc/empty': '', b: 'b' }, 'root')
  mkdirSync(scratch.join('root/bin'))
  symlinkSync('/etc/../nowhere', scratch.join('root/bin/sh'))
  linkSync(scratch.join('root/etc/motd'), scratch.join('root/a-link'))
  execFileSync('mkfifo', [scratch.join('root/etc/pipe')])
  for (const [name, mode] of [
    ['etc/motd', 0o4755],
    ['etc/empty', 0o600],
    ['b', 0o644],
    ['etc/pipe', 0o640],
    ['bin', 0o1777],
    ['etc', 0o755],
    ['', 0o755],
  ] as const) {
    chmodSync(scratch.join(`root/${name}`), mode)
  }
  setTimes()
}

function setTimes(): void {
  lutimesSync(scratch.join('root/bin/sh'), 5, 5.25)
  execFileSync('touch', ['-d', '@-1.5', scratch.join('root/etc/motd')]) // Node takes a negative time for now
  for (const name of ['etc/empty', 'etc/pipe', 'b', 'bin', 'etc', ''])
    utimesSync(scratch.join(`root/${name}`), 1, 7)
}

describe('a directory', () => {
  it('is an image of one layer: its tar, with the same bytes when it is read', async () => {
    fill()
    await using source = await directorySource(
      { path: relative(process.cwd(), scratch.join('root')) },
      scratch.context,
    )
    const resolved = await resolveIt(source)
    const bytes = await blobBytes(source, resolved.layers[0]!)
    const descriptor = { mediaType: LAYER, digest: sha256(bytes), size: bytes.length }
    expect(resolved).toMatchObject({
      reference: scratch.join('root'),
      config: { os: 'linux', architecture: 'amd64', diffIds: [sha256(bytes)] },
      manifest: { layers: [descriptor] },
      layers: [{ diffId: sha256(bytes), descriptor }],
    })
    expect(scratch.events).toEqual([])
  })

  it('has a tar in byte order with kinds, modes, nanoseconds, links and contents', async () => {
    fill()
    expect(listTar(await tarOfRoot()).lines).toEqual([
      'directory 755 ./ 7.000000000',
      'file 4755 a-link -2.500000000 hello',
      'file 644 b 7.000000000 b',
      'directory 1777 bin/ 7.000000000',
      'symlink 777 bin/sh 5.250000000 /etc/../nowhere',
      'directory 755 etc/ 7.000000000',
      'file 600 etc/empty 7.000000000',
      'hardlink 4755 etc/motd -2.500000000 a-link',
      'fifo 640 etc/pipe 7.000000000',
    ])
  })

  it('is the same image in another place, with other inodes, made in another order', async () => {
    fill()
    const first = await resolveRoot()
    cpSync(scratch.join('root'), scratch.join('copy'), {
      recursive: true,
      filter: (path) => !/motd|a-link|pipe/.test(path),
    })
    writeFileSync(scratch.join('copy/etc/motd'), 'hello')
    linkSync(scratch.join('copy/etc/motd'), scratch.join('copy/a-link'))
    execFileSync('mkfifo', [scratch.join('copy/etc/pipe')])
    rmSync(scratch.join('copy/bin/sh'))
    symlinkSync('/etc/../nowhere', scratch.join('copy/bin/sh'))
    for (const name of ['etc/motd', 'etc/empty', 'b', 'etc/pipe', 'bin', 'etc', '']) {
      chmodSync(scratch.join(`copy/${name}`), statSync(scratch.join(`root/${name}`)).mode & 0o7777)
    }
    rmSync(scratch.join('root'), { recursive: true })
    execFileSync('mv', [scratch.join('copy'), scratch.join('root')])
    setTimes()
    expect((await resolveRoot()).digest).toBe(first.digest)
    utimesSync(scratch.join('root/b'), 1, 8)
    expect((await resolveRoot()).digest).not.toBe(first.digest)
  })

  it('keeps names that are no text, long names, and contents of any length', async () => {
    const name = Buffer.concat([Buffer.from(scratch.join('root/')), Buffer.from([0xff, 0xfe, 0x41])])
    writeFileSync(name, 'x')
    const long = `${'d'.repeat(200)}/${'f'.repeat(200)}`
    scratch.write(
      { [long]: Buffer.alloc(3 * 1024 * 1024 + 5, 'z'), exact: Buffer.alloc(1024 * 1024, 'y') },
      'root',
    )
    const { entries } = listTar(await tarOfRoot())
    expect(entries.map(({ path, size }) => [printable(path), size])).toEqual([
      ['./', 0],
      [`${'d'.repeat(200)}/`, 0],
      [long, 3 * 1024 * 1024 + 5],
      ['exact', 1024 * 1024],
      ['\\xff\\xfeA', 1],
    ])
  })

  it('keeps extended attributes as bytes (needs a filesystem with user attributes)', async ({ skip }) => {
    scratch.write({ file: 'x' }, 'root')
    try {
      execFileSync('setfattr', ['-n', 'user.raw', '-v', '0x00ff0a3d', scratch.join('root/file')], {
        stdio: 'ignore',
      })
    } catch {
      skip('setfattr is missing or the filesystem has no user attributes')
    }
    const file = listTar(await tarOfRoot()).entries.find(({ path }) => path === byteString('file'))
    expect([...file!.xattrs]).toEqual([['user.raw', '\u0000\u00ff\n=']])
  })

  it.skipIf(process.getuid?.() !== 0)('keeps owners and devices (needs root)', async ({ skip }) => {
    try {
      execFileSync('mknod', [scratch.join('root/device'), 'c', '240', '70000'], { stdio: 'ignore' })
    } catch {
      skip('this root may make no devices')
    }
    execFileSync('chown', ['3000000:4294967294', scratch.join('root/device')])
    const device = listTar(await tarOfRoot()).entries[1]
    expect(device).toMatchObject({
      kind: 'char',
      major: 240,
      minor: 70000,
      uid: 3_000_000,
      gid: 4_294_967_294,
    })
  })

  it('is read without its sockets, and says so once', async () => {
    scratch.write({ a: 'a' }, 'root')
    const server = createServer().listen(scratch.join('root/socket'))
    await new Promise((resolve) => server.once('listening', resolve))
    const { lines } = listTar(await tarOfRoot())
    server.close()
    expect(lines.map((line) => line.split(' ')[2])).toEqual(['./', 'a'])
    expect(scratch.events).toEqual([
      {
        kind: 'warning',
        code: 'socket-left-out',
        message: `Directory "${scratch.join('root')}" holds sockets (1), which are not taken over`,
        facts: { directory: scratch.join('root'), count: 1, first: ['socket'] },
      },
    ])
  })

  it('agrees with what GNU tar reads of it', async () => {
    fill()
    writeFileSync(scratch.join('root.tar'), await tarOfRoot())
    mkdirSync(scratch.join('unpacked'))
    execFileSync('tar', ['-xpf', scratch.join('root.tar'), '-C', scratch.join('unpacked')], {
      stdio: 'ignore',
    })
    expect((await resolveRoot(scratch.join('unpacked'))).digest).toBe((await resolveRoot()).digest)
  })
})

function replace(path: string, by: () => void): void {
  rmSync(path)
  by()
}

describe('a directory that cannot be an image', () => {
  it.each(['.wh.passwd', 'etc/.wh..wh..opq', 'etc/.wh.'])(
    'because of the name %j is refused',
    async (name) => {
      scratch.write({ [name]: '' }, 'root')
      expect(await failure(resolveRoot())).toEqual({
        code: 'entry-refused',
        facts: { directory: scratch.join('root'), entry: name, cause: 'whiteout' },
      })
    },
  )

  it('because it is missing or no directory is refused', async () => {
    expect(await failure(open(scratch.join('none')))).toEqual({
      code: 'file-missing',
      facts: { path: scratch.join('none') },
    })
    scratch.write({ file: '' })
    expect(await failure(open(scratch.join('file')))).toEqual({
      code: 'reference-invalid',
      facts: { path: scratch.join('file'), found: 'a file' },
    })
  })

  it('because it changed after it was resolved is refused', async () => {
    scratch.write({ a: 'one' }, 'root')
    for (const change of ['two', 'longer than before', 'x'.repeat(2 * 1024 * 1024), '']) {
      await using source = await open()
      const { layers } = await resolveIt(source)
      writeFileSync(scratch.join('root/a'), change)
      expect((await failure(blobBytes(source, layers[0]!))).code).toBe('source-changed')
    }
  })

  it.each<[string, (path: string) => void]>([
    ['grows', (path) => appendFileSync(path, 'more')],
    ['shrinks', (path) => truncateSync(path, 3_000_000)],
    ['is replaced', (path) => replace(path, () => writeFileSync(path, Buffer.alloc(4_000_000)))],
    ['becomes a FIFO', (path) => replace(path, () => execFileSync('mkfifo', [path]))],
    ['becomes a symlink', (path) => replace(path, () => symlinkSync('/dev/zero', path))],
  ])('because a file %s while it is read is refused', async (what, change) => {
    // Enough in front of it for a chunk to be given before it is opened, or after, as the change needs it.
    const isLater = what === 'is replaced' || what.startsWith('becomes')
    if (isLater) scratch.write({ a: Buffer.alloc(2_000_000) }, 'root')
    scratch.write({ b: Buffer.alloc(4_000_000) }, 'root')
    await using source = await open()
    const { layers } = await resolveIt(source)
    const content = await source.openBlob(layers[0]!, new AbortController().signal)
    if (content.kind !== 'stream') throw new Error('a directory is a stream')
    const reading = (async () => {
      let count = 0
      for await (const _chunk of content.chunks) if (++count === 1) change(scratch.join('root/b'))
    })()
    expect((await failure(reading)).code).toBe('source-changed')
  })

  it.skipIf(process.getuid?.() === 0)(
    'because a file cannot be read is refused, naming it (needs another user than root)',
    async () => {
      scratch.write({ 'etc/shadow': 'x' }, 'root')
      chmodSync(scratch.join('root/etc/shadow'), 0)
      expect((await failure(resolveRoot())).facts).toMatchObject({
        path: scratch.join('root'),
        entry: 'etc/shadow',
        errno: 'EACCES',
      })
    },
  )

  it('is left when the signal fires', async () => {
    scratch.write({ a: Buffer.alloc(64 * 1024 * 1024) }, 'root')
    await using source = await open()
    const abort = new AbortController()
    setTimeout(() => abort.abort(), 1)
    await expect(source.resolve({ platform: AMD64, signal: abort.signal })).rejects.toMatchObject({
      code: 'aborted',
    })
  })
})
