/**
 * What the kernel says of a filesystem: its type and its free space, by statfs(2).
 *
 * Not Node's statfs: that leaves out the fragment size, which is what the counts are in.
 */
import { pathString } from './c-string.js'
import { STATFS } from './constants.js'
import { failed, uninterrupted } from './files.js'

export interface FilesystemStat {
  /** Magic number (linux/magic.h): 0xef53 for ext2 to ext4, 0x9123683e for btrfs, 0x58465342 for XFS. */
  readonly type: number
  readonly totalBytes: number
  /** Free, also what is kept back for root. */
  readonly freeBytes: number
  /** Free for callers without privileges. */
  readonly availableBytes: number
  /** 0 where the filesystem does not count files. */
  readonly totalFiles: number
  readonly freeFiles: number
}

/** The filesystem that a path is on. */
export function statFilesystem(path: string): FilesystemStat {
  const name = pathString(path)
  const answer = Buffer.alloc(STATFS.size)
  if (uninterrupted((libc) => libc.statfs(name, answer)) < 0) failed('statfs', name)
  return readAnswer(answer)
}

/** The filesystem that a descriptor is on. */
export function statFilesystemOf(fd: number): FilesystemStat {
  const answer = Buffer.alloc(STATFS.size)
  if (uninterrupted((libc) => libc.fstatfs(fd, answer)) < 0) failed('fstatfs')
  return readAnswer(answer)
}

function readAnswer(answer: Buffer): FilesystemStat {
  const field = (offset: number): number => Number(answer.readBigUInt64LE(offset))
  const unit = field(STATFS.fragmentSize)
  return {
    type: field(STATFS.type),
    totalBytes: field(STATFS.blocks) * unit,
    freeBytes: field(STATFS.blocksFree) * unit,
    availableBytes: field(STATFS.blocksAvailable) * unit,
    totalFiles: field(STATFS.files),
    freeFiles: field(STATFS.filesFree),
  }
}
