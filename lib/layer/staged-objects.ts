/**
 * New objects of one ingest: contents are written to a staging directory under their digest, and renamed into `objects/`
 * when the layer is verified and synced. Nothing unfinished is ever seen, reused or collected.
 *
 * Synchronous: runs on an ingest thread.
 */
import {
  closeSync,
  existsSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  renameSync,
  unlinkSync,
  writeSync,
} from 'node:fs'
import { VerityHasher, verityDigest } from '../composefs/verity.js'
import type { VerityDigest } from '../digest.js'
import { BugError, isErrno } from '../errors.js'
import { syncDirectory } from '../linux/sync.js'
import { objectName } from '../store/objects.js'
import { type Content, MAX_INLINE_BYTES } from '../tree/model.js'
import type { SparseRun } from './entry.js'
import { SeenObjects } from './seen-objects.js'

/** Up to here a content is gathered in memory, so that a known one is never written. */
const MEMORY_BYTES = 1024 * 1024
const OBJECT_MODE = 0o444

export class StagedObjects {
  readonly #objects: string
  readonly #staging: string
  /** What may be used as it is. */
  readonly #seen: SeenObjects | null
  readonly #staged = new Set<VerityDigest>()
  readonly #buffer = Buffer.allocUnsafe(MEMORY_BYTES)
  #current: Gathering | null = null
  #bytes = 0

  /**
   * @param objects the store's `objects/`
   * @param staging an empty directory on the same filesystem, this ingest's own
   * @param reuse whether contents that are in `objects/` already are left out
   */
  constructor(objects: string, staging: string, reuse = true) {
    this.#objects = objects
    this.#staging = staging
    this.#seen = reuse ? new SeenObjects(objects) : null
  }

  /** Objects written so far, and their bytes. */
  get count(): number {
    return this.#staged.size
  }
  get bytes(): number {
    return this.#bytes
  }

  /** Whether a content is staged, or in `objects/`. */
  has(digest: VerityDigest): boolean {
    return this.#staged.has(digest) || existsSync(`${this.#objects}/${objectName(digest)}`)
  }

  /** Begins a content of `size` bytes; `runs` says where the data stands when the rest are holes. */
  begin(size: number, runs: readonly SparseRun[] | null): void {
    if (this.#current !== null) throw new BugError('Cannot begin a content inside another')
    const sink =
      size <= MEMORY_BYTES ? new MemorySink(this.#buffer, size) : new FileSink(`${this.#staging}/large`)
    this.#current = { size, sink, runs: runs ?? [{ offset: 0, length: size }], run: 0, inRun: 0 }
  }

  /** The next data bytes, as they stand in the archive. */
  write(bytes: Uint8Array): void {
    const now = this.#current
    if (now === null) throw new BugError('Cannot write a content that was not begun')
    let at = 0
    while (at < bytes.length) {
      const run = now.runs[now.run]
      if (run === undefined) throw new BugError('Cannot write more data than the content has')
      const part = bytes.subarray(at, at + run.length - now.inRun)
      now.sink.put(run.offset + now.inRun, part)
      at += part.length
      now.inRun += part.length
      if (now.inRun === run.length) {
        now.run++
        now.inRun = 0
      }
    }
  }

  /** Ends the content: it is inline, known, or staged. */
  finish(): Content {
    const now = this.#current
    if (now === null) throw new BugError('Cannot finish a content that was not begun')
    this.#current = null
    return now.sink instanceof MemorySink
      ? this.#finishMemory(now.sink, now.size)
      : this.#finishFile(now.sink, now.size)
  }

  /** Leaves an unfinished content; its temporary file stays for whoever removes the staging directory. */
  abandon(): void {
    if (this.#current?.sink instanceof FileSink) this.#current.sink.close()
    this.#current = null
  }

  /**
   * Renames all that was staged into `objects/` and syncs the directories it touched. The contents must be synced already.
   *
   * Another ingest may have brought the same object meanwhile: the rename then puts equal bytes in place of equal bytes.
   */
  publish(): void {
    const touched = new Set<string>()
    for (const digest of this.#staged) {
      const prefix = digest.slice(0, 2)
      const directory = `${this.#objects}/${prefix}`
      const from = `${this.#staging}/${digest}`
      const to = `${directory}/${digest.slice(2)}`
      try {
        renameSync(from, to)
      } catch (error) {
        if (!isErrno(error, 'ENOENT')) throw error
        mkdirSync(directory, { mode: 0o711, recursive: true })
        touched.add(this.#objects)
        renameSync(from, to)
      }
      touched.add(directory)
    }
    for (const directory of touched) syncDirectory(directory)
  }

  #finishMemory(sink: MemorySink, size: number): Content {
    const bytes = sink.finish()
    if (size <= MAX_INLINE_BYTES) return { kind: 'inline', bytes: Uint8Array.prototype.slice.call(bytes) }
    const digest = verityDigest(bytes)
    if (!this.#isKnown(digest)) {
      const fd = openSync(`${this.#staging}/${digest}`, 'wx', OBJECT_MODE)
      try {
        writeAll(fd, bytes, 0)
      } finally {
        closeSync(fd)
      }
      this.#note(digest, size)
    }
    return { kind: 'object', digest }
  }

  #finishFile(sink: FileSink, size: number): Content {
    const digest = sink.finish(size)
    if (this.#isKnown(digest)) {
      unlinkSync(sink.path)
    } else {
      renameSync(sink.path, `${this.#staging}/${digest}`)
      this.#note(digest, size)
    }
    return { kind: 'object', digest }
  }

  #isKnown(digest: VerityDigest): boolean {
    return this.#staged.has(digest) || this.#seen?.has(digest) === true
  }

  #note(digest: VerityDigest, size: number): void {
    this.#staged.add(digest)
    this.#bytes += size
  }
}

