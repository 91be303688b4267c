/**
 * proper-lockfile, given a filesystem that asks the kernel.
 *
 * The library takes a lock by making a directory, judges others by the age of theirs, and lets go by removing it. Here
 * "make" succeeds only with flock(2) on a guard file, no age is ever too old, and "remove" lets go. What it adds is the
 * state of a lock, and the watch: every few seconds it looks whether the lock is still there.
 */
import type { Guard, LockHolder } from './guard.js'
import { type Engine, loadEngine } from './load-engine.js'

/** Far more than any lock is held: no lock is ever judged by its age, and this is only for what the library computes. */
const STALE_MS = 2 ** 40
const WATCH_MS = 5_000

// Loaded once per thread, when the first lock is taken.
let engine: Engine | undefined
let count = 0

/** A lock that was taken. */
export interface Taken {
  /** Whether somebody has tried to take it since. */
  isWanted(): boolean
  /** Lets go. May be called twice, and after the lock was lost. */
  release(): Promise<void>
}

/**
 * Tries to take a lock, once.
 *
 * @param onLost called when somebody removed or replaced the guard file, so that others can take the lock too
 * @returns null when another has it
 */
export async function tryLock(
  guard: Guard,
  lock: string,
  holder: LockHolder,
  onLost: (cause: Error) => void,
): Promise<Taken | null> {
  engine ??= loadEngine()
  try {
    // The library keeps its locks by this name: each has its own, so that a lost one is not taken for its successor.
    const release = await engine.lock(`${guard.path}#${++count}`, {
      lockfilePath: guard.path,
      realpath: false,
      retries: 0,
      stale: STALE_MS,
      update: WATCH_MS,
      fs: kernelFs(guard, lock, holder),
      onCompromised: (cause) => {
        guard.release()
        onLost(cause)
      },
    })
    return { isWanted: () => guard.isWanted(), release: () => releaseOnce(guard, release) }
  } catch (error) {
    if ((error as { code?: unknown }).code === 'ELOCKED') return null
    guard.release()
    throw error
  }
}

async function releaseOnce(guard: Guard, release: () => Promise<void>): Promise<void> {
  if (!guard.isHeld) return
  try {
    await release()
  } finally {
    guard.release()
  }
}

type Done<T = void> = (error: Error | null, value?: T) => void

/** The part of node:fs that proper-lockfile uses, for one lock. Paths are those of the guard and not looked at. */
function kernelFs(guard: Guard, lock: string, holder: LockHolder) {
  let mtime = new Date()
  return {
    mkdir(_path: string, done: Done): void {
      attempt(done, () => {
        if (!guard.tryTake(lock, holder)) throw errorWithCode('EEXIST', 'the lock is held')
      })
    },
    /** Of our own lock the time that was set; of another's one that is never old. */
    stat(_path: string, done: Done<{ mtime: Date }>): void {
      attempt(done, () => {
        if (!guard.isHeld) return { mtime: new Date(8.64e15) } // the latest Date there is
        if (!guard.isIntact()) throw errorWithCode('ENOENT', 'the guard file was removed or replaced')
        return { mtime: new Date(mtime) }
      })
    },
    utimes(_path: string, _atime: Date, time: Date, done: Done): void {
      mtime = new Date(time)
      done(null)
    },
    rmdir(_path: string, done: Done): void {
      attempt(done, () => guard.release())
    },
    rmdirSync(_path: string): void {
      guard.release()
    },
    realpath(path: string, done: Done<string>): void {
      done(null, path)
    },
  }
}

function attempt<T>(done: Done<T>, action: () => T): void {
  let value: T
  try {
    value = action()
  } catch (error) {
    done(error as Error)
    return
  }
  done(null, value)
}

function errorWithCode(code: string, message: string): Error {
  return Object.assign(new Error(message), { code })
}
