/**
 * The numbers and layouts of constants.ts: against the values that the kernel promises, and against its headers.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { constants } from 'node:os'
import { describe, expect, it } from 'vitest'
import { CALLS } from '../../../lib/linux/calls.js'
import * as numbers from '../../../lib/linux/constants.js'
import { errnoName } from '../../../lib/linux/errno.js'
import { useScratch } from './scratch.js'

const compiler = spawnSync('cc', ['--version']).status === 0
const scratch = useScratch()

/** Name here, expression in C. */
const NUMBERS: Record<string, string> = Object.fromEntries(
  Object.entries(numbers)
    .filter(([, value]) => typeof value === 'number')
    .map(([name]) => [name, name]),
)

const FIELDS: Record<string, string> = {
  'STATX.size': 'sizeof(struct statx)',
  'STATX.mask': 'offsetof(struct statx, stx_mask)',
  'STATX.attributes': 'offsetof(struct statx, stx_attributes)',
  'STATX.nlink': 'offsetof(struct statx, stx_nlink)',
  'STATX.uid': 'offsetof(struct statx, stx_uid)',
  'STATX.gid': 'offsetof(struct statx, stx_gid)',
  'STATX.mode': 'offsetof(struct statx, stx_mode)',
  'STATX.ino': 'offsetof(struct statx, stx_ino)',
  'STATX.fileSize': 'offsetof(struct statx, stx_size)',
  'STATX.blocks': 'offsetof(struct statx, stx_blocks)',
  'STATX.attributesMask': 'offsetof(struct statx, stx_attributes_mask)',
  'STATX.mtimeSeconds': 'offsetof(struct statx, stx_mtime.tv_sec)',
  'STATX.mtimeNanoseconds': 'offsetof(struct statx, stx_mtime.tv_nsec)',
  'STATX.rdevMajor': 'offsetof(struct statx, stx_rdev_major)',
  'STATX.rdevMinor': 'offsetof(struct statx, stx_rdev_minor)',
  'STATX.devMajor': 'offsetof(struct statx, stx_dev_major)',
  'STATX.devMinor': 'offsetof(struct statx, stx_dev_minor)',
  'STATX.mountId': 'offsetof(struct statx, stx_mnt_id)',
  'TIMESPEC.size': 'sizeof(struct timespec)',
  'TIMESPEC.seconds': 'offsetof(struct timespec, tv_sec)',
  'TIMESPEC.nanoseconds': 'offsetof(struct timespec, tv_nsec)',
  'STATFS.size': 'sizeof(struct statfs)',
  'STATFS.type': 'offsetof(struct statfs, f_type)',
  'STATFS.blocks': 'offsetof(struct statfs, f_blocks)',
  'STATFS.blocksFree': 'offsetof(struct statfs, f_bfree)',
  'STATFS.blocksAvailable': 'offsetof(struct statfs, f_bavail)',
  'STATFS.files': 'offsetof(struct statfs, f_files)',
  'STATFS.filesFree': 'offsetof(struct statfs, f_ffree)',
  'STATFS.fragmentSize': 'offsetof(struct statfs, f_frsize)',
  'DIRENT.ino': 'offsetof(struct dirent64, d_ino)',
  'DIRENT.recordLength': 'offsetof(struct dirent64, d_reclen)',
  'DIRENT.type': 'offsetof(struct dirent64, d_type)',
  'DIRENT.name': 'offsetof(struct dirent64, d_name)',
  'FSCONFIG.setFlag': 'FSCONFIG_SET_FLAG',
  'FSCONFIG.setString': 'FSCONFIG_SET_STRING',
  'FSCONFIG.create': 'FSCONFIG_CMD_CREATE',
  'VERITY_ENABLE.size': 'sizeof(struct fsverity_enable_arg)',
  'VERITY_ENABLE.version': 'offsetof(struct fsverity_enable_arg, version)',
  'VERITY_ENABLE.algorithm': 'offsetof(struct fsverity_enable_arg, hash_algorithm)',
  'VERITY_ENABLE.blockSize': 'offsetof(struct fsverity_enable_arg, block_size)',
  'VERITY_DIGEST.algorithm': 'offsetof(struct fsverity_digest, digest_algorithm)',
  'VERITY_DIGEST.size': 'offsetof(struct fsverity_digest, digest_size)',
  'VERITY_DIGEST.digest': 'offsetof(struct fsverity_digest, digest)',
  'LOOP_CONFIG.size': 'sizeof(struct loop_config)',
  'LOOP_CONFIG.fd': 'offsetof(struct loop_config, fd)',
  'LOOP_CONFIG.blockSize': 'offsetof(struct loop_config, block_size)',
  'LOOP_CONFIG.flags': 'offsetof(struct loop_config, info.lo_flags)',
  'LOOP_INFO64.size': 'sizeof(struct loop_info64)',
  'LOOP_INFO64.device': 'offsetof(struct loop_info64, lo_device)',
  'LOOP_INFO64.inode': 'offsetof(struct loop_info64, lo_inode)',
  'FSXATTR.size': 'sizeof(struct fsxattr)',
  'URING_PARAMS.size': 'sizeof(struct io_uring_params)',
  'URING_PARAMS.sqEntries': 'offsetof(struct io_uring_params, sq_entries)',
  'URING_PARAMS.cqEntries': 'offsetof(struct io_uring_params, cq_entries)',
  'URING_PARAMS.flags': 'offsetof(struct io_uring_params, flags)',
  'URING_PARAMS.features': 'offsetof(struct io_uring_params, features)',
  'URING_PARAMS.sqTail': 'offsetof(struct io_uring_params, sq_off.tail)',
  'URING_PARAMS.sqArray': 'offsetof(struct io_uring_params, sq_off.array)',
  'URING_PARAMS.cqHead': 'offsetof(struct io_uring_params, cq_off.head)',
  'URING_PARAMS.cqTail': 'offsetof(struct io_uring_params, cq_off.tail)',
  'URING_PARAMS.cqes': 'offsetof(struct io_uring_params, cq_off.cqes)',
  'URING_SQE.size': 'sizeof(struct io_uring_sqe)',
  'URING_SQE.opcode': 'offsetof(struct io_uring_sqe, opcode)',
  'URING_SQE.flags': 'offsetof(struct io_uring_sqe, flags)',
  'URING_SQE.fd': 'offsetof(struct io_uring_sqe, fd)',
  'URING_SQE.offset': 'offsetof(struct io_uring_sqe, off)',
  'URING_SQE.address': 'offsetof(struct io_uring_sqe, addr)',
  'URING_SQE.length': 'offsetof(struct io_uring_sqe, len)',
  'URING_SQE.openFlags': 'offsetof(struct io_uring_sqe, open_flags)',
  'URING_SQE.userData': 'offsetof(struct io_uring_sqe, user_data)',
  'URING_SQE.fileIndex': 'offsetof(struct io_uring_sqe, file_index)',
  'URING_CQE.size': 'sizeof(struct io_uring_cqe)',
  'URING_CQE.userData': 'offsetof(struct io_uring_cqe, user_data)',
  'URING_CQE.result': 'offsetof(struct io_uring_cqe, res)',
  'URING_REGISTER.size': 'sizeof(struct io_uring_rsrc_register)',
  'URING_REGISTER.count': 'offsetof(struct io_uring_rsrc_register, nr)',
  'URING_REGISTER.flags': 'offsetof(struct io_uring_rsrc_register, flags)',
  'FSXATTR.flags': 'offsetof(struct fsxattr, fsx_xflags)',
  'FSXATTR.project': 'offsetof(struct fsxattr, fsx_projid)',
  'DISK_QUOTA.size': 'sizeof(struct fs_disk_quota)',
  'DISK_QUOTA.version': 'offsetof(struct fs_disk_quota, d_version)',
  'DISK_QUOTA.flags': 'offsetof(struct fs_disk_quota, d_flags)',
  'DISK_QUOTA.fields': 'offsetof(struct fs_disk_quota, d_fieldmask)',
  'DISK_QUOTA.id': 'offsetof(struct fs_disk_quota, d_id)',
  'DISK_QUOTA.hardBlocks': 'offsetof(struct fs_disk_quota, d_blk_hardlimit)',
  'DISK_QUOTA.softBlocks': 'offsetof(struct fs_disk_quota, d_blk_softlimit)',
  'DISK_QUOTA.blocks': 'offsetof(struct fs_disk_quota, d_bcount)',
  'DISK_QUOTA.inodes': 'offsetof(struct fs_disk_quota, d_icount)',
  'QUOTA_STAT.size': 'sizeof(struct fs_quota_statv)',
  'QUOTA_STAT.version': 'offsetof(struct fs_quota_statv, qs_version)',
  'QUOTA_STAT.flags': 'offsetof(struct fs_quota_statv, qs_flags)',
}

