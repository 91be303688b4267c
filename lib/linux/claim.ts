/**
 * Claims: whoever works on a path holds flock(2) on what is there. The kernel takes that back when the process ends, however
 * it ends, so what nobody has claimed is a leaving.
 */
import { closeSync, openSync } from 'node:fs'
import { isErrno } from '../errors.js'
import { hasNoFlock, isFileAt, isFlocked, LOOK_FLAGS, tryFlock } from './flock.js'

/**
 * Claims what is at a path.
 *
 * @returns its descriptor, which has the claim until it is closed; null when another has it, or what was there is gone
 */
export function claimPath(path: string): number | null {
  let fd: number
  try {
    // Opened by Node, which closes it when the thread is ended.
    fd = openSync(path, LOOK_FLAGS)
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENOTDIR', 'ELOOP')) return null
    throw error
  }
  let isKept = false
  try {
    isKept = claim(fd) && isFileAt(fd, path)
    return isKept ? fd : null
  } finally {
    if (!isKept) closeSync(fd)
  }
}

/** Whether somebody has claimed what is at a path. Looks without taking it away from anybody. */
export function isClaimed(path: string): boolean {
  try {
    return isFlocked(path)
  } catch (error) {
    if (isErrno(error, 'ENOTDIR', 'ELOOP')) return false
    if (hasNoFlock(error)) return true
    throw error
  }
}

/**
 * Claims an open file. Where there is no flock there is no store either, and whoever asks is told so by the locks.
 *
 * @returns false when another has it
 */
export function claim(fd: number): boolean {
  try {
    return tryFlock(fd, 'exclusive')
  } catch (error) {
    if (hasNoFlock(error)) return true
    throw error
  }
}
