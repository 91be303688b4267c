/**
 * The directory that a tree is written to: what it inherited from its parent, and what its filesystem keeps.
 */
import { type ByteString, byteString, EMPTY } from '../bytes.js'
import { isErrno } from '../errors.js'
import { changeMode, setTimes } from '../linux/files.js'
import { type FileStat, statDescriptor } from '../linux/stat.js'
import { removeXattr } from '../linux/xattr.js'
import { unrepresentable } from './entry-refusals.js'

export interface Probed {
  readonly device: number
  readonly keepsNanoseconds: boolean
}

/** A new directory inherits default access lists and the set-group-id bit, and hands them on to all that is made in it. */
export function removeInherited(fd: number): void {
  for (const name of ['system.posix_acl_default', 'system.posix_acl_access']) {
    try {
      removeXattr(fd, byteString(name))
    } catch (error) {
      if (!isErrno(error, 'ENODATA', 'ENOTSUP', 'EPERM', 'EINVAL')) throw error
    }
  }
  changeMode(fd, 0o700)
}

/** Looks what the filesystem keeps: whole seconds only, or no modes at all (as FAT does). */
export function probeTop(fd: number): Probed {
  changeMode(fd, 0o741)
  setTimes(fd, 1_000_000_000n, 123_456_789)
  const stat = statDescriptor(fd)
  checkMode(stat, 0o741, EMPTY)
  changeMode(fd, 0o700)
  return { device: stat.device, keepsNanoseconds: stat.mtimeNanoseconds === 123_456_789 }
}

/** @throws {SystemError} `value-unrepresentable` */
export function checkMode(stat: FileStat, mode: number, path: ByteString): void {
  if (stat.mode === mode) return
  const [wanted, found] = [mode.toString(8).padStart(4, '0'), stat.mode.toString(8).padStart(4, '0')]
  throw unrepresentable(path, 'mode', wanted, `the filesystem or the kernel makes ${found} of it`)
}
