/**
 * Removing a subvolume of btrfs at once, where removal of a tree meets one.
 *
 * Containers make subvolumes and read-only ones among them, in which nothing can be removed.
 */
import { isErrno } from '../errors.js'
import {
  destroySubvolume,
  isBtrfs,
  isReadOnlySubvolume,
  isSubvolumeTop,
  setSubvolumeReadOnly,
} from './btrfs-subvolume.js'
import { descriptorPath, type PathArgument } from './c-string.js'
import { AT_FDCWD } from './constants.js'
import { readLinkAt } from './files.js'
import { mountPointsBelow } from './mount-points.js'
import type { FileStat } from './stat.js'

/**
 * Removes a subvolume with all that is in it, if that can be done at once, and makes it writable else.
 *
 * @param fd of the directory with that name
 * @returns false when it is no subvolume, there are subvolumes or mounts in it, or the caller may only empty it
 */
export function removeSubvolume(directory: number, name: PathArgument, fd: number, stat: FileStat): boolean {
  if (!isSubvolumeTop(stat) || !isBtrfs(fd)) return false
  if (isReadOnlySubvolume(fd)) setSubvolumeReadOnly(fd, false)
  // The kernel would take them off, and go on.
  if (mountPointsBelow(readLinkAt(AT_FDCWD, descriptorPath(fd))).length > 0) return false
  try {
    destroySubvolume(directory, name)
    return true
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return true
    if (isErrno(error, 'ENOTEMPTY', 'EPERM', 'EACCES')) return false
    throw error
  }
}
