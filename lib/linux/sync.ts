/**
 * Making written things durable. All calls wait for the disk, so they belong on a worker thread.
 *
 * In an operation that does without (sync-mode.ts) nothing waits and nothing is written early: its store is left to the kernel.
 */
import { byteString } from '../bytes.js'
import { isErrno } from '../errors.js'
import { pathString } from './c-string.js'
import { calls } from './calls.js'
import {
  AT_FDCWD,
  O_NOFOLLOW,
  O_NONBLOCK,
  O_RDONLY,
  SYNC_FILE_RANGE_WAIT_AFTER,
  SYNC_FILE_RANGE_WAIT_BEFORE,
  SYNC_FILE_RANGE_WRITE,
} from './constants.js'
import { ERRNO, errnoError } from './errno.js'
import { close, failed, openAt, openDirectory, uninterrupted, uninterruptedLater } from './files.js'
import { isSyncing } from './sync-mode.js'

/** What some network and FUSE filesystems say to fsync of a directory. */
const NOTHING_TO_SYNC = ERRNO.EINVAL

/** Writes all that is not on disk yet of the filesystem that a descriptor is on, names and metadata too (syncfs). */
export function syncFilesystem(fd: number): void {
  if (isSyncing()) commitFilesystem(fd)
}

/** The same, also for those who do without: for what the filesystem tells only of what is on disk. */
export function commitFilesystem(fd: number): void {
  if (uninterrupted((libc) => libc.syncfs(fd)) < 0) failed('syncfs')
}

/** The same, waiting on another thread. The descriptor has to stay open. */
export async function syncFilesystemLater(fd: number): Promise<void> {
  if (!isSyncing()) return
  const errno = await uninterruptedLater((libc) => libc.syncfsLater(fd))
  if (errno !== 0) throw errnoError(errno, 'syncfs')
}

/** fsync, waiting on another thread. The descriptor has to stay open. */
export async function syncFileLater(fd: number): Promise<void> {
  if (!isSyncing()) return
  const errno = await uninterruptedLater((libc) => libc.fsyncLater(fd))
  if (errno !== 0) throw errnoError(errno, 'fsync')
}

/** The same for a file that is opened for it. @returns false when it cannot be opened: it is gone, or no file */
export async function syncPathLater(path: string): Promise<boolean> {
  if (!isSyncing()) return true
  let fd: number
  try {
    fd = openAt(AT_FDCWD, pathString(path), O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
  } catch (error) {
    if (isErrno(error)) return false
    throw error
  }
  try {
    await syncFileLater(fd)
    return true
  } catch (error) {
    if (isErrno(error, 'EINVAL')) return false
    throw error
  } finally {
    close(fd)
  }
}

/** The same for the filesystem that a directory is on. */
export function syncFilesystemOf(path: string): void {
  const fd = openDirectory(pathString(path))
  try {
    syncFilesystem(fd)
  } finally {
    close(fd)
  }
}

export function syncFile(fd: number): void {
  if (!isSyncing()) return
  if (uninterrupted((libc) => libc.fsync(fd)) < 0) failed('fsync')
}

/** Makes the names in a directory durable, waiting on another thread. */
export async function syncDirectoryLater(path: string): Promise<void> {
  if (!isSyncing()) return
  const fd = openDirectory(pathString(path))
  try {
    const errno = await uninterruptedLater((libc) => libc.fsyncLater(fd))
    if (errno !== 0 && errno !== NOTHING_TO_SYNC) throw errnoError(errno, 'fsync', byteString(path))
  } finally {
    close(fd)
  }
}

/** Makes the names in a directory durable. */
export function syncDirectory(path: string): void {
  if (!isSyncing()) return
  const fd = openDirectory(pathString(path))
  try {
    if (uninterrupted((libc) => libc.fsync(fd)) === 0) return
    const errno = calls().errno()
    if (errno !== NOTHING_TO_SYNC) throw errnoError(errno, 'fsync', byteString(path))
  } finally {
    close(fd)
  }
}

/**
 * Starts to write a range of a file and does not wait, so that a sync at the end has less to do. Only a hint: where the
 * filesystem does not know it, nothing happens.
 *
 * @param length 0 means to the end
 */
export function startWriteback(fd: number, offset: number, length: number): void {
  if (!isSyncing()) return
  const libc = calls()
  if (libc.sync_file_range(fd, offset, length, SYNC_FILE_RANGE_WRITE) === 0) return
  const errno = libc.errno()
  if (![ERRNO.EINVAL, ERRNO.ENOSYS, ERRNO.EOPNOTSUPP, ERRNO.ESPIPE, ERRNO.EINTR].includes(errno)) {
    throw errnoError(errno, 'sync_file_range')
  }
}

/**
 * Writes the contents of a file and waits for them on another thread, but not for its size and its name: on a filesystem that
 * keeps the order of metadata, the next sync of anything makes those durable.
 *
 * @returns false where the kernel or the filesystem cannot; then a sync of the file is needed
 */
export async function writeContentsLater(fd: number): Promise<boolean> {
  if (!isSyncing()) return true
  return isWritten(await uninterruptedLater((libc) => libc.syncFileRangeLater(fd, 0, 0, WRITE_AND_WAIT)))
}

/** The same, waiting here. */
export function writeContents(fd: number): boolean {
  if (!isSyncing()) return true
  const result = uninterrupted((libc) => libc.sync_file_range(fd, 0, 0, WRITE_AND_WAIT))
  return isWritten(result === 0 ? 0 : calls().errno())
}

const WRITE_AND_WAIT = SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER

function isWritten(errno: number): boolean {
  if (errno === 0) return true
  if ([ERRNO.EINVAL, ERRNO.ENOSYS, ERRNO.EOPNOTSUPP, ERRNO.ESPIPE].includes(errno)) return false
  throw errnoError(errno, 'sync_file_range')
}
