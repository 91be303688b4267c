/**
 * Copying the content of a file in the cheapest way there is: shared blocks, else inside the kernel, else by hand.
 *
 * Holes stay holes. Only bytes are copied: owner, mode and times are the caller's.
 */
import { calls } from './calls.js'
import { FICLONE, SEEK_DATA, SEEK_END, SEEK_HOLE } from './constants.js'
import { ERRNO, errnoError } from './errno.js'
import { failed, readAt, seek, truncate, uninterrupted, writeAllAt } from './files.js'
import type { Work } from './slices.js'

/** What has to be known of the file to copy; a FileStat will do. */
export interface CopySource {
  readonly size: number
  /** Of 512 bytes; fewer than the size needs means that there are holes. */
  readonly blocks: number
  readonly device: number
}

const STEP_BYTES = 2 * 1024 * 1024 // about a millisecond of copying, so that work in slices stays responsive
const BUFFER_BYTES = 256 * 1024

/** What a filesystem says that cannot share blocks with this other one, ever. */
const NO_CLONE = [ERRNO.EOPNOTSUPP, ERRNO.EXDEV, ERRNO.ENOTTY, ERRNO.ENOSYS, ERRNO.EPERM]
/** The same for one file only: swap files, files without copy-on-write, inline data. */
const NO_CLONE_NOW = [ERRNO.EINVAL, ERRNO.ETXTBSY]
const NO_COPY_RANGE = [ERRNO.EXDEV, ERRNO.EINVAL, ERRNO.EOPNOTSUPP, ERRNO.ENOSYS, ERRNO.EPERM]

/** Copies contents; remembers which pairs of filesystems cannot do what, so that each is asked once. */
export class ContentCopier {
  readonly #cannotClone = new Set<string>()
  readonly #cannotCopyRange = new Set<string>()
  #buffer: Buffer | undefined;

  /**
   * Copies a whole file into an empty one, in steps of a few milliseconds.
   *
   * @param source descriptor open for reading, its offset at the start
   * @param target descriptor open for writing, of a new file
   * @param targetDevice `device` of the target's filesystem
   * @returns the bytes that the source had, up to the size that was said; fewer when it is shorter
   */
  *copy(source: number, stat: CopySource, target: number, targetDevice: number): Work<number> {
    if (stat.size === 0) return 0
    const pair = `${stat.device}>${targetDevice}`
    if (!this.#cannotClone.has(pair) && this.#clone(source, target, pair)) return stat.size
    if (stat.blocks * 512 >= stat.size) return yield* this.#copyRange(source, target, 0, stat.size, pair)
    return yield* this.#copyData(source, target, stat.size, pair)
  }

  #clone(source: number, target: number, pair: string): boolean {
    if (uninterrupted((libc) => libc.ioctlNumber(target, FICLONE, source)) === 0) return true
    const errno = calls().errno()
    if (NO_CLONE_NOW.includes(errno)) return false
    if (!NO_CLONE.includes(errno)) throw errnoError(errno, 'ioctl')
    this.#cannotClone.add(pair)
    return false
  }

  /** Copies the runs of data and leaves the holes between them. */
  *#copyData(source: number, target: number, size: number, pair: string): Work<number> {
    if (!knowsHoles(source)) return yield* this.#copyRange(source, target, 0, size, pair)
    let position = 0
    while (position < size) {
      const start = nextData(source, position)
      if (start === null || start >= size) break
      const end = Math.min(seek(source, start, SEEK_HOLE), size)
      // Looking for data and holes moved the offset of the source, too.
      seek(source, start)
      seek(target, start)
      const copied = yield* this.#copyRange(source, target, start, end, pair)
      // The file became shorter meanwhile.
      if (copied < end) return copied
      position = end
    }
    const found = Math.min(seek(source, 0, SEEK_END), size)
    truncate(target, found)
    return found
  }

  /**
   * Copies from where both descriptors' offsets are, which is `start`.
   *
   * @returns the position that was reached: `end`, or less where the source ends
   */
  *#copyRange(source: number, target: number, start: number, end: number, pair: string): Work<number> {
    let position = start
    while (position < end) {
      const length = Math.min(end - position, STEP_BYTES)
      let count = this.#cannotCopyRange.has(pair) ? 0 : this.#copyInKernel(source, target, length, pair)
      // Some filesystems say 0 where there is data: only a read can tell that this is the end.
      if (count === 0) {
        count = this.#copyByHand(source, target, position, length)
        // Copied by hand, the descriptors' offsets stay behind, so it stays by hand.
        if (count > 0) this.#cannotCopyRange.add(pair)
      }
      if (count === 0) return position
      position += count
      if (position < end) yield
    }
    return position
  }

  #copyInKernel(source: number, target: number, length: number, pair: string): number {
    const count = uninterrupted((libc) => libc.copy_file_range(source, null, target, null, length, 0))
    if (count >= 0) return count
    const errno = calls().errno()
    if (!NO_COPY_RANGE.includes(errno)) throw errnoError(errno, 'copy_file_range')
    this.#cannotCopyRange.add(pair)
    return 0
  }

  #copyByHand(source: number, target: number, position: number, length: number): number {
    this.#buffer ??= Buffer.allocUnsafeSlow(BUFFER_BYTES)
    const count = readAt(source, this.#buffer, length, position)
    if (count > 0) writeAllAt(target, this.#buffer.subarray(0, count), position)
    return count
  }
}

/** Whether the filesystem says where data is; all of it that is not ancient does, down to "everywhere". */
function knowsHoles(fd: number): boolean {
  if (calls().lseek(fd, 0, SEEK_DATA) >= 0) return true
  return calls().errno() === ERRNO.ENXIO
}

/** Start of the next run of data; null when only a hole is left. */
function nextData(fd: number, position: number): number | null {
  const found = calls().lseek(fd, position, SEEK_DATA)
  if (found >= 0) return found
  if (calls().errno() === ERRNO.ENXIO) return null
  return failed('lseek')
}