/** The widths that the table of calls builds on. */
const WIDTHS: Record<string, string> = {
  mode_t: 'sizeof(mode_t)',
  uid_t: 'sizeof(uid_t)',
  gid_t: 'sizeof(gid_t)',
  dev_t: 'sizeof(dev_t)',
  off_t: 'sizeof(off_t)',
  size_t: 'sizeof(size_t)',
  ssize_t: 'sizeof(ssize_t)',
  long: 'sizeof(long)',
}

const SYSCALLS: Record<string, string> = Object.fromEntries(
  Object.entries(CALLS)
    .filter(([, call]) => 'number' in call)
    .map(([name]) => [`SYS_${name}`, `SYS_${name}`]),
)

describe('layouts', () => {
  it('are those of the kernel interface', () => {
    expect(numbers.STATX).toEqual({
      size: 256,
      mask: 0,
      attributes: 8,
      nlink: 16,
      uid: 20,
      gid: 24,
      mode: 28,
      ino: 32,
      fileSize: 40,
      blocks: 48,
      attributesMask: 56,
      mtimeSeconds: 112,
      mtimeNanoseconds: 120,
      rdevMajor: 128,
      rdevMinor: 132,
      devMajor: 136,
      devMinor: 140,
      mountId: 144,
    })
    expect(numbers.TIMESPEC).toEqual({ size: 16, seconds: 0, nanoseconds: 8 })
    expect(numbers.STATFS.size).toBe(120)
    expect(numbers.FICLONE).toBe((1 << 30) | (4 << 16) | (0x94 << 8) | 9) // _IOW(0x94, 9, int)
  })

  it.skipIf(!compiler)('agree with the headers of this machine (needs cc)', () => {
    const found = compile({ ...NUMBERS, ...FIELDS, ...WIDTHS, ...SYSCALLS })
    expect(found).toEqual({ ...ours(), ...widths(), ...ourSyscalls() })
  })

  it.skipIf(!compiler)('name the error numbers as the headers do (needs cc)', () => {
    const names = [
      'EUCLEAN',
      'ESHUTDOWN',
      'EREMOTEIO',
      'ENOTBLK',
      'EHWPOISON',
      'ENOKEY',
      'ENOSPC',
      'EDQUOT',
      'ENOLCK',
    ]
    const found = compile(Object.fromEntries(names.map((name) => [name, name])))
    expect(Object.fromEntries(Object.values(found).map((number) => [errnoName(number), number]))).toEqual(
      found,
    )
    expect(constants.errno.EINTR).toBe(4)
  })
})

