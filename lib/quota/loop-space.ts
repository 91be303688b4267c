/**
 * Room of a fixed size in a file: an ext4 filesystem on a loop device, for stores whose own filesystem holds no limits.
 *
 * What the filesystem needs for itself must not be taken from what may be written, nor let more be written. So it is made larger than
 * needed, and a file of its own, the ballast, takes what is too much; a new limit is another ballast. The image file is sparse: room
 * that nobody wrote to takes none. It has a journal, because it is mounted again after a power cut.
 */
import { closeSync, existsSync, ftruncateSync, mkdirSync, openSync, statSync, truncateSync } from 'node:fs'
import { byteString } from '../bytes.js'
import { isErrno, UnsupportedError } from '../errors.js'
import { cString, pathString } from '../linux/c-string.js'
import { calls } from '../linux/calls.js'
import { AT_FDCWD, EXT4_IOC_RESIZE_FS, O_NOFOLLOW, O_RDWR } from '../linux/constants.js'
import { ERRNO } from '../linux/errno.js'
import { allocate, close, failed, openAt, openDirectory, truncate, uninterrupted } from '../linux/files.js'
import { attachWritableLoop, growLoop, loopDeviceOf } from '../linux/loop.js'
import { makeFilesystem } from '../linux/make-filesystem.js'
import { MountContext, settleMount, unmountStacked } from '../linux/mount-context.js'
import { isMountPoint } from '../linux/mount-points.js'
import { statPath } from '../linux/stat.js'
import { statFilesystem } from '../linux/statfs.js'
import { syncFilesystemOf } from '../linux/sync.js'

export const BLOCK_BYTES = 4096
const MiB = 1024 * 1024
const SMALL_JOURNAL = 4 // MiB: the least that ext4 takes
const LARGE_JOURNAL = 32 // MiB, for filesystems on which much can be written at once
const LARGE_BYTES = 1024 * MiB
const SLACK_BYTES = 32 * MiB // tables, bitmaps, and the blocks that ext4 keeps for emergencies: 2 %, 16 MiB at most
const LEAST_HEADROOM_BYTES = 512 * MiB
const MOST_HEADROOM_BYTES = 16 * 1024 * MiB // a ballast has to be entered in a bitmap for every 128 MiB
const TRIES = 8 // a ballast in several pieces takes blocks of its own
const MAX_STACKED = 16

// Named one by one, so that it is the same filesystem whatever /etc/mke2fs.conf says.
const FEATURES = [
  'none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,sparse_super,large_file,huge_file',
  'dir_nlink,extra_isize,metadata_csum',
].join(',')

export function imageOf(directory: string): string {
  return `${directory}.img`
}

/**
 * Bytes that the image file has so that `bytes` can be written; all but a few of them are holes. It has room to spare, for a
 * limit that is raised: making the filesystem larger takes a privilege that many do not have.
 */
export function imageBytes(bytes: number): number {
  const journal = journalMiB(bytes) * MiB
  const headroom = Math.min(Math.max(3 * bytes, LEAST_HEADROOM_BYTES), MOST_HEADROOM_BYTES)
  // An inode of 256 bytes for every block: small files shall not run out of them first. Group descriptors take the rest.
  const needed = (bytes + headroom + SLACK_BYTES + journal) * (1 + 1 / 16 + 1 / 64)
  return Math.ceil(needed / MiB) * MiB
}

function journalMiB(bytes: number): number {
  return bytes < LARGE_BYTES ? SMALL_JOURNAL : LARGE_JOURNAL
}

/** Makes the image beside `directory` and mounts it there. @param bytes that shall fit in it at most */
export async function makeLoopSpace(directory: string, bytes: number, signal: AbortSignal): Promise<void> {
  const image = imageOf(directory)
  const file = openSync(image, 'wx', 0o600)
  try {
    ftruncateSync(file, imageBytes(bytes))
  } finally {
    closeSync(file)
  }
  const options = ['-q', '-F', '-b', String(BLOCK_BYTES), '-I', '256', '-i', String(BLOCK_BYTES), '-m', '0']
  const extended = 'lazy_itable_init=1,lazy_journal_init=1,nodiscard,root_owner=0:0'
  const journal = `size=${journalMiB(bytes)}`
  await makeFilesystem('ext4', image, [...options, '-O', FEATURES, '-J', journal, '-E', extended], signal)
  mkdirSync(directory, { mode: 0o700 })
  mountLoopSpace(directory)
}

