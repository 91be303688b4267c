/**
 * When something was last used: the modification time of its record.
 *
 * Images and bases are marked when they are used. A layer is used with the images and bases that it is part of, so that a
 * create costs the same however many layers there are.
 */
import { lstatSync, utimesSync } from 'node:fs'
import { isErrno } from '../errors.js'

const PRECISION_MS = 60_000 // finer order helps nobody, and each mark is a write to the journal

/** Marks a record as used now. One that is not there, or may not be changed, stays as it is. */
export function noteUse(path: string): void {
  try {
    const stat = lstatSync(path, { throwIfNoEntry: false })
    const now = Date.now()
    if (stat === undefined || !stat.isFile()) return
    // A time to come is of a clock that was wrong.
    if (stat.mtimeMs <= now && now - stat.mtimeMs < PRECISION_MS) return
    utimesSync(path, now / 1000, now / 1000)
  } catch (error) {
    if (!isErrno(error)) throw error
  }
}
