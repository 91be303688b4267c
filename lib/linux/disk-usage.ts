/**
 * How much room a tree takes: the blocks of all that is in it, as du(1) counts.
 */
import { type ByteString, byteString } from '../bytes.js'
import { isErrno } from '../errors.js'
import { cString } from './c-string.js'
import { AT_FDCWD, O_DIRECTORY, O_NOFOLLOW, O_RDONLY } from './constants.js'
import { DirectoryChain } from './directory-chain.js'
import { openAt, openDirectoryAt } from './files.js'
import { readBatches } from './read-directory.js'
import { runAtOnce, runInSlices, type Work } from './slices.js'
import { type FileStat, statAt, statPath } from './stat.js'

export interface DiskUsage {
  /** Bytes of all blocks, those of directories too; a file with several names once. */
  readonly bytes: number
  /** Names, that of the top included. */
  readonly entries: number
  /** Directories that the caller may not list; what is in them is not counted. */
  readonly unreadable: number
}

/**
 * Measures a tree without leaving its mount. What vanishes meanwhile is not counted.
 *
 * @throws an errno error when the top itself is not there or cannot be read
 */
export function diskUsage(path: string): DiskUsage {
  return runAtOnce(measure(path))
}

/** The same in slices of a few milliseconds. */
export function diskUsageInSlices(path: string, signal?: AbortSignal): Promise<DiskUsage> {
  return runInSlices(measure(path), signal)
}

function* measure(path: string): Work<DiskUsage> {
  const top = cString(byteString(path))
  const stat = statPath(top)
  const count = new Count(stat)
  if (stat.kind !== 'directory') return count.result()
  using chain = new DirectoryChain(openAt(AT_FDCWD, top, O_RDONLY | O_DIRECTORY | O_NOFOLLOW))
  const levels: ByteString[][] = [yield* countNames(chain.fd, count)]
  for (;;) {
    const name = levels[levels.length - 1]!.pop()
    if (name !== undefined) {
      const fd = openIfReadable(chain.fd, name, count)
      if (fd === null) continue
      chain.enter(name, fd)
      levels.push(yield* countNames(fd, count))
    } else if (levels.length === 1) {
      return count.result()
    } else {
      levels.pop()
      chain.leave()
    }
  }
}

/** Counts what is in a directory. @returns the directories among it, to be entered */
function* countNames(fd: number, count: Count): Work<ByteString[]> {
  const directories: ByteString[] = []
  for (const batch of readBatches(fd)) {
    for (const { name } of batch) {
      const stat = statIfThere(fd, name)
      if (stat !== null && count.add(stat) && stat.kind === 'directory') directories.push(name)
      yield
    }
  }
  return directories
}

class Count {
  unreadable = 0
  readonly #top: FileStat
  #blocks: number
  #entries = 1
  readonly #seen = new Set<string>()

  constructor(top: FileStat) {
    this.#top = top
    this.#blocks = top.blocks
  }

  /** @returns false for what stands on another mount and does not count */
  add(stat: FileStat): boolean {
    if (this.#isElsewhere(stat)) return false
    this.#entries++
    if (stat.nlink > 1 && stat.kind !== 'directory') {
      const identity = `${stat.device}:${stat.inode}`
      if (this.#seen.has(identity)) return true
      this.#seen.add(identity)
    }
    this.#blocks += stat.blocks
    return true
  }

  result(): DiskUsage {
    return { bytes: this.#blocks * 512, entries: this.#entries, unreadable: this.unreadable }
  }

  /** Old kernels tell no mount ids; there another device has to do. */
  #isElsewhere(stat: FileStat): boolean {
    const { mountId, device } = this.#top
    return stat.mountId === null || mountId === null ? stat.device !== device : stat.mountId !== mountId
  }
}

function statIfThere(directory: number, name: ByteString): FileStat | null {
  try {
    return statAt(directory, name)
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return null
    throw error
  }
}

function openIfReadable(directory: number, name: ByteString, count: Count): number | null {
  try {
    return openDirectoryAt(directory, name)
  } catch (error) {
    if (isErrno(error, 'EACCES')) count.unreadable++
    else if (!isErrno(error, 'ENOENT', 'ENOTDIR', 'ELOOP')) throw error
    return null
  }
}
