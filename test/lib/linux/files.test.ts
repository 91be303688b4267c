import {
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { beforeEach, describe, expect, it } from 'vitest'
import { byteString, fromBytes } from '../../../lib/bytes.js'
import { cString, descriptorPath, pathString, textOf } from '../../../lib/linux/c-string.js'
import {
  AT_FDCWD,
  O_CREAT,
  O_EXCL,
  O_NOFOLLOW,
  O_RDONLY,
  O_RDWR,
  RENAME_EXCHANGE,
  RENAME_NOREPLACE,
  SEEK_END,
} from '../../../lib/linux/constants.js'
import * as files from '../../../lib/linux/files.js'
import { isRoot, thrownBy, useScratch } from './scratch.js'

const scratch = useScratch()
let directory: number

beforeEach(() => {
  directory = files.openDirectory(pathString(scratch.path))
  return () => files.close(directory)
})

const name = byteString
const at = (path: string): string => `${scratch.path}/${path}`

describe('C strings', () => {
  it('end with one NUL and hold any other byte', () => {
    expect([...cString(fromBytes(Uint8Array.of(0xff, 1, 0x2f)))]).toEqual([0xff, 1, 0x2f, 0])
    expect(textOf(cString(name('ü')))).toBe(name('ü'))
  })

  it('refuse a NUL inside, which would name another file', () => {
    expect(thrownBy(() => cString('etc/passwd\0.png' as never))).toMatchObject({ code: 'EINVAL' })
  })
})

describe('files', () => {
  it('are made with any bytes in their names, without following the last name', () => {
    const odd = fromBytes(Uint8Array.of(0xff, 0xfe, 0x0a, 0x20))
    files.close(files.openAt(directory, odd, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600))
    expect(readdirSync(scratch.path, 'buffer').map((found) => [...found])).toEqual([[0xff, 0xfe, 0x0a, 0x20]])
    symlinkSync('nowhere', at('link'))
    expect(thrownBy(() => files.openAt(directory, name('link'), O_RDONLY | O_NOFOLLOW))).toMatchObject({
      code: 'ELOOP',
      syscall: 'openat',
      path: 'link',
    })
    expect(thrownBy(() => files.openDirectoryAt(directory, name('link')))).toMatchObject({ code: 'ENOTDIR' })
  })

  it('are opened so that programs started meanwhile do not inherit them', () => {
    const flags = /^flags:\s*([0-7]+)$/m.exec(readFileSync(`/proc/self/fdinfo/${directory}`, 'utf8'))
    expect(Number.parseInt(flags![1]!, 8) & 0o2000000).toBe(0o2000000)
  })

  it('are read and written at positions, whole', () => {
    const fd = files.openAt(directory, name('f'), O_RDWR | O_CREAT, 0o600)
    files.writeAllAt(fd, Buffer.from('0123456789'), 5)
    const buffer = Buffer.alloc(8)
    expect(files.readAt(fd, buffer, 100, 3)).toBe(8)
    expect(buffer.toString('latin1')).toBe('\0\x00012345')
    expect(files.readAt(fd, buffer, 8, 15)).toBe(0)
    files.truncate(fd, 7)
    expect(files.seek(fd, 0, SEEK_END)).toBe(7)
    files.close(fd)
    expect(thrownBy(() => files.writeAllAt(fd, Buffer.from('x'), 0))).toMatchObject({
      code: 'EBADF',
      syscall: 'pwrite',
    })
  })

  it('get further names, new names and none, and symlinks are never followed', () => {
    writeFileSync(at('a'), 'a')
    symlinkSync('a', at('s'))
    files.linkAt(directory, name('a'), directory, name('b'))
    files.linkAt(directory, name('s'), directory, name('t'))
    expect(lstatSync(at('b')).ino).toBe(lstatSync(at('a')).ino)
    expect(files.readLinkAt(directory, name('t'))).toBe('a')
    expect(
      thrownBy(() => files.renameAt(directory, name('a'), directory, name('b'), RENAME_NOREPLACE)),
    ).toMatchObject({
      code: 'EEXIST',
      syscall: 'renameat2',
      path: 'b',
    })
    files.renameAt(directory, name('b'), directory, name('t'), RENAME_EXCHANGE)
    expect(readlinkSync(at('b'))).toBe('a')
    files.renameAt(directory, name('t'), directory, name('u'))
    files.unlinkAt(directory, name('s'))
    expect(readdirSync(scratch.path).sort()).toEqual(['a', 'b', 'u'])
    expect(readFileSync(at('a'), 'utf8')).toBe('a')
  })

  it('are changed in mode without following a symlink, also when they cannot be opened', () => {
    files.makeNodeAt(directory, name('fifo'), 'fifo', 0)
    files.changeModeAt(directory, name('fifo'), 0o7654)
    expect(lstatSync(at('fifo')).mode & 0o7777).toBe(0o7654)
    writeFileSync(at('target'), '', { mode: 0o600 })
    symlinkSync('target', at('link'))
    expect(['ENOTSUP', 'ELOOP']).toContain(
      thrownBy(() => files.changeModeAt(directory, name('link'), 0o777)).code as string,
    )
    expect(statSync(at('target')).mode & 0o7777).toBe(0o600)
  })

  it('get times of full range with nanoseconds, symlinks too', () => {
    writeFileSync(at('f'), '')
    symlinkSync('f', at('s'))
    files.setTimesAt(directory, name('s'), -2n, 999_999_999)
    const fd = files.openAt(directory, name('f'), O_RDONLY)
    files.setTimes(fd, 4_294_967_296n, 1)
    files.close(fd)
    expect(lstatSync(at('s'), { bigint: true }).mtimeNs).toBe(-1_000_000_001n)
    expect(lstatSync(at('f'), { bigint: true }).mtimeNs).toBe(4_294_967_296_000_000_001n)
  })

  it.each([
    [1n << 63n, 0],
    [0n, 1_000_000_000],
    [0n, 0x3fffffff], // UTIME_NOW
    [0n, -1],
    [0n, 0.5],
  ])('refuse the time %i and %d ns, which the kernel would take for another', (seconds, nanoseconds) => {
    expect(() => files.setTimes(directory, seconds, nanoseconds)).toThrow(RangeError)
  })

  it.skipIf(!isRoot)('become devices and other owners of full range (needs root)', () => {
    files.makeNodeAt(directory, name('c'), 'char', 0o600, 4095, 1_048_575)
    files.makeNodeAt(directory, name('b'), 'block', 0o600, 259, 65_536)
    files.changeOwnerAt(directory, name('c'), 4_294_967_294, 3_000_000_000)
    const [c, b] = [lstatSync(at('c')), lstatSync(at('b'))]
    expect([c.uid, c.gid]).toEqual([4_294_967_294, 3_000_000_000])
    // The dev_t of C: minor 0-7, major 8-19, minor 20 and above.
    expect(c.rdev).toBe(0xff + 0xfff * 256 + 0xfff * 2 ** 20)
    expect(b.rdev).toBe(259 * 256 + 0x100 * 2 ** 20)
  })

  it('say which name a call failed for', () => {
    mkdirSync(at('full/sub'), { recursive: true })
    expect(thrownBy(() => files.removeDirectoryAt(directory, name('full')))).toMatchObject({
      code: 'ENOTEMPTY',
      syscall: 'unlinkat',
      path: 'full',
    })
    expect(thrownBy(() => files.makeDirectoryAt(directory, name('full'), 0o700))).toMatchObject({
      code: 'EEXIST',
    })
    expect(
      thrownBy(() => files.openAt(AT_FDCWD, descriptorPath(directory, name('no')), O_RDONLY)),
    ).toMatchObject({
      code: 'ENOENT',
      path: `/proc/self/fd/${directory}/no`,
    })
  })
})