interface Gathering {
  readonly size: number
  readonly sink: MemorySink | FileSink
  readonly runs: readonly SparseRun[]
  run: number
  inRun: number
}

/** Gathers a small content. A content that arrives in one piece is used where it stands. */
class MemorySink {
  readonly #buffer: Buffer
  readonly #size: number
  #whole: Uint8Array | null = null
  #started = false

  constructor(buffer: Buffer, size: number) {
    this.#buffer = buffer
    this.#size = size
  }

  put(offset: number, bytes: Uint8Array): void {
    if (!this.#started && bytes.length === this.#size) {
      this.#whole = bytes
      this.#started = true
      return
    }
    this.#start()
    this.#buffer.set(bytes, offset)
  }

  finish(): Uint8Array {
    if (this.#whole !== null) return this.#whole
    this.#start()
    return this.#buffer.subarray(0, this.#size)
  }

  #start(): void {
    if (this.#started) return
    this.#started = true
    this.#buffer.fill(0, 0, this.#size) // holes of sparse files
  }
}

/** Streams a large content to a temporary file, hashing as it passes. Offsets only grow. */
class FileSink {
  readonly path: string
  readonly #fd: number
  readonly #hasher = new VerityHasher()
  #at = 0
  #open = true

  constructor(path: string) {
    this.path = path
    this.#fd = openSync(path, 'wx', OBJECT_MODE)
  }

  put(offset: number, bytes: Uint8Array): void {
    if (offset > this.#at) this.#hasher.updateZeros(offset - this.#at)
    this.#hasher.update(bytes)
    writeAll(this.#fd, bytes, offset)
    this.#at = offset + bytes.length
  }

  finish(size: number): VerityDigest {
    if (size > this.#at) {
      this.#hasher.updateZeros(size - this.#at)
      ftruncateSync(this.#fd, size)
    }
    this.close()
    return this.#hasher.digest()
  }

  close(): void {
    if (this.#open) closeSync(this.#fd)
    this.#open = false
  }
}

function writeAll(fd: number, bytes: Uint8Array, position: number): void {
  for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at, bytes.length - at, position + at)
}
