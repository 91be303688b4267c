/**
 * Directories that a probe tries things in, and what probes leave in them that were killed: files and mounts.
 *
 * Whoever works in one holds flock(2) on it. The kernel takes that back when the process ends, so a directory that nobody
 * has locked is a leaving, and what is mounted in it is nobody's.
 */
import { closeSync, constants, fstatSync, lstatSync, mkdtempSync, openSync, readdirSync } from 'node:fs'
import { byteString, toBytes } from '../bytes.js'
import { isErrno } from '../errors.js'
import { tryFlock } from '../linux/flock.js'
import { unmount } from '../linux/mount-context.js'
import { mountPointsBelow } from '../linux/mount-points.js'
import { removeTree } from '../linux/remove-tree.js'

const PREFIX = '.tmp-probe-'
const MAX_TRIES = 16 // a clean that happens to look takes a directory away that is not locked yet

export interface ProbeDirectory extends Disposable {
  readonly path: string
}

/** Makes a directory in a place, for the caller alone. Disposing of it removes it with all that is in it or mounted there. */
export function makeProbeDirectory(place: string): ProbeDirectory {
  for (let attempt = 1; ; attempt++) {
    const path = mkdtempSync(`${place}/${PREFIX}`)
    const fd = lockOrRemove(path)
    if (fd !== null) return { path, [Symbol.dispose]: () => remove(path, fd) }
    if (attempt === MAX_TRIES) throw new Error(`somebody keeps removing "${path}"`)
  }
}

/** Names in a place of what dead probes left. Those of living ones are not among them. */
export function deadProbes(place: string): string[] {
  return namesIn(place).filter((name) => {
    if (!name.startsWith(PREFIX)) return false
    const fd = lock(`${place}/${name}`)
    if (fd === null) return false
    closeSync(fd)
    return true
  })
}

/** Whether a name is one that only probes have. */
export function isProbeName(name: string): boolean {
  return name.startsWith(PREFIX)
}

/** Removes what a dead probe left, its mounts first. @returns false when somebody works in it, or it is gone */
export function removeDeadProbe(path: string): boolean {
  const fd = lock(path)
  if (fd === null) return false
  remove(path, fd)
  return true
}

function lockOrRemove(path: string): number | null {
  try {
    return lock(path)
  } catch (error) {
    removeTree(path)
    throw error
  }
}

/** Null when another holds it, or it is no directory of that name any more. */
function lock(path: string): number | null {
  let fd: number
  try {
    // Opened by Node, which closes it when the thread is ended.
    fd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW)
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENOTDIR', 'ELOOP')) return null
    throw error
  }
  let isKept = false
  try {
    isKept = tryLock(fd) && isAt(fd, path)
    return isKept ? fd : null
  } finally {
    if (!isKept) closeSync(fd)
  }
}

/** Where there is no flock there is no store either, and whoever asks is told so by the locks. */
function tryLock(fd: number): boolean {
  try {
    return tryFlock(fd, 'exclusive')
  } catch (error) {
    if (isErrno(error, 'ENOLCK', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS')) return true
    throw error
  }
}

function isAt(fd: number, path: string): boolean {
  const here = fstatSync(fd, { bigint: true })
  const there = lstatSync(path, { bigint: true, throwIfNoEntry: false })
  return there !== undefined && here.ino === there.ino && here.dev === there.dev
}

function remove(path: string, fd: number): void {
  try {
    // The last first: they may stand in one another. Lazily: nobody but a dead probe had business there.
    for (const mount of mountPointsBelow(byteString(path)).reverse())
      unmount(toBytes(mount).toString(), { lazily: true })
    removeTree(path)
  } finally {
    closeSync(fd)
  }
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory)
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENOTDIR')) return []
    throw error
  }
}
