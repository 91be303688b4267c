/**
 * Guard files: a lock as the kernel keeps it.
 *
 * Whoever holds flock(2) on the file that its path leads to has the lock; the kernel takes it back when the process
 * ends, however that happens. What is written in the file is for people and for messages. A file that nobody has
 * locked is a dead owner's leftover and is simply taken over. Only a holder removes the file.
 */
import {
  closeSync,
  constants,
  existsSync,
  fstatSync,
  ftruncateSync,
  futimesSync,
  mkdirSync,
  openSync,
  readFileSync,
  unlinkSync,
  writeSync,
} from 'node:fs'
import { dirname } from 'node:path'
import { isErrno, UnsupportedError } from '../errors.js'
import { hasNoFlock, isFileAt, isFlocked, tryFlock, unlockFlock } from '../linux/flock.js'
import { giveBack, takeSpare } from './spares.js'

export interface LockHolder {
  readonly pid: number
  /** What it runs, in a few words and without arguments: `groot create`. */
  readonly command: string
  /** RFC 3339, UTC. */
  readonly since: string
}

const MAX_TRIES = 100 // a file that is removed this often between open and flock is taken for one that is locked
const MAX_GUARD_BYTES = 4096
/** Modification time, in seconds, of a guard that somebody tried to take while it was held: no other file has it. */
const WANTED_SECONDS = 1

export class Guard {
  readonly path: string
  readonly #spares: string | null
  #fd: number | null = null
  #isSpare = false

  /** @param spares where spare files are, for a disk on which none can be made; null when there are none */
  constructor(path: string, spares: string | null = null) {
    this.path = path
    this.#spares = spares
  }

  get isHeld(): boolean {
    return this.#fd !== null
  }

  /**
   * Takes the lock if nobody has it; never waits.
   *
   * @param lock the lock's name, kept in the file
   * @throws {UnsupportedError} `lock-unsupported` where the filesystem has no flock
   */
  tryTake(lock: string, holder: LockHolder): boolean {
    for (let i = 0; i < MAX_TRIES; i++) {
      const { fd, isSpare } = openGuard(this.path, this.#spares)
      let isKept = false
      try {
        if (!flockOrRefuse(fd, this.path)) {
          noteWanted(fd)
          return false
        }
        // The holder before may have removed the file between open and flock: then this lock is on nothing that
        // anybody else can see.
        if (!isFileAt(fd, this.path)) continue
        describe(fd, lock, holder)
        this.#fd = fd
        this.#isSpare = isSpare
        isKept = true
        return true
      } finally {
        if (!isKept) closeSync(fd)
      }
    }
    return false
  }

  /** Whether the path still leads to the file that is locked; if not, others can take the lock too. */
  isIntact(): boolean {
    return this.#fd !== null && isFileAt(this.#fd, this.path)
  }

  /** Whether somebody has tried to take the lock since it was taken here. */
  isWanted(): boolean {
    return this.#fd !== null && fstatSync(this.#fd).mtimeMs === WANTED_SECONDS * 1000
  }

  /** Lets go. May be called twice. */
  release(): void {
    const fd = this.#fd
    if (fd === null) return
    this.#fd = null
    try {
      if (isFileAt(fd, this.path)) {
        if (this.#isSpare && this.#spares !== null) giveBack(this.#spares, this.path)
        else unlinkSync(this.path)
      }
    } catch {
      // A file that stays is a leftover that the next taker adopts: letting go is what counts.
    }
    try {
      // Not by closing alone: a child process that is just being started has the descriptor too, for a moment.
      unlockFlock(fd)
    } finally {
      closeSync(fd)
    }
  }
}

/** Whether somebody has the lock now, also this process. Looks without taking it away from anybody. */
export function isGuardLocked(path: string): boolean {
  try {
    return isFlocked(path)
  } catch (error) {
    throw flockRefused(error, path)
  }
}

/** What the guard file says; null where it says nothing (yet). */
export function readGuard(path: string): { readonly lock: string; readonly holder: LockHolder } | null {
  try {
    const text = readFileSync(path, 'utf8').slice(0, MAX_GUARD_BYTES)
    const value = JSON.parse(text) as Record<string, unknown>
    const holder = holderOf(value)
    return typeof value.lock === 'string' && holder !== null ? { lock: value.lock, holder } : null
  } catch {
    // Gone, half written or foreign: it is only information.
    return null
  }
}

/** What a guard or a lease says of who holds it; null where it does not. */
export function holderOf({ pid, command, since }: Readonly<Record<string, unknown>>): LockHolder | null {
  if (typeof command !== 'string' || typeof since !== 'string' || !Number.isSafeInteger(pid)) return null
  return { pid: pid as number, command, since }
}

/**
 * Opened by Node and not by our own calls: it closes what a worker thread had open when the thread is ended, and with
 * that the thread's locks are free. Node adds O_CLOEXEC.
 */
function openGuard(path: string, spares: string | null): { readonly fd: number; readonly isSpare: boolean } {
  const flags = constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW
  let isSpare = false
  for (let tries = 0; ; tries++) {
    try {
      return { fd: openSync(path, flags, 0o600), isSpare }
    } catch (error) {
      if (tries === MAX_TRIES) throw error
      if (isErrno(error, 'ENOSPC', 'EDQUOT')) {
        isSpare = spares !== null && takeSpare(spares, path)
        // Another may have made it meanwhile.
        if (!isSpare && !existsSync(path)) throw error
      } else if (isErrno(error, 'ENOENT')) {
        mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
      } else {
        throw error
      }
    }
  }
}

function flockOrRefuse(fd: number, path: string): boolean {
  try {
    return tryFlock(fd, 'exclusive')
  } catch (error) {
    throw flockRefused(error, path)
  }
}

/** What flock(2) says where the filesystem has no locks, in words; anything else unchanged. */
export function flockRefused(error: unknown, path: string): unknown {
  if (!hasNoFlock(error)) return error
  const directory = dirname(path)
  return new UnsupportedError(
    'lock-unsupported',
    `Cannot take locks in "${directory}": its filesystem has no flock (${error.code}), which groot needs`,
    { facts: { directory, errno: error.code }, cause: error },
  )
}

/** Tells the holder that somebody waits. It is only a hint: where it cannot be given, nothing is lost. */
function noteWanted(fd: number): void {
  try {
    futimesSync(fd, WANTED_SECONDS, WANTED_SECONDS)
  } catch (error) {
    if (!isErrno(error)) throw error
  }
}

function describe(fd: number, lock: string, holder: LockHolder): void {
  const text = Buffer.from(`${JSON.stringify({ lock, ...holder })}\n`)
  try {
    writeSync(fd, text, 0, text.length, 0)
    // Only a leftover is longer. Cutting an empty file would make ext4 write it to disk on close, for milliseconds.
    if (fstatSync(fd).size > text.length) ftruncateSync(fd, text.length)
  } catch (error) {
    // On a full disk things must still be deleted, and for that locked.
    if (!isErrno(error, 'ENOSPC', 'EDQUOT')) throw error
  }
}
