/**
 * Making, changing and removing files relative to a directory's descriptor, without following the last name.
 *
 * Thin: one call each, made again when a signal interrupts it, its error thrown as Node's fs would. Every descriptor
 * is opened with O_CLOEXEC, so that no program started meanwhile inherits it.
 */
import { type ByteString, fromBytes } from '../bytes.js'
import { asCString, descriptorPath, type PathArgument, textOf } from './c-string.js'
import { type Calls, calls } from './calls.js'
import {
  AT_FDCWD,
  AT_REMOVEDIR,
  AT_SYMLINK_NOFOLLOW,
  O_CLOEXEC,
  O_DIRECTORY,
  O_NOFOLLOW,
  O_PATH,
  O_RDONLY,
  S_IFBLK,
  S_IFCHR,
  S_IFIFO,
  S_IFSOCK,
  SEEK_SET,
  TIMESPEC,
} from './constants.js'
import { ERRNO, errnoError } from './errno.js'

const NAME_MAX_TARGET = 4096 // PATH_MAX: no symlink is longer

/** Throws the error of the call that was made last. */
export function failed(syscall: string, path?: PathArgument): never {
  const errno = calls().errno()
  throw errnoError(errno, syscall, path === undefined ? undefined : textOf(path))
}

/** Makes a call again for as long as signals interrupt it. */
export function uninterrupted(call: (libc: Calls) => number): number {
  const libc = calls()
  let result = call(libc)
  while (result < 0 && libc.errno() === ERRNO.EINTR) result = call(libc)
  return result
}

/** The same on another thread. @returns what errno was, 0 for success */
export async function uninterruptedLater(call: (libc: Calls) => Promise<number>): Promise<number> {
  for (;;) {
    const errno = await call(calls())
    if (errno !== ERRNO.EINTR) return errno
  }
}

/**
 * Opens a file; the path may be absolute, then the directory does not matter.
 *
 * @param flags O_CLOEXEC is added. O_NOFOLLOW is not: say it wherever the last name could be a symlink
 */
export function openAt(directory: number, path: PathArgument, flags: number, mode = 0): number {
  const libc = calls()
  const name = asCString(path)
  for (;;) {
    const fd = libc.openat(directory, name, flags | O_CLOEXEC, mode)
    if (fd >= 0) return fd
    const errno = libc.errno()
    if (errno !== ERRNO.EINTR) throw errnoError(errno, 'openat', textOf(path))
  }
}

/** Opens a directory for reading and as a place for the other calls. Fails with ENOTDIR for all else, symlinks too. */
export function openDirectoryAt(directory: number, name: PathArgument): number {
  return openAt(directory, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW)
}

/** The same for a path as people give it: symlinks on the way and at its end are followed. */
export function openDirectory(path: PathArgument): number {
  return openAt(AT_FDCWD, path, O_RDONLY | O_DIRECTORY)
}

/** Closes a descriptor. Never made again: Linux has let go of it even when it says EINTR or EIO. */
export function close(fd: number): void {
  const libc = calls()
  if (libc.close(fd) < 0 && libc.errno() !== ERRNO.EINTR) failed('close')
}

export function makeDirectoryAt(directory: number, name: PathArgument, mode: number): void {
  if (calls().mkdirat(directory, asCString(name), mode) < 0) failed('mkdirat', name)
}

const NODE_TYPES = { char: S_IFCHR, block: S_IFBLK, fifo: S_IFIFO, socket: S_IFSOCK } as const

/**
 * Makes a device, FIFO or socket.
 *
 * @param major 0 to 4095, 0 for what is not a device
 * @param minor 0 to 1,048,575
 */
export function makeNodeAt(
  directory: number,
  name: PathArgument,
  kind: keyof typeof NODE_TYPES,
  mode: number,
  major = 0,
  minor = 0,
): void {
  // The dev_t of C (makedev(3)) for the range that the kernel has: the low 8 bits of minor, 12 bits of major, the rest.
  const device = (minor & 0xff) + major * 2 ** 8 + Math.floor(minor / 256) * 2 ** 20
  if (calls().mknodat(directory, asCString(name), NODE_TYPES[kind] | mode, device) < 0)
    failed('mknodat', name)
}

export function symlinkAt(target: PathArgument, directory: number, name: PathArgument): void {
  if (calls().symlinkat(asCString(target), directory, asCString(name)) < 0) failed('symlinkat', name)
}

export function readLinkAt(directory: number, name: PathArgument): ByteString {
  const buffer = Buffer.allocUnsafe(NAME_MAX_TARGET)
  const length = calls().readlinkat(directory, asCString(name), buffer, buffer.length)
  if (length < 0) failed('readlinkat', name)
  return fromBytes(buffer, 0, length)
}

/** Gives a file a further name. When `path` is a symlink, the symlink itself gets it. */
export function linkAt(
  fromDirectory: number,
  path: PathArgument,
  directory: number,
  name: PathArgument,
): void {
  if (calls().linkat(fromDirectory, asCString(path), directory, asCString(name), 0) < 0)
    failed('linkat', name)
}

