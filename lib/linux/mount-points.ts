/**
 * Where things are mounted, as this process sees it (proc(5), /proc/pid/mountinfo).
 */
import { readFileSync } from 'node:fs'
import { type ByteString, byteString } from '../bytes.js'
import { isErrno } from '../errors.js'
import { pathString } from './c-string.js'
import { type FileStat, statPath } from './stat.js'

/**
 * The mount points at or below a path, in the order of mounting. Empty where /proc is not mounted.
 *
 * @param path absolute, without symlinks
 */
export function mountPointsBelow(path: ByteString): ByteString[] {
  const prefix = path.endsWith('/') ? path : `${path}/`
  return mountPoints().filter((mount) => mount === path || mount.startsWith(prefix))
}

function mountPoints(): ByteString[] {
  let table: string
  try {
    table = readFileSync('/proc/self/mountinfo', 'latin1')
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return []
    throw error
  }
  return parseMountPoints(table)
}

/** Fifth field of each line; the kernel writes blanks, line ends, backslashes and number signs as `\ooo`. */
export function parseMountPoints(table: string): ByteString[] {
  const found: ByteString[] = []
  for (const line of table.split('\n')) {
    const field = line.split(' ', 5)[4]
    if (field === undefined) continue
    found.push(
      field.replace(/\\([0-7]{3})/g, (_, digits) =>
        String.fromCharCode(Number.parseInt(digits, 8)),
      ) as ByteString,
    )
  }
  return found
}

/** Whether something is mounted exactly here. A place that does not exist is no mount point. */
export function isMountPoint(path: string): boolean {
  let stat: FileStat
  try {
    stat = statPath(pathString(path))
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENOTDIR')) return false
    throw error
  }
  return stat.isMountRoot ?? mountPointsBelow(byteString(path)).includes(byteString(path))
}
