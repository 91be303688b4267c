/**
 * Quota groups of btrfs. Every subvolume has a group of level 0 with its own id; groups of level 1 have subvolumes as members and
 * count what they take together. Only root may, all of it.
 *
 * With simple quotas (Linux 6.7) an extent counts for the subvolume that wrote it, for as long as it exists; with full ones the
 * kernel follows who shares what with whom, which costs.
 */

import { isErrno } from '../errors.js'
import {
  BTRFS_IOC_FS_INFO,
  BTRFS_IOC_QGROUP_ASSIGN,
  BTRFS_IOC_QGROUP_CREATE,
  BTRFS_IOC_QGROUP_LIMIT,
  BTRFS_IOC_QUOTA_CTL,
  BTRFS_QGROUP_INFO_KEY,
  BTRFS_QGROUP_LIMIT_KEY,
  BTRFS_QGROUP_LIMIT_MAX_EXCL,
  BTRFS_QGROUP_LIMIT_MAX_RFER,
  BTRFS_QGROUP_RELATION_KEY,
  BTRFS_QGROUP_STATUS_FLAG_INCONSISTENT,
  BTRFS_QGROUP_STATUS_FLAG_ON,
  BTRFS_QGROUP_STATUS_FLAG_RESCAN,
  BTRFS_QGROUP_STATUS_KEY,
  BTRFS_QUOTA_TREE_OBJECTID,
  FS_INFO,
  QGROUP_INFO,
  QGROUP_LIMIT,
  QGROUP_LIMIT_ARGS,
  QGROUP_STATUS,
  QGROUP_STATUS_FLAG_SIMPLE,
  QUOTA_CTL_ENABLE_SIMPLE,
} from './btrfs-constants.js'
import { treeItem, treeItems } from './btrfs-tree.js'
import { calls } from './calls.js'
import { ERRNO, errnoError } from './errno.js'
import { failed, uninterrupted } from './files.js'

export type QuotaState =
  | { readonly mode: 'off' }
  | {
      readonly mode: 'simple' | 'full'
      /** Whether its numbers can be trusted and its limits are held. */
      readonly isConsistent: boolean
      /** Transaction in which simple quotas were enabled: what was written before counts for nobody. */
      readonly enabledAt: bigint
    }

export interface GroupUsage {
  readonly referencedBytes: number
  /** What no other group refers to. With simple quotas the same as referenced. */
  readonly exclusiveBytes: number
}

export interface GroupLimit {
  readonly maxReferencedBytes?: number
  readonly maxExclusiveBytes?: number
}

const NO_LIMIT = 0xffff_ffff_ffff_ffffn

/** A group's id of its level and its number (48 bits). */
export function groupId(level: number, number: bigint): bigint {
  return (BigInt(level) << 48n) | number
}

/** @param fd any file of the filesystem; the same for all below @throws EPERM for all but root */
export function quotaState(fd: number): QuotaState {
  const range = { tree: BTRFS_QUOTA_TREE_OBJECTID, object: 0n, type: BTRFS_QGROUP_STATUS_KEY }
  const data = inQuotaTree(() => treeItem(fd, range))?.data
  const flags = Number(data?.readBigUInt64LE(QGROUP_STATUS.flags) ?? 0n)
  if (data === undefined || (flags & BTRFS_QGROUP_STATUS_FLAG_ON) === 0) return { mode: 'off' }
  const isSimple = (flags & QGROUP_STATUS_FLAG_SIMPLE) !== 0
  const wrong = BTRFS_QGROUP_STATUS_FLAG_INCONSISTENT | BTRFS_QGROUP_STATUS_FLAG_RESCAN
  return {
    mode: isSimple ? 'simple' : 'full',
    isConsistent: (flags & wrong) === 0,
    enabledAt: isSimple ? data.readBigUInt64LE(QGROUP_STATUS.enabledAt) : 0n,
  }
}

/**
 * Enables simple quotas. From then on kernels before 6.7 do not mount the filesystem any more.
 *
 * @returns false when this kernel does not have them
 */
