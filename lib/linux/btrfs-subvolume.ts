/**
 * Subvolumes of btrfs: making, snapshots, removing, by one ioctl each.
 *
 * A subvolume is made and removed by its name in a directory, like a directory; what it is, its descriptor says. Quotas are in
 * btrfs-quota.ts.
 */
import type { ByteString } from '../bytes.js'
import {
  BTRFS_FIRST_FREE_OBJECTID,
  BTRFS_IOC_GET_SUBVOL_INFO,
  BTRFS_IOC_INO_LOOKUP,
  BTRFS_IOC_SNAP_CREATE_V2,
  BTRFS_IOC_SNAP_DESTROY,
  BTRFS_IOC_SUBVOL_CREATE_V2,
  BTRFS_IOC_SUBVOL_GETFLAGS,
  BTRFS_IOC_SUBVOL_SETFLAGS,
  BTRFS_SUBVOL_QGROUP_INHERIT,
  BTRFS_SUBVOL_RDONLY,
  BTRFS_SUPER_MAGIC,
  INO_LOOKUP,
  QGROUP_INHERIT,
  SUBVOL_INFO,
  VOL_ARGS,
  VOL_ARGS_V2,
} from './btrfs-constants.js'
import { cString, type PathArgument, textOf } from './c-string.js'
import { calls } from './calls.js'
import { ERRNO, errnoError } from './errno.js'
import { failed, uninterrupted, uninterruptedLater } from './files.js'
import type { FileStat } from './stat.js'
import { statFilesystemOf } from './statfs.js'

export interface SubvolumeInfo {
  readonly id: bigint
  /** Transaction that made it. */
  readonly createdAt: bigint
}

const MAX_NAME_BYTES = 255
const NONE = -1n // a descriptor field of a call that makes an empty subvolume is not looked at

/** Whether a descriptor is of a file on btrfs. */
export function isBtrfs(fd: number): boolean {
  return statFilesystemOf(fd).type === BTRFS_SUPER_MAGIC
}

/** Whether a file is the top of a subvolume, given that it is on btrfs. */
export function isSubvolumeTop(stat: FileStat): boolean {
  return stat.kind === 'directory' && stat.inode === BigInt(BTRFS_FIRST_FREE_OBJECTID)
}

/**
 * Makes an empty subvolume, mode 0755 less the umask, of the caller.
 *
 * @param groups quota groups that it is a member of from its first byte; null for those of its place
 */
export function createSubvolume(
  directory: number,
  name: ByteString,
  groups: readonly bigint[] | null = null,
): void {
  const args = argumentsOf(name, NONE, 0, groups)
  if (uninterrupted((libc) => libc.ioctlMemory(directory, BTRFS_IOC_SUBVOL_CREATE_V2, args)) < 0)
    fail('BTRFS_IOC_SUBVOL_CREATE_V2', name)
}

/**
 * Makes a snapshot of a subvolume. It commits the filesystem's transaction on the way: when this is done, the snapshot, its
 * name, and all metadata that was changed before are on the disk. Another thread waits for that, so that several can share a
 * commit. The descriptors have to stay open.
 *
 * @param source descriptor of the subvolume's top
 * @param options `groups` as for createSubvolume()
 */
export async function createSnapshot(
  directory: number,
  name: ByteString,
  source: number,
  options: { readonly readOnly: boolean; readonly groups: readonly bigint[] | null },
): Promise<void> {
  const args = argumentsOf(name, BigInt(source), options.readOnly ? BTRFS_SUBVOL_RDONLY : 0, options.groups)
  const errno = await uninterruptedLater((libc) =>
    libc.ioctlMemoryLater(directory, BTRFS_IOC_SNAP_CREATE_V2, args),
  )
  if (errno !== 0) throw errnoError(errno, 'ioctl BTRFS_IOC_SNAP_CREATE_V2', name)
}