export function unlinkAt(directory: number, name: PathArgument): void {
  if (calls().unlinkat(directory, asCString(name), 0) < 0) failed('unlinkat', name)
}

export function removeDirectoryAt(directory: number, name: PathArgument): void {
  if (calls().unlinkat(directory, asCString(name), AT_REMOVEDIR) < 0) failed('unlinkat', name)
}

/** @param flags RENAME_NOREPLACE, RENAME_EXCHANGE, or 0 */
export function renameAt(
  fromDirectory: number,
  from: PathArgument,
  directory: number,
  name: PathArgument,
  flags = 0,
): void {
  const result = calls().renameat2(fromDirectory, asCString(from), directory, asCString(name), flags)
  if (result < 0) failed('renameat2', name)
}

/** @param uid 0 to 2^32 - 2; callers see to it, 2^32 - 1 would mean "leave it" */
export function changeOwner(fd: number, uid: number, gid: number): void {
  if (calls().fchown(fd, uid, gid) < 0) failed('fchown')
}

/** Does not follow a symlink. */
export function changeOwnerAt(directory: number, name: PathArgument, uid: number, gid: number): void {
  const result = calls().fchownat(directory, asCString(name), uid, gid, AT_SYMLINK_NOFOLLOW)
  if (result < 0) failed('fchownat', name)
}

/** @param mode 0 to 0o7777 */
export function changeMode(fd: number, mode: number): void {
  if (calls().fchmod(fd, mode) < 0) failed('fchmod')
}

/**
 * Changes the mode of anything but a symlink, also of what cannot be opened. Fails with ENOTSUP or ELOOP for symlinks.
 *
 * fchmodat(2) follows symlinks, and its flag against that is newer than the kernels that groot runs on; a descriptor
 * that was opened with O_PATH is fixed to one file, and its path in /proc leads there and nowhere else.
 */
export function changeModeAt(directory: number, name: PathArgument, mode: number): void {
  const fd = openAt(directory, name, O_PATH | O_NOFOLLOW)
  try {
    if (calls().fchmodat(AT_FDCWD, descriptorPath(fd), mode, 0) < 0) failed('fchmodat', name)
  } finally {
    close(fd)
  }
}

/** One thread makes one call at a time, so one piece of memory serves for all times. */
const times = Buffer.alloc(2 * TIMESPEC.size)
const timeFields = new BigInt64Array(times.buffer, times.byteOffset, 4)

/** @throws {RangeError} outside of signed 64 bits, or for nanoseconds that utimensat(2) would take for a command */
function fillTimes(seconds: bigint, nanoseconds: number): Buffer {
  if (BigInt.asIntN(64, seconds) !== seconds) throw new RangeError(`seconds out of range: ${seconds}`)
  if (!(Number.isInteger(nanoseconds) && nanoseconds >= 0 && nanoseconds <= 999_999_999)) {
    throw new RangeError(`nanoseconds out of range: ${nanoseconds}`)
  }
  timeFields[0] = timeFields[2] = seconds
  timeFields[1] = timeFields[3] = BigInt(nanoseconds)
  return times
}

/** Sets the times of access and of change of content. Filesystems round and clamp without a word; who needs them exact reads them back. */
export function setTimes(fd: number, seconds: bigint, nanoseconds: number): void {
  if (calls().futimens(fd, fillTimes(seconds, nanoseconds)) < 0) failed('futimens')
}

/** Does not follow a symlink. */
export function setTimesAt(
  directory: number,
  name: PathArgument,
  seconds: bigint,
  nanoseconds: number,
): void {
  const values = fillTimes(seconds, nanoseconds)
  const result = calls().utimensat(directory, asCString(name), values, AT_SYMLINK_NOFOLLOW)
  if (result < 0) failed('utimensat', name)
}

/** Moves a descriptor's offset, or finds data and holes. */
export function seek(fd: number, offset: number, whence: number = SEEK_SET): number {
  const result = calls().lseek(fd, offset, whence)
  if (result < 0) failed('lseek')
  return result
}

export function truncate(fd: number, size: number): void {
  if (uninterrupted((libc) => libc.ftruncate(fd, size)) < 0) failed('ftruncate')
}

/** Takes room on the disk for a range of a file, whose size grows with it. Reads as zeroes. */
export function allocate(fd: number, offset: number, length: number): void {
  if (uninterrupted((libc) => libc.fallocate(fd, 0, offset, length)) < 0) failed('fallocate')
}

/** @returns how many bytes were read; 0 at the end of the file */
export function readAt(fd: number, buffer: Uint8Array, length: number, position: number): number {
  const count = uninterrupted((libc) => libc.pread(fd, buffer, Math.min(length, buffer.length), position))
  if (count < 0) failed('pread')
  return count
}

/** Writes all of the bytes. */
export function writeAllAt(fd: number, bytes: Uint8Array, position: number): void {
  let done = 0
  while (done < bytes.length) {
    const rest = done === 0 ? bytes : bytes.subarray(done)
    const count = uninterrupted((libc) => libc.pwrite(fd, rest, rest.length, position + done))
    if (count < 0) failed('pwrite')
    done += count
  }
}
