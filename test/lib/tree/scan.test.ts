import { execFileSync } from 'node:child_process'
import {
  linkSync,
  lutimesSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { describe, expect, it } from 'vitest'
import { type ByteString, byteString } from '../../../lib/bytes.js'
import { pathString } from '../../../lib/linux/c-string.js'
import { DirectoryChain } from '../../../lib/linux/directory-chain.js'
import {
  close,
  makeDirectoryAt,
  makeNodeAt,
  openDirectory,
  openDirectoryAt,
  setTimesAt,
} from '../../../lib/linux/files.js'
import { setXattrAt } from '../../../lib/linux/xattr.js'
import { openScanned, type ScannedEntry, scanDirectory } from '../../../lib/tree/scan.js'
import { isRoot, openBelow, thrownBy, useScratch } from '../linux/scratch.js'

const scratch = useScratch()

const paths = (): string[] => Array.from(scanDirectory(scratch.path), (entry) => entry.path as string)

function entryOf(path: string): ScannedEntry {
  for (const entry of scanDirectory(scratch.path)) if (entry.path === path) return entry
  throw new Error(`no ${path}`)
}

describe('scanning a directory', () => {
  it('goes depth first, the top first, names in byte order', () => {
    for (const path of ['b/z', 'b/a', 'b-x', 'a', 'b.d/x'])
      mkdirSync(`${scratch.path}/${path}`, { recursive: true })
    writeFileSync(Buffer.from(`${scratch.path}/\xff`, 'latin1'), '')
    writeFileSync(`${scratch.path}/Z`, '')
    expect(paths()).toEqual(['', 'Z', 'a', 'b', 'b/a', 'b/z', 'b-x', 'b.d', 'b.d/x', '\xff'])
    expect(openBelow(scratch.path)).toEqual([])
  })

  it('says all that a tree would hold', () => {
    const directory = openDirectory(pathString(scratch.path))
    writeFileSync(`${scratch.path}/f`, 'x'.repeat(5000), { mode: 0o640 })
    setXattrAt(directory, byteString('f'), byteString('user.a'), '\0\xff' as ByteString)
    setTimesAt(directory, byteString('f'), -3n, 4)
    linkSync(`${scratch.path}/f`, `${scratch.path}/g`)
    symlinkSync('../\xfc', `${scratch.path}/s`)
    setTimesAt(directory, byteString('s'), 7n, 8)
    makeNodeAt(directory, byteString('p'), 'fifo', 0o600)
    close(directory)
    const [uid, gid] = [process.geteuid!(), process.getegid!()]
    const found = new Map(Array.from(scanDirectory(scratch.path), (entry) => [entry.path as string, entry]))
    const file = {
      kind: 'file',
      mode: 0o640,
      uid,
      gid,
      mtimeSeconds: -3n,
      mtimeNanoseconds: 4,
      size: 5000,
      major: 0,
      minor: 0,
      target: '',
      xattrs: new Map([['user.a', '\0\xff']]),
    }
    expect(found.get('f')).toMatchObject({ ...file, path: 'f', linkTo: null })
    expect(found.get('g')).toMatchObject({ ...file, path: 'g', linkTo: 'f', inode: found.get('f')!.inode })
    expect(found.get('s')).toMatchObject({
      kind: 'symlink',
      target: byteString('../\xfc'),
      size: 0,
      mtimeSeconds: 7n,
      mtimeNanoseconds: 8,
      xattrs: new Map(),
    })
    expect(found.get('p')).toMatchObject({ kind: 'fifo', linkTo: null, size: 0 })
    expect(found.get('')).toMatchObject({ kind: 'directory', linkTo: null, size: 0 })
  })

  it.skipIf(!isRoot)('says numbers of devices and attributes of symlinks (needs root)', () => {
    const directory = openDirectory(pathString(scratch.path))
    makeNodeAt(directory, byteString('c'), 'char', 0o600, 4095, 1_048_575)
    symlinkSync('c', `${scratch.path}/l`)
    setXattrAt(directory, byteString('l'), byteString('trusted.x'), byteString('y'))
    close(directory)
    expect(entryOf('c')).toMatchObject({ kind: 'char', major: 4095, minor: 1_048_575 })
    expect(entryOf('l')).toMatchObject({ kind: 'symlink', xattrs: new Map([['trusted.x', 'y']]) })
  })

  it('follows a symlink to the top and none below', () => {
    mkdirSync(`${scratch.path}/real/sub`, { recursive: true })
    symlinkSync('sub', `${scratch.path}/real/link`)
    symlinkSync('real', `${scratch.path}/top`)
    expect(Array.from(scanDirectory(`${scratch.path}/top`), ({ path, kind }) => [path, kind])).toEqual([
      ['', 'directory'],
      ['link', 'symlink'],
      ['sub', 'directory'],
    ])
  })

  it('goes deeper than a path can name, and opens files there', () => {
    {
      using chain = new DirectoryChain(openDirectory(pathString(scratch.path)))
      for (let i = 0; i < 1500; i++) {
        makeDirectoryAt(chain.fd, byteString('deep'), 0o700)
        chain.enter(byteString('deep'), openDirectoryAt(chain.fd, byteString('deep')))
      }
      writeFileSync(`/proc/self/fd/${chain.fd}/file`, 'content')
    }
    const entries = [...scanDirectory(scratch.path)]
    expect(entries).toHaveLength(1502)
    const last = entries[1501]!
    expect(last.path).toBe(`${'deep/'.repeat(1500)}file`)
    const root = openDirectory(pathString(scratch.path))
    const fd = openScanned(root, last)
    expect(readFileSync(fd, 'utf8')).toBe('content')
    close(fd)
    close(root)
    expect(openBelow(scratch.path)).toEqual([])
  })

  it('closes what it opened when nobody goes on', () => {
    mkdirSync(`${scratch.path}/a/b/c`, { recursive: true })
    for (const entry of scanDirectory(scratch.path)) if (entry.path === 'a/b') break
    expect(openBelow(scratch.path)).toEqual([])
  })

  it('fails for what is no directory', () => {
    writeFileSync(`${scratch.path}/f`, '')
    expect(thrownBy(() => [...scanDirectory(`${scratch.path}/f`)])).toMatchObject({ code: 'ENOTDIR' })
    expect(thrownBy(() => [...scanDirectory(`${scratch.path}/none`)])).toMatchObject({ code: 'ENOENT' })
  })

  it('says what vanished while it was read', () => {
    for (const name of ['a', 'b']) writeFileSync(`${scratch.path}/${name}`, '')
    const error = thrownBy(() => {
      for (const entry of scanDirectory(scratch.path)) if (entry.path === 'a') unlinkSync(`${scratch.path}/b`)
    })
    expect(error).toMatchObject({
      kind: 'integrity',
      code: 'source-changed',
      facts: { path: 'b' },
      temporary: true,
    })
  })

  it.skipIf(!isRoot)('refuses a mount in it, and takes one as its top (needs root)', () => {
    mkdirSync(`${scratch.path}/top/mount`, { recursive: true })
    execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', `${scratch.path}/top/mount`])
    try {
      mkdirSync(`${scratch.path}/top/mount/d`)
      expect(thrownBy(() => [...scanDirectory(`${scratch.path}/top`)])).toMatchObject({
        kind: 'image',
        code: 'entry-refused',
        facts: { directory: `${scratch.path}/top`, entry: 'mount' },
      })
      expect(Array.from(scanDirectory(`${scratch.path}/top/mount`), ({ path }) => path)).toEqual(['', 'd'])
    } finally {
      execFileSync('umount', [`${scratch.path}/top/mount`])
    }
    expect(openBelow(scratch.path)).toEqual([])
  })
})

/** Not removed first: the inode number could be used again. */
function replace(path: string, make: () => void): void {
  renameSync(path, `${path}-before`)
  make()
}

describe('opening what was scanned', () => {
  it.each<[string, (path: string) => void]>([
    ['a symlink', (path) => replace(path, () => symlinkSync('/etc/passwd', path))],
    ['a FIFO', (path) => replace(path, () => execFileSync('mkfifo', [path]))],
    ['another file', (path) => replace(path, () => writeFileSync(path, 'content'))],
    ['a longer file', (path) => truncateSync(path, 100)],
    ['a younger file', (path) => utimesSync(path, 1, 1)],
    ['nothing', (path) => unlinkSync(path)],
  ])('refuses %s that took the place of the file', (_, change) => {
    mkdirSync(`${scratch.path}/d`)
    writeFileSync(`${scratch.path}/d/f`, 'content')
    const entry = entryOf('d/f')
    change(`${scratch.path}/d/f`)
    const root = openDirectory(pathString(scratch.path))
    expect(thrownBy(() => openScanned(root, entry))).toMatchObject({
      kind: 'integrity',
      code: 'source-changed',
      facts: { path: 'd/f' },
    })
    close(root)
    expect(openBelow(scratch.path)).toEqual([])
  })

  it('does not go through a directory that became a symlink', () => {
    mkdirSync(`${scratch.path}/d`)
    writeFileSync(`${scratch.path}/d/f`, 'content')
    const entry = entryOf('d/f')
    renameSync(`${scratch.path}/d`, `${scratch.path}/e`)
    symlinkSync('e', `${scratch.path}/d`)
    lutimesSync(`${scratch.path}/d`, 1, 1)
    const root = openDirectory(pathString(scratch.path))
    expect(thrownBy(() => openScanned(root, entry))).toMatchObject({ code: 'source-changed' })
    close(root)
    rmSync(`${scratch.path}/d`)
  })
})
