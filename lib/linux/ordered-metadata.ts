/**
 * Whether a filesystem keeps the order of what is done to names and inodes.
 *
 * One with a single journal writes all changes in the order in which they were made: when a change has reached the disk, all that
 * were made before it have too (fsync(2) of any of them writes the journal up to it). Then one sync makes a whole series
 * durable, and contents only have to be written before the first name that they are known by.
 */
import { readFileSync, realpathSync } from 'node:fs'
import { basename } from 'node:path'
import { isErrno } from '../errors.js'
import { pathString } from './c-string.js'
import { statPath } from './stat.js'
import { statFilesystem } from './statfs.js'

const XFS = 0x58465342
const EXT = 0xef53 // ext2, ext3 and ext4

/** Whether that is known of the filesystem of a path: XFS, and ext4 with a journal. */
export function keepsMetadataOrder(path: string): boolean {
  const { type } = statFilesystem(path)
  return type === XFS || (type === EXT && hasJournal(statPath(pathString(path)).device))
}

/** What sysfs says of an ext4; where it does not say, there may be none. */
function hasJournal(device: number): boolean {
  try {
    const name = basename(realpathSync(`/sys/dev/block/${Math.floor(device / 2 ** 20)}:${device % 2 ** 20}`))
    return /^[1-9]/.test(readFileSync(`/sys/fs/ext4/${name}/journal_task`, 'latin1'))
  } catch (error) {
    if (isErrno(error)) return false
    throw error
  }
}