export function enableSimpleQuotas(fd: number): boolean {
  const args = Buffer.alloc(16)
  args.writeBigUInt64LE(BigInt(QUOTA_CTL_ENABLE_SIMPLE))
  if (uninterrupted((libc) => libc.ioctlMemory(fd, BTRFS_IOC_QUOTA_CTL, args)) === 0) return true
  const errno = calls().errno()
  if (errno === ERRNO.EINVAL) return false
  // Another process was quicker.
  if (errno === ERRNO.EEXIST) return true
  throw errnoError(errno, 'ioctl BTRFS_IOC_QUOTA_CTL')
}

/** @returns false when there is one with this id */
export function createGroup(fd: number, group: bigint): boolean {
  if (callGroup(fd, group, true)) return true
  const errno = calls().errno()
  if (errno === ERRNO.EEXIST) return false
  throw errnoError(errno, 'ioctl BTRFS_IOC_QGROUP_CREATE')
}

/** @returns false while it has members, or its subvolume or what that wrote is still there; not there counts as removed */
export function removeGroup(fd: number, group: bigint): boolean {
  if (callGroup(fd, group, false)) return true
  const errno = calls().errno()
  if (errno === ERRNO.ENOENT || errno === ERRNO.ENOTCONN) return true
  if (errno === ERRNO.EBUSY) return false
  throw errnoError(errno, 'ioctl BTRFS_IOC_QGROUP_CREATE')
}

function callGroup(fd: number, group: bigint, create: boolean): boolean {
  const args = Buffer.alloc(16)
  args.writeBigUInt64LE(create ? 1n : 0n)
  args.writeBigUInt64LE(group, 8)
  return uninterrupted((libc) => libc.ioctlMemory(fd, BTRFS_IOC_QGROUP_CREATE, args)) === 0
}

/** Takes a member out of a group; none counts as taken out. */
export function removeMember(fd: number, member: bigint, group: bigint): void {
  const args = Buffer.alloc(24)
  args.writeBigUInt64LE(member, 8)
  args.writeBigUInt64LE(group, 16)
  // 1 means that full quotas have to be scanned again, which the kernel has taken note of.
  if (uninterrupted((libc) => libc.ioctlMemory(fd, BTRFS_IOC_QGROUP_ASSIGN, args)) >= 0) return
  const errno = calls().errno()
  if (errno !== ERRNO.ENOENT && errno !== ERRNO.ENOTCONN)
    throw errnoError(errno, 'ioctl BTRFS_IOC_QGROUP_ASSIGN')
}

/** The members of a group. */
export function membersOf(fd: number, group: bigint): bigint[] {
  return relationsOf(fd, group).filter((other) => other < group)
}

/** The groups that a group is a member of. */
export function groupsOf(fd: number, group: bigint): bigint[] {
  return relationsOf(fd, group).filter((other) => other > group)
}

/** Each relation stands in the tree twice, under either; the group of the higher level has the higher id. */
function relationsOf(fd: number, group: bigint): bigint[] {
  const range = { tree: BTRFS_QUOTA_TREE_OBJECTID, object: group, type: BTRFS_QGROUP_RELATION_KEY }
  return inQuotaTree(() => [...treeItems(fd, range)].map(({ offset }) => offset)) ?? []
}

export function limitGroup(fd: number, group: bigint, limit: GroupLimit): void {
  const args = Buffer.alloc(QGROUP_LIMIT_ARGS.size)
  const { maxReferencedBytes: referenced, maxExclusiveBytes: exclusive } = limit
  const flags =
    (referenced === undefined ? 0 : BTRFS_QGROUP_LIMIT_MAX_RFER) |
    (exclusive === undefined ? 0 : BTRFS_QGROUP_LIMIT_MAX_EXCL)
  const at = QGROUP_LIMIT_ARGS.limit
  args.writeBigUInt64LE(group, QGROUP_LIMIT_ARGS.group)
  args.writeBigUInt64LE(BigInt(flags), at + QGROUP_LIMIT.flags)
  args.writeBigUInt64LE(BigInt(referenced ?? 0), at + QGROUP_LIMIT.referenced)
  args.writeBigUInt64LE(BigInt(exclusive ?? 0), at + QGROUP_LIMIT.exclusive)
  if (uninterrupted((libc) => libc.ioctlMemory(fd, BTRFS_IOC_QGROUP_LIMIT, args)) < 0)
    failed('ioctl BTRFS_IOC_QGROUP_LIMIT')
}

