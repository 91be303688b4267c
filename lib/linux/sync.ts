/**
 * Making written things durable. All calls wait for the disk, so they belong on a worker thread.
 */

import { byteString } from '../bytes.js'
import { pathString } from './c-string.js'
import { calls } from './calls.js'
import { SYNC_FILE_RANGE_WRITE } from './constants.js'
import { ERRNO, errnoError } from './errno.js'
import { close, failed, openDirectory, uninterrupted } from './files.js'

/** Writes all that is not on disk yet of the filesystem that a descriptor is on, names and metadata too (syncfs). */
export function syncFilesystem(fd: number): void {
  if (uninterrupted((libc) => libc.syncfs(fd)) < 0) failed('syncfs')
}

export function syncFile(fd: number): void {
  if (uninterrupted((libc) => libc.fsync(fd)) < 0) failed('fsync')
}

/** Makes the names in a directory durable. */
export function syncDirectory(path: string): void {
  const fd = openDirectory(pathString(path))
  try {
    if (uninterrupted((libc) => libc.fsync(fd)) === 0) return
    const errno = calls().errno()
    // What some network and FUSE filesystems say of directories: there is nothing to sync.
    if (errno !== ERRNO.EINVAL) throw errnoError(errno, 'fsync', byteString(path))
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
  const libc = calls()
  if (libc.sync_file_range(fd, offset, length, SYNC_FILE_RANGE_WRITE) === 0) return
  const errno = libc.errno()
  if (![ERRNO.EINVAL, ERRNO.ENOSYS, ERRNO.EOPNOTSUPP, ERRNO.ESPIPE, ERRNO.EINTR].includes(errno)) {
    throw errnoError(errno, 'sync_file_range')
  }
}
