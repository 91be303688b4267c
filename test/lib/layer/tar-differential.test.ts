/** The reader against other programs: what they write is what we read, and what they read of an archive is what we read. */
import { execFileSync, spawnSync } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  closeSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { extract as extractStream, type Header, pack } from 'tar-stream'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { sha256 } from '../../../lib/digest.js'
import { layer } from '../../../lib/testkit/layer.js'
import { type CollectedMember, collect, expand } from './collect.js'

const hasTool = (tool: string, pattern: RegExp): boolean =>
  pattern.test(String(spawnSync(tool, ['--version']).stdout))
const hasGnuTar = hasTool('tar', /GNU tar/)
const hasPython = hasTool('python3', /^Python 3/)
const isRoot = process.getuid?.() === 0

let directory = ''

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'groot-tar-'))
  makeTree(join(directory, 'tree'))
})

afterAll(() => rmSync(directory, { recursive: true, force: true }))

const LONG = 'long-directory-name-0123456789/'.repeat(6)
const SPARSE = 'sparse'
const VERY_SPARSE = 'very-sparse'
const HOLE = 'hole'

/** Files of all kinds that tars have trouble with. */
function makeTree(root: string): void {
  mkdirSync(join(root, 'dir'), { recursive: true })
  mkdirSync(join(root, LONG), { recursive: true })
  writeFileSync(join(root, 'empty'), '')
  writeFileSync(join(root, 'dir/text'), 'hello\n')
  writeFileSync(join(root, 'dir/block'), 'b'.repeat(512))
  writeFileSync(join(root, 'dir/more'), 'm'.repeat(100_000))
  writeFileSync(join(root, 'dir/späße\n'), 'bytes')
  writeFileSync(Buffer.concat([Buffer.from(`${root}/dir/`), Buffer.from([0xff, 0xfe])]), 'no text')
  writeFileSync(join(root, LONG, 'n'.repeat(90)), 'deep')
  linkSync(join(root, LONG, 'n'.repeat(90)), join(root, 'hard-to-long'))
  linkSync(join(root, 'dir/text'), join(root, 'hard'))
  symlinkSync('../dir/text', join(root, 'dir/link'))
  symlinkSync(`/${LONG}target`, join(root, 'long-link'))
  spawnSync('mkfifo', [join(root, 'fifo')])
  chmodSync(join(root, 'dir'), 0o1750)
  chmodSync(join(root, 'dir/text'), 0o4755)
  utimesSync(join(root, 'dir/more'), 1, 1_234_567_890.125)
  utimesSync(join(root, 'empty'), 1, 0)
  makeSparse(join(root, SPARSE), 3)
  makeSparse(join(root, VERY_SPARSE), 40)
  writeFileSync(join(root, HOLE), '')
  truncateSync(join(root, HOLE), 3_000_000)
  if (isRoot) {
    chownSync(join(root, 'dir/text'), 1000, 1001)
    chmodSync(join(root, 'dir/text'), 0o4755)
    chownSync(join(root, 'dir/block'), 3_000_000, 4_000_000_000)
  }
}

function makeSparse(path: string, runs: number): void {
  const fd = openSync(path, 'w')
  for (let i = 0; i < runs; i++) writeSync(fd, `run ${i}`.repeat(700), i * 100_000 + 4096)
  closeSync(fd)
  truncateSync(path, runs * 100_000 + 12_345)
}

function gnuTar(...options: string[]): Buffer {
  const args = [...options, '--numeric-owner', '--sort=name', '-C', join(directory, 'tree'), '-cf', '-', '.']
  return execFileSync('tar', args, { maxBuffer: 1 << 28 })
}

/** Compares a member with the file that it was made of. */
function expectFile({ entry, content }: CollectedMember, exactTime: boolean): void {
  const path = Buffer.concat([Buffer.from(`${directory}/tree/`), Buffer.from(entry.path, 'latin1')])
  const stat = lstatSync(path, { bigint: true })
  const kind = stat.isDirectory()
    ? 'directory'
    : stat.isSymbolicLink()
      ? 'symlink'
      : stat.isFIFO()
        ? 'fifo'
        : 'file'
  const isHardlink = entry.kind === 'hardlink'
  expect(isHardlink ? 'file' : entry.kind).toBe(kind)
  expect([entry.mode, entry.uid, entry.gid]).toEqual([
    Number(stat.mode & 0o7777n),
    Number(stat.uid),
    Number(stat.gid),
  ])
  const time = entry.mtimeSeconds * 1_000_000_000n + BigInt(entry.mtimeNanoseconds)
  expect(time).toBe(exactTime ? stat.mtimeNs : (stat.mtimeNs / 1_000_000_000n) * 1_000_000_000n)
  if (entry.kind === 'symlink') expect(entry.linkPath).toBe(readlinkSync(path, 'latin1'))
  if (isHardlink) {
    const target = Buffer.from(`${directory}/tree/${Buffer.from(entry.linkPath, 'latin1')}`)
    expect(lstatSync(target, { bigint: true }).ino).toBe(stat.ino)
  }
  if (entry.kind === 'file') {
    const file = readFileSync(path)
    expect(entry.size).toBe(file.length)
    expect(expand({ entry, content }).equals(file)).toBe(true)
  }
}

