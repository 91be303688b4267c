/**
 * Reading the regular files of a directory tree: what the kernel says of each, its xattrs, its fs-verity digest, and, when
 * there is a place for objects, a copy of it there.
 *
 * Synchronous work in steps of a megabyte, for a scanning thread or for slices of the caller's own. Symlinks are never
 * followed. A file that changes while it is read is an error, and no copy gets the name of a digest that it does not have.
 */
import type { ByteString } from '../bytes.js'
import { type VerityAlgorithm, VerityHasher, verityDigest } from '../composefs/verity.js'
import { isErrno } from '../errors.js'
import { O_NOFOLLOW, O_NONBLOCK, O_RDONLY, SEEK_DATA, SEEK_HOLE } from '../linux/constants.js'
import { withPath } from '../linux/errno.js'
import { close, openAt, readAt, seek } from '../linux/files.js'
import type { Work } from '../linux/slices.js'
import { type FileStat, statAt, statDescriptor } from '../linux/stat.js'
import { xattrsAt, xattrsOf } from '../linux/xattr.js'
import { MAX_INLINE_BYTES, NO_XATTRS, type Xattrs } from '../tree/model.js'
import { DirectoryCursor } from './directory-cursor.js'
import { ObjectCopier, type ObjectPlace } from './object-copier.js'
import { sourceChanged } from './source-changed.js'

/** What is the same for all files of a scan. Plain data. */
export interface ScanSettings {
  /** Descriptor of the top directory; open for as long as the scan runs, in every thread of the process. */
  readonly root: number
  readonly algorithm: VerityAlgorithm
  readonly xattrs: 'all' | 'user' | 'none'
  /** Where copies go; null to copy nothing. */
  readonly objects: ObjectPlace | null
}

/** Names to read, as one thread takes them: some hundred at most, of some directories. Plain data. */
export interface ScanBatch {
  /** Paths from the top, components joined by slashes; empty for the top. */
  readonly directories: readonly ByteString[]
  readonly names: readonly ByteString[]
  /** For each name, which of the directories it is in. */
  readonly directoryOf: readonly number[]
}

/** A regular file as it was read. */
export interface FileRecord {
  readonly stat: FileStat
  readonly content: FileContent
  readonly xattrs: Xattrs
  /** Whether its object was staged, by this one of all files that have it. */
  readonly staged: boolean
}

export type FileContent =
  | { readonly kind: 'empty' }
  | { readonly kind: 'inline'; readonly bytes: Buffer }
  /** The fs-verity digest, lower-case hex. */
  | { readonly kind: 'object'; readonly digest: string }

const CHUNK_BYTES = 1024 * 1024
/**
 * After so many bytes the rest of a batch is left for others, and a file of more is read in a batch of its own: one thread
 * shall not sit on all the large files.
 */
const FAIR_BYTES = 16 * 1024 * 1024
/** Work is interrupted about every millisecond, for which the opening of a file counts like the reading of so many bytes. */
const PAUSE_BYTES = 512 * 1024
const FILE_COST_BYTES = 16 * 1024
const EMPTY_CONTENT: FileContent = { kind: 'empty' }

export class FileScanner {
  readonly #algorithm: VerityAlgorithm
  readonly #xattrs: ScanSettings['xattrs']
  readonly #cursor: DirectoryCursor
  readonly #buffer = Buffer.allocUnsafeSlow(CHUNK_BYTES)
  readonly #objects: ObjectCopier | null

