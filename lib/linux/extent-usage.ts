/**
 * What the files of a tree take by their extents (FIEMAP), and how much of that nothing else on the filesystem shares.
 */
import { type ByteString, byteString } from '../bytes.js'
import { isErrno } from '../errors.js'
import {
  FIEMAP,
  FIEMAP_EXTENT,
  FIEMAP_EXTENT_DATA_INLINE,
  FIEMAP_EXTENT_LAST,
  FIEMAP_EXTENT_SHARED,
  FIEMAP_FLAG_SYNC,
  FS_IOC_FIEMAP,
} from './btrfs-constants.js'
import { cString } from './c-string.js'
import { AT_FDCWD, O_DIRECTORY, O_NOFOLLOW, O_NONBLOCK, O_RDONLY } from './constants.js'
import { DirectoryChain } from './directory-chain.js'
import { close, failed, openAt, openDirectoryAt, uninterrupted } from './files.js'
import { readBatches } from './read-directory.js'
import { runInSlices, type Work } from './slices.js'
import { type FileStat, statAt, statDescriptor } from './stat.js'

export interface ExtentUsage {
  /** Bytes of contents; a file with several names once. */
  readonly bytes: number
  /** Of these, bytes in extents that nothing else refers to. Contents that stand among the metadata do not count. */
  readonly exclusiveBytes: number
}

const EXTENTS = 256 // asked for in one call

/** Measures a tree without leaving its mount. What vanishes meanwhile or cannot be opened is not counted. */
export function extentUsage(path: string, signal?: AbortSignal): Promise<ExtentUsage> {
  return runInSlices(measure(path), signal)
}

function* measure(path: string): Work<ExtentUsage> {
  using chain = new DirectoryChain(
    openAt(AT_FDCWD, cString(byteString(path)), O_RDONLY | O_DIRECTORY | O_NOFOLLOW),
  )
  const count = new Count(statDescriptor(chain.rootFd))
  const levels: ByteString[][] = [yield* count.names(chain.fd)]
  for (;;) {
    const name = levels[levels.length - 1]!.pop()
    if (name !== undefined) {
      const fd = openIfThere(() => openDirectoryAt(chain.fd, name))
      if (fd === null) continue
      chain.enter(name, fd)
      levels.push(yield* count.names(fd))
    } else if (levels.length === 1) {
      return { bytes: count.bytes, exclusiveBytes: count.exclusiveBytes }
    } else {
      levels.pop()
      chain.leave()
    }
  }
}

class Count {
  bytes = 0
  exclusiveBytes = 0
  readonly #top: FileStat
  readonly #seen = new Set<string>()
  readonly #request = Buffer.alloc(FIEMAP.size + EXTENTS * FIEMAP_EXTENT.size)

  constructor(top: FileStat) {
    this.#top = top
  }

  /** Counts the files in a directory. @returns the directories in it */
  *names(fd: number): Work<ByteString[]> {
    const directories: ByteString[] = []
    for (const batch of readBatches(fd)) {
      for (const { name } of batch) {
        const stat = this.#statIfThere(fd, name)
        if (stat?.kind === 'directory') directories.push(name)
        else if (stat?.kind === 'file' && stat.size > 0 && this.#isNew(stat)) yield* this.#file(fd, name)
        yield
      }
    }
    return directories
  }

  #isNew(stat: FileStat): boolean {
    if (stat.nlink < 2) return true
    const identity = `${stat.device}:${stat.inode}`
    if (this.#seen.has(identity)) return false
    this.#seen.add(identity)
    return true
  }

  *#file(directory: number, name: ByteString): Work<void> {
    const fd = openIfThere(() => openAt(directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK))
    if (fd === null) return
    try {
      for (let start: bigint | null = 0n; start !== null; ) {
        start = this.#extents(fd, start)
        yield
      }
    } finally {
      close(fd)
    }
  }

  /** Counts some extents. @returns where to go on; null at the end */
  #extents(fd: number, start: bigint): bigint | null {
    const request = this.#request.fill(0, 0, FIEMAP.size)
    request.writeBigUInt64LE(start, FIEMAP.start)
    request.writeBigUInt64LE(0xffff_ffff_ffff_ffffn - start, FIEMAP.length)
    request.writeUInt32LE(FIEMAP_FLAG_SYNC, FIEMAP.flags)
    request.writeUInt32LE(EXTENTS, FIEMAP.count)
    if (uninterrupted((libc) => libc.ioctlMemory(fd, FS_IOC_FIEMAP, request)) < 0)
      failed('ioctl FS_IOC_FIEMAP')
    const found = request.readUInt32LE(FIEMAP.mapped)
    for (let i = 0; i < found; i++) {
      const at = FIEMAP.size + i * FIEMAP_EXTENT.size
      const flags = request.readUInt32LE(at + FIEMAP_EXTENT.flags)
      const length = request.readBigUInt64LE(at + FIEMAP_EXTENT.length)
      this.bytes += Number(length)
      if ((flags & (FIEMAP_EXTENT_SHARED | FIEMAP_EXTENT_DATA_INLINE)) === 0)
        this.exclusiveBytes += Number(length)
      if ((flags & FIEMAP_EXTENT_LAST) !== 0) return null
      start = request.readBigUInt64LE(at + FIEMAP_EXTENT.logical) + length
    }
    return found === 0 ? null : start
  }

  /** Null for what is gone and what stands on another mount. */
  #statIfThere(directory: number, name: ByteString): FileStat | null {
    try {
      const stat = statAt(directory, name)
      return stat.mountId === this.#top.mountId ? stat : null
    } catch (error) {
      if (isErrno(error, 'ENOENT')) return null
      throw error
    }
  }
}

function openIfThere(open: () => number): number | null {
  try {
    return open()
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENOTDIR', 'ELOOP', 'EACCES', 'ENXIO')) return null
    throw error
  }
}