/** Takes all limits off a group; none there is as good. */
export function liftLimits(fd: number, group: bigint): void {
  const args = Buffer.alloc(QGROUP_LIMIT_ARGS.size)
  const at = QGROUP_LIMIT_ARGS.limit
  args.writeBigUInt64LE(group, QGROUP_LIMIT_ARGS.group)
  args.writeBigUInt64LE(
    BigInt(BTRFS_QGROUP_LIMIT_MAX_RFER | BTRFS_QGROUP_LIMIT_MAX_EXCL),
    at + QGROUP_LIMIT.flags,
  )
  args.writeBigUInt64LE(NO_LIMIT, at + QGROUP_LIMIT.referenced)
  args.writeBigUInt64LE(NO_LIMIT, at + QGROUP_LIMIT.exclusive)
  if (uninterrupted((libc) => libc.ioctlMemory(fd, BTRFS_IOC_QGROUP_LIMIT, args)) === 0) return
  const errno = calls().errno()
  if (errno !== ERRNO.ENOENT && errno !== ERRNO.ENOTCONN)
    throw errnoError(errno, 'ioctl BTRFS_IOC_QGROUP_LIMIT')
}

/** What a group takes as of the last commit of a transaction; null when there is no such group. */
export function groupUsage(fd: number, group: bigint): GroupUsage | null {
  const data = groupItem(fd, group, BTRFS_QGROUP_INFO_KEY)
  if (data === null) return null
  return {
    referencedBytes: Number(data.readBigInt64LE(QGROUP_INFO.referenced)),
    exclusiveBytes: Number(data.readBigInt64LE(QGROUP_INFO.exclusive)),
  }
}

/** The limits of a group; null when there is no such group. */
export function groupLimit(fd: number, group: bigint): GroupLimit | null {
  const data = groupItem(fd, group, BTRFS_QGROUP_LIMIT_KEY)
  if (data === null) return null
  const flags = Number(data.readBigUInt64LE(QGROUP_LIMIT.flags))
  const referenced = Number(data.readBigUInt64LE(QGROUP_LIMIT.referenced))
  const exclusive = Number(data.readBigUInt64LE(QGROUP_LIMIT.exclusive))
  return {
    ...((flags & BTRFS_QGROUP_LIMIT_MAX_RFER) === 0 ? {} : { maxReferencedBytes: referenced }),
    ...((flags & BTRFS_QGROUP_LIMIT_MAX_EXCL) === 0 ? {} : { maxExclusiveBytes: exclusive }),
  }
}

/** Bytes of a node of the filesystem's trees, which is the least that a subvolume takes. */
export function nodeBytes(fd: number): number {
  const info = Buffer.alloc(FS_INFO.size)
  if (uninterrupted((libc) => libc.ioctlMemory(fd, BTRFS_IOC_FS_INFO, info)) < 0)
    failed('ioctl BTRFS_IOC_FS_INFO')
  return info.readUInt32LE(FS_INFO.nodeSize)
}

function groupItem(fd: number, group: bigint, type: number): Buffer | null {
  const range = { tree: BTRFS_QUOTA_TREE_OBJECTID, object: 0n, type, offset: group }
  return inQuotaTree(() => treeItem(fd, range))?.data ?? null
}

/** Null when there is no quota tree. */
function inQuotaTree<T>(read: () => T): T | null {
  try {
    return read()
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return null
    throw error
  }
}
