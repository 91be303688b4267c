/**
 * Project quotas: directories whose files are counted together, and how much all of them may take (quotactl(2),
 * Documentation/filesystems/quota.rst). ext4 and XFS have them, with one interface.
 *
 * Which ids are whose is the business of those who give them away.
 */
import { readFileSync } from 'node:fs'
import type { ErrnoError } from '../errors.js'
import { pathString } from './c-string.js'
import { calls } from './calls.js'
import {
  DISK_QUOTA,
  FS_DQ_BHARD,
  FS_DQ_BSOFT,
  FS_DQUOT_VERSION,
  FS_IOC_FSGETXATTR,
  FS_IOC_FSSETXATTR,
  FS_PROJ_QUOTA,
  FS_QSTATV_VERSION1,
  FS_QUOTA_PDQ_ACCT,
  FS_QUOTA_PDQ_ENFD,
  FS_XFLAG_PROJINHERIT,
  FSXATTR,
  PRJQUOTA,
  Q_XGETQSTATV,
  Q_XGETQUOTA,
  Q_XSETQLIM,
  QUOTA_STAT,
} from './constants.js'
import { ERRNO, errnoError } from './errno.js'
import { close, failed, openDirectory, uninterrupted } from './files.js'
import { statDescriptor } from './stat.js'

const UNIT = 512 // bytes, whatever the blocks of the filesystem

export interface ProjectUsage {
  /** All blocks of its files, with those that are promised and not written yet. */
  readonly bytes: number
  readonly inodes: number
  /** 0 for none. */
  readonly limitBytes: number
}

/** `counted` is what is used being known, and no limit held; `off` is neither. */
export type ProjectQuotaState = 'enforced' | 'counted' | 'off'

/** Whether project quotas are held on the filesystem of a directory. */
export function projectQuotaState(directory: string): ProjectQuotaState {
  return withDirectory(directory, (fd) => {
    const answer = Buffer.alloc(QUOTA_STAT.size)
    answer[QUOTA_STAT.version] = FS_QSTATV_VERSION1
    if (quotaCall(fd, Q_XGETQSTATV, 0, answer) !== 0) return 'off'
    const flags = answer.readUInt16LE(QUOTA_STAT.flags)
    if ((flags & FS_QUOTA_PDQ_ACCT) === 0) return 'off'
    return (flags & FS_QUOTA_PDQ_ENFD) === 0 ? 'counted' : 'enforced'
  })
}

/** Has a directory, and whatever is made in it from now on, counted for a project. */
export function setProject(directory: string, project: number): void {
  withDirectory(directory, (fd) => {
    const attributes = readAttributes(fd)
    const flags = attributes.readUInt32LE(FSXATTR.flags)
    attributes.writeUInt32LE((flags | FS_XFLAG_PROJINHERIT) >>> 0, FSXATTR.flags)
    attributes.writeUInt32LE(project, FSXATTR.project)
    if (uninterrupted((libc) => libc.ioctlMemory(fd, FS_IOC_FSSETXATTR, attributes)) < 0)
      failed('ioctl FS_IOC_FSSETXATTR', pathString(directory))
  })
}

/** What a directory is counted for; 0 is what all is by default. */
export function projectOf(directory: string): number {
  return withDirectory(directory, (fd) => readAttributes(fd).readUInt32LE(FSXATTR.project))
}

/** @param directory any on the filesystem in question */
export function projectUsage(directory: string, project: number): ProjectUsage {
  return withDirectory(directory, (fd) => {
    const answer = Buffer.alloc(DISK_QUOTA.size)
    const errno = quotaCall(fd, Q_XGETQUOTA, project, answer)
    // What XFS says of a project that was never used.
    if (errno === ERRNO.ENOENT) return { bytes: 0, inodes: 0, limitBytes: 0 }
    if (errno !== 0) throw quotaError(errno, 'Q_XGETQUOTA')
    const field = (offset: number): number => Number(answer.readBigUInt64LE(offset))
    return {
      bytes: field(DISK_QUOTA.blocks) * UNIT,
      inodes: field(DISK_QUOTA.inodes),
      limitBytes: field(DISK_QUOTA.hardBlocks) * UNIT,
    }
  })
}

/**
 * Limits what the files of a project may take, from now on.
 *
 * @param bytes rounded down to units of 512, filesystems may round up to their blocks; 0 takes the limit away
 * @throws EPERM without CAP_SYS_ADMIN
 */
export function limitProject(directory: string, project: number, bytes: number): void {
  withDirectory(directory, (fd) => {
    const limit = Buffer.alloc(DISK_QUOTA.size)
    limit[DISK_QUOTA.version] = FS_DQUOT_VERSION
    limit[DISK_QUOTA.flags] = FS_PROJ_QUOTA
    limit.writeUInt16LE(FS_DQ_BHARD | FS_DQ_BSOFT, DISK_QUOTA.fields)
    limit.writeUInt32LE(project, DISK_QUOTA.id)
    limit.writeBigUInt64LE(BigInt(Math.floor(bytes / UNIT)), DISK_QUOTA.hardBlocks)
    const errno = quotaCall(fd, Q_XSETQLIM, project, limit)
    if (errno !== 0) throw quotaError(errno, 'Q_XSETQLIM')
  })
}

function readAttributes(fd: number): Buffer {
  const attributes = Buffer.alloc(FSXATTR.size)
  if (uninterrupted((libc) => libc.ioctlMemory(fd, FS_IOC_FSGETXATTR, attributes)) < 0)
    failed('ioctl FS_IOC_FSGETXATTR')
  return attributes
}

/** @returns 0 or the error's number */
function quotaCall(fd: number, command: number, project: number, memory: Buffer): number {
  const full = ((command << 8) | PRJQUOTA) >>> 0
  if (uninterrupted((libc) => libc.quotactl_fd(fd, full, project | 0, memory)) === 0) return 0
  const errno = calls().errno()
  if (errno !== ERRNO.ENOSYS) return errno
  // Before Linux 5.14 a filesystem is named by its device.
  const device = deviceOf(fd)
  if (device === null) return errno
  const name = pathString(device)
  if (uninterrupted((libc) => libc.quotactl(full | 0, name, project | 0, memory)) === 0) return 0
  return calls().errno()
}

/** The block device that a filesystem is on, as the kernel names it; null when it is on none. */
function deviceOf(fd: number): string | null {
  const { device } = statDescriptor(fd)
  const number = `${Math.floor(device / 2 ** 20)}:${device % 2 ** 20}`
  try {
    const facts = readFileSync(`/sys/dev/block/${number}/uevent`, 'utf8')
    const name = /^DEVNAME=(\S+)$/m.exec(facts)?.[1]
    return name === undefined ? null : `/dev/${name}`
  } catch {
    return null
  }
}

function quotaError(errno: number, command: string): ErrnoError {
  return errnoError(errno, `quotactl ${command}`)
}

function withDirectory<T>(directory: string, work: (fd: number) => T): T {
  const fd = openDirectory(pathString(directory))
  try {
    return work(fd)
  } finally {
    close(fd)
  }
}