/** The structure of both calls, and behind it what it points to. */
function argumentsOf(
  name: ByteString,
  source: bigint,
  flags: number,
  groups: readonly bigint[] | null,
): Buffer {
  const [inheritBytes, inherits] =
    groups === null ? [0, 0] : [QGROUP_INHERIT.size + groups.length * 8, BTRFS_SUBVOL_QGROUP_INHERIT]
  const args = Buffer.alloc(VOL_ARGS_V2.size + inheritBytes)
  args.writeBigInt64LE(source, VOL_ARGS_V2.fd)
  writeName(args, VOL_ARGS_V2.name, name)
  args.writeBigUInt64LE(BigInt(flags | inherits), VOL_ARGS_V2.flags)
  if (groups === null) return args
  args.writeBigUInt64LE(BigInt(inheritBytes), VOL_ARGS_V2.inheritSize)
  args.writeBigUInt64LE(calls().addressOf(args) + BigInt(VOL_ARGS_V2.size), VOL_ARGS_V2.inherit)
  const inherit = args.subarray(VOL_ARGS_V2.size)
  inherit.writeBigUInt64LE(BigInt(groups.length), QGROUP_INHERIT.groups)
  groups.forEach((group, i) => {
    inherit.writeBigUInt64LE(group, QGROUP_INHERIT.size + i * 8)
  })
  return args
}

/**
 * Removes a subvolume with all that is in it but further subvolumes. Mounts in it are taken off without a word.
 *
 * @throws ENOTEMPTY when there is a subvolume in it, EPERM when the caller may not, EROFS when it is read-only and the caller is
 *   not root
 */
export function destroySubvolume(directory: number, name: PathArgument): void {
  const args = Buffer.alloc(VOL_ARGS.size)
  writeName(args, VOL_ARGS.name, textOf(name))
  if (uninterrupted((libc) => libc.ioctlMemory(directory, BTRFS_IOC_SNAP_DESTROY, args)) < 0)
    fail('BTRFS_IOC_SNAP_DESTROY', textOf(name))
}

/** @param fd of the subvolume's top */
export function isReadOnlySubvolume(fd: number): boolean {
  return (flagsOf(fd) & BigInt(BTRFS_SUBVOL_RDONLY)) !== 0n
}

/** @param fd of the subvolume's top, which belongs to the caller unless that is root */
export function setSubvolumeReadOnly(fd: number, isReadOnly: boolean): void {
  const readOnly = BigInt(BTRFS_SUBVOL_RDONLY)
  const flags = flagsOf(fd)
  const wanted = isReadOnly ? flags | readOnly : flags & ~readOnly
  if (wanted === flags) return
  const word = Buffer.alloc(8)
  word.writeBigUInt64LE(wanted)
  if (uninterrupted((libc) => libc.ioctlMemory(fd, BTRFS_IOC_SUBVOL_SETFLAGS, word)) < 0)
    failed('ioctl BTRFS_IOC_SUBVOL_SETFLAGS')
}

function flagsOf(fd: number): bigint {
  const word = Buffer.alloc(8)
  if (uninterrupted((libc) => libc.ioctlMemory(fd, BTRFS_IOC_SUBVOL_GETFLAGS, word)) < 0)
    failed('ioctl BTRFS_IOC_SUBVOL_GETFLAGS')
  return word.readBigUInt64LE()
}

/** The id of the subvolume that a file is in. */
export function subvolumeIdOf(fd: number): bigint {
  const args = Buffer.alloc(INO_LOOKUP.size)
  args.writeBigUInt64LE(BigInt(BTRFS_FIRST_FREE_OBJECTID), INO_LOOKUP.object)
  if (uninterrupted((libc) => libc.ioctlMemory(fd, BTRFS_IOC_INO_LOOKUP, args)) < 0)
    failed('ioctl BTRFS_IOC_INO_LOOKUP')
  return args.readBigUInt64LE(INO_LOOKUP.tree)
}

/** Of the subvolume that a file is in. */
export function subvolumeInfo(fd: number): SubvolumeInfo {
  const info = Buffer.alloc(SUBVOL_INFO.size)
  if (uninterrupted((libc) => libc.ioctlMemory(fd, BTRFS_IOC_GET_SUBVOL_INFO, info)) < 0)
    failed('ioctl BTRFS_IOC_GET_SUBVOL_INFO')
  return {
    id: info.readBigUInt64LE(SUBVOL_INFO.id),
    createdAt: info.readBigUInt64LE(SUBVOL_INFO.createdAt),
  }
}

function writeName(args: Buffer, at: number, name: ByteString): void {
  // As the calls for other files say it; the structure has room for more than a name can have.
  if (name.length > MAX_NAME_BYTES) throw errnoError(ERRNO.ENAMETOOLONG, 'ioctl', name)
  cString(name).copy(args, at)
}

function fail(call: string, name: ByteString): never {
  throw errnoError(calls().errno(), `ioctl ${call}`, name)
}