  constructor({ root, algorithm, xattrs, objects }: ScanSettings) {
    this.#algorithm = algorithm
    this.#xattrs = xattrs
    this.#cursor = new DirectoryCursor(root)
    this.#objects =
      objects === null
        ? null
        : new ObjectCopier(objects, algorithm, (fd, stat, path) => this.#hash(fd, stat, path))
  }

  /** Reads the files of a batch: all, or the first ones where files are large. */
  *scan({ names, directories, directoryOf }: ScanBatch): Work<FileRecord[]> {
    const records: FileRecord[] = []
    let bytes = 0
    let pause = PAUSE_BYTES
    while (records.length < names.length && bytes < FAIR_BYTES) {
      const i = records.length
      const [directory, name] = [directories[directoryOf[i]!]!, names[i]!]
      const found = this.#begin(directory, name)
      if ('record' in found) {
        records.push(found.record)
      } else if (found.stat.size > FAIR_BYTES && names.length > 1) {
        close(found.fd)
        break
      } else {
        records.push(yield* this.#large(found))
      }
      const { size } = records[i]!.stat
      bytes += size
      pause -= size + FILE_COST_BYTES
      if (pause > 0) continue
      pause = PAUSE_BYTES
      yield
    }
    return records
  }

  close(): void {
    this.#cursor.close()
  }

  /**
   * Opens a file, and reads it when it is small: most files are, and work that cannot be interrupted is done in half the
   * time.
   */
  #begin(directory: ByteString, name: ByteString): { readonly record: FileRecord } | OpenFile {
    const path = (directory === '' ? name : `${directory}/${name}`) as ByteString
    let fd: number | null = null
    try {
      const place = this.#cursor.open(directory)
      try {
        // Without O_NONBLOCK a FIFO that took the place of the file would hold us for ever.
        fd = openAt(place, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
      } catch (error) {
        if (isErrno(error, 'EACCES', 'EPERM')) return { record: this.#unread(place, name, error) }
        throw error
      }
      const stat = settledStat(fd)
      if (stat.kind !== 'file') throw sourceChanged(path)
      if (stat.size > CHUNK_BYTES || this.#objects !== null) return { fd, stat, path }
      const record = this.#small(fd, stat, path)
      close(fd)
      return { record }
    } catch (error) {
      if (fd !== null) close(fd)
      throw scanError(error, path)
    }
  }

  #small(fd: number, stat: FileStat, path: ByteString): FileRecord {
    const xattrs = this.#xattrs === 'none' ? NO_XATTRS : takenXattrs(xattrsOf(fd), this.#xattrs)
    const content = this.#smallContent(fd, stat, path)
    if (!isSame(statDescriptor(fd), stat)) throw sourceChanged(path)
    return { stat, content, xattrs, staged: false }
  }

  *#large({ fd, stat, path }: OpenFile): Work<FileRecord> {
    try {
      const xattrs = this.#xattrs === 'none' ? NO_XATTRS : takenXattrs(xattrsOf(fd), this.#xattrs)
      const content: FileContent =
        stat.size <= MAX_INLINE_BYTES
          ? this.#smallContent(fd, stat, path)
          : { kind: 'object', digest: yield* this.#hash(fd, stat, path) }
      const staged =
        content.kind === 'object' && this.#objects !== null
          ? yield* this.#objects.store(fd, stat, content.digest, path)
          : false
      if (!isSame(statDescriptor(fd), stat)) throw sourceChanged(path)
      return { stat, content, xattrs, staged }
    } catch (error) {
      throw scanError(error, path)
    } finally {
      close(fd)
    }
  }

  /** An empty file need not be readable. */
  #unread(directory: number, name: ByteString, cause: unknown): FileRecord {
    const stat = statAt(directory, name)
    if (stat.kind !== 'file' || stat.size > 0) throw cause
    const xattrs = this.#xattrs === 'none' ? NO_XATTRS : takenXattrs(xattrsAt(directory, name), this.#xattrs)
    return { stat, content: EMPTY_CONTENT, xattrs, staged: false }
  }

  #smallContent(fd: number, { size }: FileStat, path: ByteString): FileContent {
    if (size === 0) return EMPTY_CONTENT
    const bytes = this.#read(fd, 0, size, path)
    if (size <= MAX_INLINE_BYTES) return { kind: 'inline', bytes: Buffer.from(bytes) }
    return { kind: 'object', digest: verityDigest(bytes, this.#algorithm) }
  }

  *#hash(fd: number, stat: FileStat, path: ByteString): Work<string> {
    const { size } = stat
    if (size <= CHUNK_BYTES) return verityDigest(this.#read(fd, 0, size, path), this.#algorithm)
    const hasher = new VerityHasher(this.#algorithm)
    const isSparse = stat.blocks * 512 < size
    for (let at = 0; at < size; ) {
      const data = isSparse ? nextData(fd, at, size) : { start: at, end: size }
      hasher.updateZeros(data.start - at)
      at = data.start
      while (at < data.end) {
        const part = this.#read(fd, at, Math.min(CHUNK_BYTES, data.end - at), path)
        hasher.update(part)
        at += part.length
        yield
      }
    }
    return hasher.digest()
  }

  /** Valid until the next call. */
  #read(fd: number, position: number, length: number, path: ByteString): Buffer {
    let filled = 0
    while (filled < length) {
      const into = filled === 0 ? this.#buffer : this.#buffer.subarray(filled)
      const count = readAt(fd, into, length - filled, position + filled)
      if (count === 0) throw sourceChanged(path)
      filled += count
    }
    return this.#buffer.subarray(0, length)
  }
}

interface OpenFile {
  readonly fd: number
  readonly stat: FileStat
  readonly path: ByteString
}

/** The attributes that a scan takes over. */
export function takenXattrs(all: Xattrs, which: 'all' | 'user'): Xattrs {
  if (which === 'all' || all.size === 0) return all
  return new Map([...all].filter(([name]) => name.startsWith('user.')))
}

/** What was listed as a file a moment ago and is gone, or something else, was changed. */
function scanError(error: unknown, path: ByteString): unknown {
  if (isErrno(error, 'ENOENT', 'ENOTDIR', 'ELOOP', 'ENXIO')) return sourceChanged(path, error)
  return isErrno(error) ? withPath(error, path) : error
}

/** The next run of data; at the end of the file, an empty one. */
function nextData(fd: number, at: number, size: number): { readonly start: number; readonly end: number } {
  let start: number
  try {
    start = seek(fd, at, SEEK_DATA)
  } catch (error) {
    if (isErrno(error, 'ENXIO')) return { start: size, end: size } // nothing but a hole is left
    if (isErrno(error, 'EINVAL')) return { start: at, end: size } // a filesystem that does not tell
    throw error
  }
  return start >= size
    ? { start: size, end: size }
    : { start, end: Math.min(seek(fd, start, SEEK_HOLE), size) }
}

/** Longer than the kernel's clock for file times stands still (10 ms at the slowest). */
const TICK_MS = 20
const MAX_TICKS = 5

/**
 * What the kernel says of a file, told at a moment from which on any change shows in its time.
 *
 * A file that was written to in this very tick of the kernel's clock could be written to again without getting another
 * time, so such a one is looked at again later.
 */
function settledStat(fd: number): FileStat {
  let stat = statDescriptor(fd)
  for (let tick = 0; tick < MAX_TICKS; tick++) {
    const age = Date.now() - (Number(stat.mtimeSeconds) * 1000 + stat.mtimeNanoseconds / 1_000_000)
    if (age < 0 || age > TICK_MS) break
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, TICK_MS)
    stat = statDescriptor(fd)
  }
  return stat
}

function isSame(now: FileStat, then: FileStat): boolean {
  return (
    now.size === then.size &&
    now.mtimeSeconds === then.mtimeSeconds &&
    now.mtimeNanoseconds === then.mtimeNanoseconds
  )
}