function compile(expressions: Record<string, string>): Record<string, number> {
  const lines = Object.entries(expressions).map(
    ([name, expression], i, all) =>
      `printf("\\"${name}\\": %lld${i + 1 < all.length ? ',' : ''}\\n", (long long)(${expression}));`,
  )
  const program = `#define _GNU_SOURCE
#define _FILE_OFFSET_BITS 64
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <linux/dqblk_xfs.h>
#include <linux/fs.h>
#include <linux/fsverity.h>
#include <linux/io_uring.h>
#include <linux/loop.h>
#include <linux/quota.h>
#ifndef EXT4_IOC_RESIZE_FS
#define EXT4_IOC_RESIZE_FS _IOW('f', 16, __u64)
#endif
int main(void) { puts("{"); ${lines.join('\n')} puts("}"); return 0; }
`
  writeFileSync(`${scratch.path}/layout.c`, program)
  execFileSync('cc', ['-o', `${scratch.path}/layout`, `${scratch.path}/layout.c`], { stdio: 'pipe' })
  return JSON.parse(execFileSync(`${scratch.path}/layout`, { encoding: 'utf8' })) as Record<string, number>
}

function ours(): Record<string, number> {
  const found: Record<string, number> = {}
  for (const [name, value] of Object.entries(numbers)) {
    if (typeof value === 'number') found[name] = value
    else for (const [field, offset] of Object.entries(value)) found[`${name}.${field}`] = offset
  }
  return found
}

function widths(): Record<string, number> {
  return { mode_t: 4, uid_t: 4, gid_t: 4, dev_t: 8, off_t: 8, size_t: 8, ssize_t: 8, long: 8 }
}

function ourSyscalls(): Record<string, number> {
  const arch = process.arch as 'x64' | 'arm64'
  return Object.fromEntries(
    Object.entries(CALLS).flatMap(([name, call]) =>
      'number' in call ? [[`SYS_${name}`, call.number[arch]]] : [],
    ),
  )
}
