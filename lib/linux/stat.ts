/**
 * What the kernel says of a file, by statx(2): with nanoseconds, 64-bit times and the mount that it stands on.
 *
 * Symlinks are never followed and automounts not triggered.
 */
import { readFileSync } from 'node:fs'
import { asCString, EMPTY_PATH, type PathArgument, pathString } from './c-string.js'
import { calls } from './calls.js'
import {
  AT_EMPTY_PATH,
  AT_FDCWD,
  AT_NO_AUTOMOUNT,
  AT_SYMLINK_NOFOLLOW,
  S_IFBLK,
  S_IFCHR,
  S_IFDIR,
  S_IFIFO,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
  S_IFSOCK,
  STATX,
  STATX_ATTR_MOUNT_ROOT,
  STATX_BASIC_STATS,
  STATX_MNT_ID,
  STATX_SIZE,
} from './constants.js'
import { ERRNO } from './errno.js'
import { failed } from './files.js'

export type FileKind = 'file' | 'directory' | 'symlink' | 'char' | 'block' | 'fifo' | 'socket'

export interface FileStat {
  readonly kind: FileKind
  /** Permission bits, set-id and sticky bits. */
  readonly mode: number
  readonly uid: number
  readonly gid: number
  readonly nlink: number
  /** Bytes; exact below 2^53. */
  readonly size: number
  /** Of 512 bytes. */
  readonly blocks: number
  /** Device of the filesystem: major * 2^20 + minor. */
  readonly device: number
  readonly inode: bigint
  readonly mtimeSeconds: bigint
  readonly mtimeNanoseconds: number
  /** Numbers of the device that a device file stands for, else 0. */
  readonly major: number
  readonly minor: number
  /** Mount that the file was reached through; null before Linux 5.8, see mountIdOf(). */
  readonly mountId: number | null
  /** Whether something is mounted here; null when the kernel does not say. */
  readonly isMountRoot: boolean | null
}

// Where the kernel writes its answer. One thread makes one call at a time, and the answer is read before the next.
const answer = Buffer.alloc(STATX.size)
const words = new Uint32Array(answer.buffer, answer.byteOffset, STATX.size / 4)
const longs = new BigInt64Array(answer.buffer, answer.byteOffset, STATX.size / 8)

const MASK = STATX_BASIC_STATS | STATX_MNT_ID
const FLAGS = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT

export function statAt(directory: number, name: PathArgument): FileStat {
  if (calls().statx(directory, asCString(name), FLAGS, MASK, answer) < 0) failed('statx', name)
  return readAnswer()
}

export function statPath(path: PathArgument): FileStat {
  return statAt(AT_FDCWD, path)
}

/** The size of a file alone, in bytes, for those who ask for thousands. */
export function fileSize(path: string): number {
  const name = pathString(path)
  return fileSizeAt(AT_FDCWD, name) ?? failed('statx', name)
}

/** The same in a directory; null where there is none, which takes no longer. */
export function fileSizeAt(directory: number, name: PathArgument): number | null {
  if (calls().statx(directory, asCString(name), FLAGS, STATX_SIZE, answer) === 0)
    return double(STATX.fileSize)
  if (calls().errno() === ERRNO.ENOENT) return null
  failed('statx', name)
}

export function statDescriptor(fd: number): FileStat {
  if (calls().statx(fd, EMPTY_PATH, FLAGS | AT_EMPTY_PATH, MASK, answer) < 0) failed('statx')
  return readAnswer()
}

/** Whether two answers are of one file. Inode numbers alone are reused, so keep a descriptor while it matters. */
export function isSameFile(a: FileStat, b: FileStat): boolean {
  return a.inode === b.inode && a.device === b.device
}

/** The mount of a descriptor, also on kernels whose statx does not tell it. */
export function mountIdOf(fd: number): number {
  return statDescriptor(fd).mountId ?? mountIdFromProc(fd)
}

/** The same from /proc (Linux 3.15). @throws EIO when the kernel gives no mount id there */
export function mountIdFromProc(fd: number): number {
  const text = readFileSync(`/proc/self/fdinfo/${fd}`, 'latin1')
  const found = /^mnt_id:\s*([0-9]+)$/m.exec(text)
  if (!found)
    throw Object.assign(new Error('EIO: no mount id in fdinfo, read'), { code: 'EIO', syscall: 'read' })
  return Number(found[1])
}

function readAnswer(): FileStat {
  const fullMode = answer.readUInt16LE(STATX.mode)
  const hasMountId = (word(STATX.mask) & STATX_MNT_ID) !== 0
  const knowsMountRoot = (word(STATX.attributesMask) & STATX_ATTR_MOUNT_ROOT) !== 0
  return {
    kind: kindOf(fullMode),
    mode: fullMode & 0o7777,
    uid: word(STATX.uid),
    gid: word(STATX.gid),
    nlink: word(STATX.nlink),
    size: double(STATX.fileSize),
    blocks: double(STATX.blocks),
    device: word(STATX.devMajor) * 2 ** 20 + word(STATX.devMinor),
    inode: BigInt.asUintN(64, longs[STATX.ino / 8]!),
    mtimeSeconds: longs[STATX.mtimeSeconds / 8]!,
    mtimeNanoseconds: word(STATX.mtimeNanoseconds),
    major: word(STATX.rdevMajor),
    minor: word(STATX.rdevMinor),
    mountId: hasMountId ? double(STATX.mountId) : null,
    isMountRoot: knowsMountRoot ? (word(STATX.attributes) & STATX_ATTR_MOUNT_ROOT) !== 0 : null,
  }
}

/** Both supported architectures keep the low byte first. */
function word(offset: number): number {
  return words[offset / 4]!
}

function double(offset: number): number {
  return word(offset) + word(offset + 4) * 2 ** 32
}

function kindOf(mode: number): FileKind {
  switch (mode & S_IFMT) {
    case S_IFREG:
      return 'file'
    case S_IFDIR:
      return 'directory'
    case S_IFLNK:
      return 'symlink'
    case S_IFCHR:
      return 'char'
    case S_IFBLK:
      return 'block'
    case S_IFIFO:
      return 'fifo'
    case S_IFSOCK:
      return 'socket'
    default:
      throw new RangeError(`file type out of range: ${mode.toString(8)}`)
  }
}
