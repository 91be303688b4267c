/**
 * New objects of one ingest: contents are written to a staging directory under their digest, and renamed into `objects/`
 * when the layer is verified and synced. Nothing unfinished is ever seen, reused or collected.
 *
 * Synchronous: runs where the layer is read. Who writes the files is staging-files.ts's business.
 */
import { existsSync } from 'node:fs'
import { VerityHasher, verityDigest } from '../composefs/verity.js'
import type { VerityDigest } from '../digest.js'
import { BugError } from '../errors.js'
import { objectName } from '../store/objects.js'
import { type Content, MAX_INLINE_BYTES } from '../tree/model.js'
import type { SparseRun } from './entry.js'
import { SeenObjects } from './seen-objects.js'
import { type LargeFile, StagingFiles } from './staging-files.js'

/** Up to here a content is gathered in memory, so that a known one is never written. */
const MEMORY_BYTES = 1024 * 1024

/** Zeros become a hole from here on, which no filesystem's block is larger than. */
const HOLE_BYTES = 64 * 1024
const ZEROS = Buffer.alloc(HOLE_BYTES)

export class StagedObjects implements Disposable {
  readonly #objects: string
  readonly #files: StagingFiles
  /** What may be used as it is. */
  readonly #seen: SeenObjects | null
  readonly #staged = new Set<VerityDigest>()
  /** For contents that come in several pieces; made when the first one does. */
  #buffer: Buffer | null = null
  #current: Gathering | null = null
  #bytes = 0

  /**
   * @param objects the store's `objects/`
   * @param staging an empty directory on the same filesystem, this ingest's own
   * @param reuse whether contents that are in `objects/` already are left out
   * @param writers how many of the kernel's threads may write files; 0 for none
   */
  constructor(objects: string, staging: string, reuse = true, writers = 1) {
    this.#objects = objects
    this.#files = new StagingFiles(objects, staging, writers)
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
      size <= MEMORY_BYTES ? new MemorySink(() => this.#memory(), size) : new FileSink(this.#files.begin())
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

  /** When this returns, all contents are written, though not to the disk. */
  settle(): void {
    this.#files.settle()
  }

  /** Moves all that was staged into `objects/`. The contents must be synced already. @returns directories to be synced */
  publish(): Iterable<string> {
    return this.#files.publish()
  }

  /** Leaves an unfinished content. What is not published stays for whoever removes the staging directory. */
  [Symbol.dispose](): void {
    using _files = this.#files
    using _seen = this.#seen
    if (this.#current?.sink instanceof FileSink) this.#current.sink.close()
    this.#current = null
  }

  #memory(): Buffer {
    this.#buffer ??= Buffer.allocUnsafeSlow(MEMORY_BYTES)
    return this.#buffer
  }

  #finishMemory(sink: MemorySink, size: number): Content {
    const bytes = sink.finish()
    if (size <= MAX_INLINE_BYTES) return { kind: 'inline', bytes: Uint8Array.prototype.slice.call(bytes) }
    const digest = verityDigest(bytes)
    if (!this.#isKnown(digest, size)) {
      this.#files.add(digest, bytes)
      this.#note(digest, size)
    }
    return { kind: 'object', digest }
  }

  #finishFile(sink: FileSink, size: number): Content {
    const digest = sink.finish(size)
    if (this.#isKnown(digest, size)) {
      sink.file.drop()
    } else {
      sink.file.keep(digest)
      this.#note(digest, size)
    }
    return { kind: 'object', digest }
  }

  #isKnown(digest: VerityDigest, size: number): boolean {
    return this.#staged.has(digest) || this.#seen?.has(digest, size) === true
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
  readonly #memory: () => Buffer
  readonly #size: number
  #whole: Uint8Array | null = null
  /** What is put together, as soon as there is more than one piece. */
  #buffer: Buffer | null = null

  /** @param memory where to put it together */
  constructor(memory: () => Buffer, size: number) {
    this.#memory = memory
    this.#size = size
  }

  put(offset: number, bytes: Uint8Array): void {
    if (bytes.length === this.#size) {
      this.#whole = bytes
      return
    }
    this.#gathered().set(bytes, offset)
  }

  finish(): Uint8Array {
    return this.#whole ?? this.#gathered()
  }

  #gathered(): Buffer {
    // Zeros, for the holes of sparse files.
    this.#buffer ??= this.#memory().subarray(0, this.#size).fill(0)
    return this.#buffer
  }
}

/** Streams a large content to a file, hashing as it passes. Offsets only grow. What is nothing but zeros becomes a hole. */
class FileSink {
  readonly file: LargeFile
  readonly #hasher = new VerityHasher()
  #at = 0
  /** Where the last written byte ends. */
  #end = 0
  #isOpen = true

  constructor(file: LargeFile) {
    this.file = file
  }

  put(offset: number, bytes: Uint8Array): void {
    if (offset > this.#at) this.#hasher.updateZeros(offset - this.#at)
    for (const [from, to] of dataIn(bytes, offset)) {
      this.file.put(bytes.subarray(from, to), offset + from)
      this.#end = offset + to
    }
    this.#hasher.update(bytes)
    this.#at = offset + bytes.length
  }

  finish(size: number): VerityDigest {
    if (size > this.#at) this.#hasher.updateZeros(size - this.#at)
    try {
      if (size > this.#end) this.file.setLength(size)
    } finally {
      this.close()
    }
    return this.#hasher.digest()
  }

  close(): void {
    if (this.#isOpen) this.file.close()
    this.#isOpen = false
  }
}

/** Ranges of some bytes that are not only zeros; those are looked for in steps of HOLE_BYTES of the file. */
function* dataIn(bytes: Uint8Array, offset: number): Generator<[from: number, to: number]> {
  let from = 0
  let at = (HOLE_BYTES - (offset % HOLE_BYTES)) % HOLE_BYTES
  for (; at + HOLE_BYTES <= bytes.length; at += HOLE_BYTES) {
    // Most are told by their first byte or their last.
    const mayBe = bytes[at] === 0 && bytes[at + HOLE_BYTES - 1] === 0
    if (!mayBe || ZEROS.compare(bytes, at, at + HOLE_BYTES) !== 0) continue
    if (from < at) yield [from, at]
    from = at + HOLE_BYTES
  }
  if (from < bytes.length) yield [from, bytes.length]
}