/** @returns false when it is mounted already */
export function mountLoopSpace(directory: string): boolean {
  if (isMountPoint(directory)) return false
  const file = openAt(AT_FDCWD, pathString(imageOf(directory)), O_RDWR | O_NOFOLLOW)
  try {
    const device = attachWritableLoop(file)
    try {
      using context = MountContext.open('ext4')
      context.set('source', pathString(device.path))
      // Tables that no file needs stay holes of the image, and what a container removes becomes holes again.
      context.flag('noinit_itable')
      context.flag('discard')
      context.set('errors', cString(byteString('remount-ro')))
      settleMount(context.mount({ readOnly: false }), pathString(directory))
    } finally {
      close(device.fd)
    }
  } finally {
    close(file)
  }
  return true
}

/** @returns false when it was not mounted @throws EBUSY */
export function unmountLoopSpace(directory: string): boolean {
  return unmountStacked(directory, MAX_STACKED)
}

/** Bytes that are taken, by all but the ballast. */
export function usedInLoopSpace(directory: string): number {
  const { totalBytes, freeBytes } = statFilesystem(directory)
  return totalBytes - freeBytes - ballastBytes(directory)
}

/**
 * Makes the ballast so large that a number of bytes can be written and no more; where there is too little room for that, the
 * filesystem becomes larger. Durable when it returns.
 *
 * @param bytes whole blocks
 * @returns how many more bytes the filesystem needs for itself than before
 */
export function leaveRoom(directory: string, bytes: number): number {
  const path = ballastOf(directory)
  const ballast = openSync(path, existsSync(path) ? 'r+' : 'wx+', 0o600)
  let grown = 0
  try {
    for (let left = TRIES; left > 0; left--) {
      const excess = statFilesystem(directory).availableBytes - bytes
      if (excess === 0) break
      const { size } = statSync(path)
      if (excess > 0) allocate(ballast, size, excess)
      else if (size >= -excess) truncate(ballast, size + excess)
      else grown += grow(directory, -excess - size)
    }
  } finally {
    closeSync(ballast)
  }
  syncFilesystemOf(directory)
  return grown
}

function grow(directory: string, bytes: number): number {
  const before = usedInLoopSpace(directory)
  const device = loopDeviceOf(statPath(pathString(directory)).device)
  const image = imageOf(directory)
  const size = statSync(image).size + imageBytes(bytes)
  truncateSync(image, size)
  if (device !== null) growLoop(device)
  const count = Buffer.alloc(8)
  count.writeBigUInt64LE(BigInt(Math.floor(size / BLOCK_BYTES)))
  const fd = openDirectory(pathString(directory))
  try {
    if (uninterrupted((libc) => libc.ioctlMemory(fd, EXT4_IOC_RESIZE_FS, count)) < 0) {
      if (calls().errno() === ERRNO.EPERM) throw notLarger(image)
      failed('ioctl EXT4_IOC_RESIZE_FS', pathString(image))
    }
  } finally {
    close(fd)
  }
  return usedInLoopSpace(directory) - before
}

function notLarger(image: string): UnsupportedError {
  return new UnsupportedError(
    'quota-unsupported',
    `Cannot raise the limit so far: to make the filesystem in "${image}" larger this process needs CAP_SYS_RESOURCE`,
    { facts: { feature: 'growing a filesystem', found: 'no CAP_SYS_RESOURCE', needed: 'CAP_SYS_RESOURCE' } },
  )
}

function ballastOf(directory: string): string {
  return `${directory}/ballast`
}

function ballastBytes(directory: string): number {
  try {
    return statSync(ballastOf(directory)).blocks * 512
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return 0
    throw error
  }
}
