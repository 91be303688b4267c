/**
 * Spare guard files. What frees a full disk has to be locked first, and a new file needs what such a disk may not have: an
 * inode, or room for one. A spare is renamed to the guard that is wanted, and back when that is let go.
 */
import { closeSync, existsSync, mkdirSync, openSync, unlinkSync, writeSync } from 'node:fs'
import { isErrno } from '../errors.js'
import { pathString } from '../linux/c-string.js'
import { AT_FDCWD, RENAME_NOREPLACE } from '../linux/constants.js'
import { renameAt } from '../linux/files.js'

/** More than one process needs: one with the gc lock and a bundle's, others that wait for theirs. */
const SPARES = 4
/** As long as what a guard says of its holder: that is then written where there is room already. */
const CONTENTS = `${' '.repeat(300)}\n`

/** Makes the spares that are missing; on a full disk there is none to be made. */
export function keepSpares(directory: string): void {
  for (const path of sparesIn(directory)) {
    if (existsSync(path)) continue
    try {
      mkdirSync(directory, { recursive: true, mode: 0o700 })
      const fd = openSync(path, 'wx', 0o600)
      try {
        writeSync(fd, CONTENTS)
      } finally {
        closeSync(fd)
      }
    } catch (error) {
      if (!isErrno(error, 'EEXIST', 'ENOENT', 'ENOSPC', 'EDQUOT', 'EROFS')) throw error
    }
  }
}

/** Puts a spare where a guard file is to be. @returns false when there is none, or another file there by now */
export function takeSpare(directory: string, path: string): boolean {
  return sparesIn(directory).some((spare) => move(spare, path))
}

/** Makes a guard file that is held a spare; without a place for it, it is removed. */
export function giveBack(directory: string, path: string): void {
  if (!sparesIn(directory).some((spare) => move(path, spare))) unlinkSync(path)
}

function sparesIn(directory: string): string[] {
  return Array.from({ length: SPARES }, (_, i) => `${directory}/${i}`)
}

/** Never over another file, which somebody may have locked. */
function move(from: string, to: string): boolean {
  try {
    renameAt(AT_FDCWD, pathString(from), AT_FDCWD, pathString(to), RENAME_NOREPLACE)
    return true
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'EEXIST', 'ENOSPC', 'EDQUOT', 'EINVAL')) return false
    throw error
  }
}