describe.skipIf(!hasGnuTar)('archives of GNU tar (needs it)', () => {
  it.each([
    ['gnu', false],
    ['oldgnu', false],
    ['posix', true],
  ] as const)('in the format %s are read exactly', (format, exactTime) => {
    const tar = gnuTar(`--format=${format}`)
    const { members, all } = collect(tar)
    expect(all.equals(tar)).toBe(true)
    expect(members).toHaveLength(readdirSync(join(directory, 'tree'), { recursive: true }).length + 1)
    expect(members.filter(({ entry }) => entry.kind === 'hardlink')).toHaveLength(2)
    for (const member of members) expectFile(member, exactTime)
  })

  it.each([
    ['v7', ['--exclude=long*', '--exclude=hard-to-long', '--exclude=fifo', '--exclude=block']],
    ['ustar', ['--exclude=long-link', '--exclude=nnn*', '--exclude=hard-to-long', '--exclude=block']],
  ] as const)('in the format %s are read exactly, as far as it goes', (format, options) => {
    const { members } = collect(gnuTar(`--format=${format}`, ...options))
    expect(members.length).toBeGreaterThan(11)
    for (const member of members) expectFile(member, false)
  })

  it.each([
    ['gnu', []],
    ['oldgnu', []],
    ['posix', ['--sparse-version=0.0']],
    ['posix', ['--sparse-version=0.1']],
    ['posix', ['--sparse-version=1.0']],
  ] as const)('with sparse files in the format %s %j are read exactly', (format, options) => {
    const tar = gnuTar(`--format=${format}`, '--sparse', '--hole-detection=raw', ...options)
    const { members, all } = collect(tar)
    expect(all.equals(tar)).toBe(true)
    for (const member of members) expectFile(member, format === 'posix')
    const sparse = members.filter(({ entry }) => entry.sparse !== null)
    expect(sparse.map(({ entry }) => entry.path.replace('./', ''))).toEqual([HOLE, SPARSE, VERY_SPARSE])
    expect(tar.length).toBeLessThan(1_000_000)
  })

  it('with global headers are read as GNU tar reads them', () => {
    const tar = gnuTar('--format=posix', '--pax-option=globexthdr.name=g,uid=77,comment=x', '--exclude=block')
    expect(new Set(collect(tar).members.map(({ entry }) => entry.uid))).toEqual(new Set([77]))
  })

  it('with old time stamps are read exactly', () => {
    const tar = gnuTar('--format=gnu', '--mtime=1901-01-01 00:00:00 UTC')
    for (const { entry } of collect(tar).members) expect(entry.mtimeSeconds).toBe(-2177452800n)
  })
})

const PYTHON_READER = `
import sys, json, tarfile, hashlib, io
kinds = {b"0": "file", b"\\0": "file", b"7": "file", b"S": "file", b"1": "hardlink", b"2": "symlink", b"3": "char",
         b"4": "block", b"5": "directory", b"6": "fifo"}
raw = lambda text: text.encode("utf-8", "surrogateescape").hex()
out = []
tar = tarfile.open(fileobj=io.BytesIO(sys.stdin.buffer.read()), encoding="utf-8", errors="surrogateescape")
for m in tar:
    device = m.type in (b"3", b"4")
    data = tar.extractfile(m).read() if m.isreg() else b""
    out.append({
        "kind": kinds[m.type], "path": raw(m.name.rstrip("/")),
        "link": raw(m.linkname) if m.type in (b"1", b"2") else "",
        "mode": m.mode & 0o7777, "uid": m.uid, "gid": m.gid, "seconds": str(int(m.mtime // 1)),
        "size": m.size if m.isreg() else 0, "major": m.devmajor if device else 0, "minor": m.devminor if device else 0,
        "digest": "sha256:" + hashlib.sha256(data).hexdigest(),
        "xattrs": {raw(k[13:]): raw(v) for k, v in m.pax_headers.items() if k.startswith("SCHILY.xattr.")},
    })
json.dump(out, sys.stdout)
`

/** Our reading in the form of the program above. */
function asPython(member: CollectedMember) {
  const { entry } = member
  const hex = (value: string) => Buffer.from(value, 'latin1').toString('hex')
  return {
    kind: entry.kind,
    path: hex(entry.path.replace(/\/+$/, '')),
    link: hex(entry.linkPath),
    mode: entry.mode,
    uid: entry.uid,
    gid: entry.gid,
    seconds: String(entry.mtimeSeconds),
    size: entry.size,
    major: entry.major,
    minor: entry.minor,
    digest: sha256(expand(member)),
    xattrs: Object.fromEntries([...entry.xattrs].map(([name, value]) => [hex(name), hex(value)])),
  }
}

function readByPython(tar: Uint8Array) {
  return JSON.parse(
    execFileSync('python3', ['-c', PYTHON_READER], { input: tar, maxBuffer: 1 << 28 }).toString(),
  )
}

