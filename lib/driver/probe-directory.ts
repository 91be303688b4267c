/**
 * Directories that a probe tries things in, and what probes leave in them that were killed: files and mounts.
 * Whoever works in one has claimed it; what is mounted in one that nobody has claimed is nobody's.
 */
import { closeSync, mkdtempSync, readdirSync } from 'node:fs'
import { byteString, toBytes } from '../bytes.js'
import { isErrno } from '../errors.js'
import { claimPath } from '../linux/claim.js'
import { unmount } from '../linux/mount-context.js'
import { mountPointsBelow } from '../linux/mount-points.js'
import { removeTree } from '../linux/remove-tree.js'

const PREFIX = '.tmp-probe-'
const MAX_TRIES = 16 // a clean that happens to look takes a directory away that is not claimed yet

export interface ProbeDirectory extends Disposable {
  readonly path: string
}

/** Makes a directory in a place, for the caller alone. Disposing of it removes it with all that is in it or mounted there. */
export function makeProbeDirectory(place: string): ProbeDirectory {
  for (let attempt = 1; ; attempt++) {
    const path = mkdtempSync(`${place}/${PREFIX}`)
    const fd = claimOrRemove(path)
    if (fd !== null) return { path, [Symbol.dispose]: () => remove(path, fd) }
    if (attempt === MAX_TRIES) throw new Error(`somebody keeps removing "${path}"`)
  }
}

/** Names in a place of what dead probes left. Those of living ones are not among them. */
export function deadProbes(place: string): string[] {
  return namesIn(place).filter((name) => {
    if (!name.startsWith(PREFIX)) return false
    const fd = claimPath(`${place}/${name}`)
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
  const fd = claimPath(path)
  if (fd === null) return false
  remove(path, fd)
  return true
}

function claimOrRemove(path: string): number | null {
  try {
    return claimPath(path)
  } catch (error) {
    removeTree(path)
    throw error
  }
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
