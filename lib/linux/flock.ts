/**
 * flock(2): locks that belong to an open file description and end with it, however its process ends.
 */
import { closeSync, constants, fstatSync, lstatSync, openSync } from 'node:fs'
import { type ErrnoError, isErrno } from '../errors.js'
import { calls } from './calls.js'
import { LOCK_EX, LOCK_NB, LOCK_SH, LOCK_UN } from './constants.js'
import { ERRNO, errnoError } from './errno.js'
import { failed } from './files.js'

/**
 * Takes a lock or says that someone else has it; never waits.
 *
 * @throws ENOLCK, ENOTSUP, ENOSYS where the filesystem has no locks
 */
export function tryFlock(fd: number, kind: 'exclusive' | 'shared'): boolean {
  const libc = calls()
  for (;;) {
    if (libc.flock(fd, (kind === 'exclusive' ? LOCK_EX : LOCK_SH) | LOCK_NB) === 0) return true
    const errno = libc.errno()
    if (errno === ERRNO.EWOULDBLOCK) return false
    if (errno !== ERRNO.EINTR) throw errnoError(errno, 'flock')
  }
}

/** Lets go at once, also where a child process that is just being started still shares the description. */
export function unlockFlock(fd: number): void {
  if (calls().flock(fd, LOCK_UN) < 0) failed('flock')
}

/** For a look at what may be anything: a FIFO must not keep whoever looks. */
export const LOOK_FLAGS = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK

/**
 * Whether somebody has locked the file that a path leads to, also this process. Looks without taking it away from anybody.
 *
 * @throws ENOLCK, ENOTSUP, ENOSYS where the filesystem has no locks; ELOOP for a symlink, and what else open(2) says but that
 *   there is no such file
 */
export function isFlocked(path: string): boolean {
  for (;;) {
    let fd: number
    try {
      fd = openSync(path, LOOK_FLAGS)
    } catch (error) {
      if (isErrno(error, 'ENOENT')) return false
      throw error
    }
    try {
      if (!tryFlock(fd, 'shared')) return true
      unlockFlock(fd)
      // What was there may have been replaced, and let go, in between.
      if (isFileAt(fd, path)) return false
    } finally {
      closeSync(fd)
    }
  }
}

/** Whether an error of tryFlock says that the filesystem has no locks. */
export function hasNoFlock(error: unknown): error is ErrnoError {
  return isErrno(error, 'ENOLCK', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS')
}

/** Whether a path leads to the open file: one that was replaced or removed is locked for nobody. */
export function isFileAt(fd: number, path: string): boolean {
  const here = fstatSync(fd, { bigint: true })
  const there = lstatSync(path, { bigint: true, throwIfNoEntry: false })
  return there !== undefined && here.ino === there.ino && here.dev === there.dev
}