describe.skipIf(!hasPython)('another reader, tarfile of Python (needs it)', () => {
  it('reads what our builder writes as we do', () => {
    const runs = Array.from({ length: 30 }, (_, i) => [i * 1000, `run ${i}`] as const)
    const tar = layer()
      .dir('d', { mode: 0o1777 })
      .file('d/späße\n', 'x', {
        mtime: -5,
        mtimeNanoseconds: 500_000_000,
        xattrs: { 'user.a': 'b=c\n\u00ff' },
      })
      .file(Buffer.from([0x64, 0xff, 0x64]), 'bytes')
      .file('n'.repeat(300), 'y'.repeat(600), { uid: 4_000_000_000, gid: 2 ** 21 })
      .symlink('s', `/${'t'.repeat(200)}`)
      .hardlink('h', 'd/späße\n')
      .char('c', 4095, 1048575)
      .block('b', 7, 200)
      .fifo('p')
      .globalPax([['uid', '12']])
      .member({ name: 'global', uid: 3 })
      .pax([['uid', '13']])
      .long('L', 'long/name')
      .long('K', 'long/target')
      .member({ name: 'cut', type: '2', magic: 'gnu', mtime: 2n ** 40n })
      .member({ name: 'name', prefix: 'prefix', gid: 2_000_000_000n, mtime: -7n })
      .member({ name: 'old/', type: '\0', magic: 'v7' })
      // Python forgets global headers for members of type S.
      .globalPax([['uid', '']])
      .sparse('s1', { size: 50_000, runs }, 'old')
      .sparse('s2', { size: 50_000, runs }, '0.0')
      .sparse('s3', { size: 50_000, runs }, '0.1')
      .sparse('s4', { size: 50_000, runs }, '1.0')
      .build()
    const { members } = collect(tar)
    expect(members).toHaveLength(17)
    expect(members.map(asPython)).toEqual(readByPython(tar))
  })

  it.skipIf(!hasGnuTar).each(['v7', 'gnu', 'posix'])(
    'reads what GNU tar writes as %s as we do (needs GNU tar)',
    (format) => {
      const options =
        format === 'v7'
          ? ['--exclude=long*', '--exclude=hard-to-long', '--exclude=fifo', '--exclude=block']
          : []
      const tar = gnuTar(
        `--format=${format}`,
        ...options,
        ...(format === 'v7' ? [] : ['--sparse', '--hole-detection=raw']),
      )
      expect(collect(tar).members.map(asPython)).toEqual(readByPython(tar))
    },
  )
})

describe('another reader and writer, tar-stream', () => {
  it('writes what we read', async () => {
    const archive = pack()
    archive.entry({ name: 'a/b', mode: 0o640, uid: 5, gid: 6, mtime: new Date(7_000) }, 'text')
    archive.entry({ name: 'd', type: 'directory' })
    archive.entry({ name: 's', type: 'symlink', linkname: 't'.repeat(150) })
    archive.entry(
      { name: `${'p'.repeat(90)}/${'q'.repeat(90)}`, pax: { 'SCHILY.xattr.user.a': 'b' } },
      'x'.repeat(1000),
    )
    archive.finalize()
    const chunks: Uint8Array[] = []
    for await (const chunk of archive) chunks.push(chunk as Uint8Array)
    const { members } = collect(Buffer.concat(chunks))
    expect(
      members.map(({ entry, content }) => [entry.kind, entry.path, entry.linkPath, content.length]),
    ).toEqual([
      ['file', 'a/b', '', 4],
      ['directory', 'd', '', 0],
      ['symlink', 's', 't'.repeat(150), 0],
      ['file', `${'p'.repeat(90)}/${'q'.repeat(90)}`, '', 1000],
    ])
    expect(members[0]!.entry).toMatchObject({ mode: 0o640, uid: 5, gid: 6, mtimeSeconds: 7n })
    expect(members[3]!.entry.xattrs).toEqual(new Map([['user.a', 'b']]))
  })

  it('reads what we read', async () => {
    const tar = layer()
      .dir('d')
      .file('d/späße', 'content', { uid: 3000, mtime: 1000 })
      .symlink('s', 'd')
      .long('L', 'l'.repeat(200))
      .member({ name: 'cut', magic: 'gnu', data: 'long' })
      .char('c', 1, 3)
      .build()
    const found: (Header & { content: string })[] = []
    const reader = extractStream()
    const done = (async () => {
      for await (const entry of reader) {
        const parts: Uint8Array[] = []
        for await (const part of entry) parts.push(part as Uint8Array)
        found.push({ ...entry.header, content: Buffer.concat(parts).toString() })
      }
    })()
    reader.end(tar)
    await done
    const { members } = collect(tar)
    const utf8 = (value: string) => Buffer.from(value, 'latin1').toString()
    expect(
      members.map(({ entry, content }) => [utf8(entry.path), entry.uid, entry.size, content.toString()]),
    ).toEqual(found.map(({ name, uid, size, content }) => [name, uid, size, content]))
    expect(found).toHaveLength(5)
  })
})
