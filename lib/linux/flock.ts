/**
 * flock(2): locks that belong to an open file description and end with it, however its process ends.
 */
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
