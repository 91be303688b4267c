/**
 * Layer records: a layer kept as its own tar with the file contents taken out.
 *
 * A record is a list of segments in the order of the tar: raw bytes (headers, sparse maps, padding, end), and for each
 * content an object's name or, when tiny, the bytes. With the objects the exact tar can be written again.
 *
 * File: 8 bytes magic, then blocks, then 32 bytes SHA-256 of all before. A block is u32 stored length, u32 plain length
 * (little-endian), then the deflated bytes; lengths 0 and 0 end the list. Inflated blocks joined are the segments:
 * 1 + varint length + raw bytes, 2 + 32 bytes object digest, 3 + u8 length + inline bytes.
 */
import { createHash } from 'node:crypto'
import { closeSync, openSync, readSync } from 'node:fs'
import { deflateRawSync, inflateRawSync } from 'node:zlib'
import { asBuffer } from '../bytes.js'
import type { VerityDigest } from '../digest.js'
import { BugError, IntegrityError } from '../errors.js'
import { runAtOnce, type Work } from '../linux/slices.js'
import { writeAll } from '../linux/write-all.js'
import { type Content, MAX_INLINE_BYTES } from '../tree/model.js'

const MAGIC = Buffer.from('grootlr1', 'latin1')
const BLOCK_BYTES = 1024 * 1024
const SEGMENT = { raw: 1, object: 2, inline: 3 } as const
const TRAILER_BYTES = 32

/** Receives the segments of a record in order. */
export interface RecordVisitor {
  raw(bytes: Uint8Array): void
  content(content: Exclude<Content, { kind: 'empty' }>): void
}

/** Writes a record to an open file, in blocks; the caller syncs and closes. Memory: two blocks. */
export class RecordWriter {
  readonly #fd: number
  readonly #onBlock: () => void
  readonly #hash = createHash('sha256')
  readonly #block = Buffer.allocUnsafe(BLOCK_BYTES)
  #filled = 0
  // Raw bytes come in small pieces; a run of them becomes one segment, whose length is known when it ends.
  readonly #run = Buffer.allocUnsafe(64 * 1024)
  #runFilled = 0

  /** @param onBlock called when a further block can be read */
  constructor(fd: number, onBlock: () => void = () => {}) {
    this.#fd = fd
    this.#onBlock = onBlock
    this.#writeOut(MAGIC)
  }

  raw(bytes: Uint8Array): void {
    let at = 0
    while (at < bytes.length) {
      const part = bytes.subarray(at, at + this.#run.length - this.#runFilled)
      this.#run.set(part, this.#runFilled)
      this.#runFilled += part.length
      at += part.length
      if (this.#runFilled === this.#run.length) this.#endRun()
    }
  }

  content(content: Content): void {
    this.#endRun()
    switch (content.kind) {
      case 'object':
        this.#append(Buffer.from([SEGMENT.object]))
        return this.#append(Buffer.from(content.digest, 'hex'))
      case 'inline':
        if (content.bytes.length > MAX_INLINE_BYTES) throw new BugError('Cannot keep a large content inline')
        this.#append(Buffer.from([SEGMENT.inline, content.bytes.length]))
        return this.#append(content.bytes)
      case 'empty':
        throw new BugError('Cannot record an empty content: it has no segment')
      default:
        content satisfies never
    }
  }

  end(): void {
    this.#endRun()
    this.#flushBlock()
    this.#writeOut(Buffer.alloc(8))
    writeAll(this.#fd, this.#hash.digest())
  }

  #endRun(): void {
    if (this.#runFilled === 0) return
    this.#append(Buffer.concat([Buffer.from([SEGMENT.raw]), varint(this.#runFilled)]))
    this.#append(this.#run.subarray(0, this.#runFilled))
    this.#runFilled = 0
  }

  #append(bytes: Uint8Array): void {
    let at = 0
    while (at < bytes.length) {
      const part = bytes.subarray(at, at + BLOCK_BYTES - this.#filled)
      this.#block.set(part, this.#filled)
      this.#filled += part.length
      at += part.length
      if (this.#filled === BLOCK_BYTES) this.#flushBlock()
    }
  }

  #flushBlock(): void {
    if (this.#filled === 0) return
    const stored = deflateRawSync(this.#block.subarray(0, this.#filled), { level: 1 })
    const head = Buffer.alloc(8)
    head.writeUInt32LE(stored.length, 0)
    head.writeUInt32LE(this.#filled, 4)
    this.#writeOut(head)
    this.#writeOut(stored)
    this.#filled = 0
    this.#onBlock()
  }

  #writeOut(bytes: Uint8Array): void {
    this.#hash.update(bytes)
    writeAll(this.#fd, bytes)
  }
}

/**
 * Reads a record and verifies its own checksum.
 *
 * Segments are delivered while the file is read: what was built from them counts only when this returns.
 *
 * @throws {IntegrityError} `layer-damaged` when the file is not a whole, undamaged record
 */
export function readRecord(path: string, visitor: RecordVisitor): void {
  runAtOnce(scanRecord(path, visitor))
}

/** The same as work that may be interrupted, after each block of at most 1 MiB. A block is read when it is asked for. */
export function* scanRecord(path: string, visitor: RecordVisitor): Work<void> {
  const fd = openSync(path, 'r')
  try {
    const blocks = new BlockReader(fd, path)
    const segments = new SegmentReader(visitor, () => blocks.damaged('a segment is malformed'))
    for (let block = blocks.next(); block !== null; block = blocks.next()) {
      segments.push(block)
      yield
    }
    segments.end()
  } finally {
    closeSync(fd)
  }
}

/** The blocks of a record file, inflated, until the end mark; then the checksum is compared. */
class BlockReader {
  readonly #fd: number
  readonly #path: string
  readonly #hash = createHash('sha256')

  constructor(fd: number, path: string) {
    this.#fd = fd
    this.#path = path
    if (!this.#take(MAGIC.length).equals(MAGIC)) throw this.damaged('it does not begin as a layer record')
  }

  next(): Buffer | null {
    const head = this.#take(8)
    const storedLength = head.readUInt32LE(0)
    const plainLength = head.readUInt32LE(4)
    if (storedLength === 0 && plainLength === 0) {
      this.#checkEnd()
      return null
    }
    if (plainLength > BLOCK_BYTES || storedLength > 2 * BLOCK_BYTES)
      throw this.damaged('a block is too large')
    const stored = this.#take(storedLength)
    try {
      const plain = inflateRawSync(stored, { maxOutputLength: plainLength + 1 })
      if (plain.length === plainLength) return plain
    } catch {
      // Falls through: whatever zlib says, the block is not what was written.
    }
    throw this.damaged('a block does not inflate')
  }

  damaged(cause: string): IntegrityError {
    return new IntegrityError('layer-damaged', `Cannot read layer record "${this.#path}": ${cause}`, {
      facts: { path: this.#path, cause },
    })
  }

  #checkEnd(): void {
    const expected = this.#hash.digest()
    const trailer = Buffer.alloc(TRAILER_BYTES + 1)
    if (readFully(this.#fd, trailer) !== TRAILER_BYTES)
      throw this.damaged('its end is missing or has too much')
    if (!trailer.subarray(0, TRAILER_BYTES).equals(expected))
      throw this.damaged('its checksum does not match')
  }

  #take(length: number): Buffer {
    const bytes = Buffer.allocUnsafe(length)
    if (readFully(this.#fd, bytes) !== length) throw this.damaged('it is cut')
    this.#hash.update(bytes)
    return bytes
  }
}

/** Cuts the joined blocks into segments, which may span blocks. */
class SegmentReader {
  readonly #visitor: RecordVisitor
  readonly #malformed: () => IntegrityError
  #pending: Buffer = Buffer.alloc(0)
  #rawLeft = 0

  constructor(visitor: RecordVisitor, malformed: () => IntegrityError) {
    this.#visitor = visitor
    this.#malformed = malformed
  }

  push(block: Buffer): void {
    const bytes = this.#pending.length === 0 ? block : Buffer.concat([this.#pending, block])
    let at = 0
    while (at < bytes.length) {
      const next = this.#rawLeft > 0 ? this.#passRaw(bytes, at) : this.#segment(bytes, at)
      if (next === at) break
      at = next
    }
    this.#pending = bytes.subarray(at)
  }

  end(): void {
    if (this.#pending.length > 0 || this.#rawLeft > 0) throw this.#malformed()
  }

  #passRaw(bytes: Buffer, at: number): number {
    const part = bytes.subarray(at, at + this.#rawLeft)
    this.#visitor.raw(part)
    this.#rawLeft -= part.length
    return at + part.length
  }

  /** Position behind the segment's head, or `at` when more bytes are needed. */
  #segment(bytes: Buffer, at: number): number {
    switch (bytes[at]) {
      case SEGMENT.raw: {
        let length = 0
        for (let i = at + 1, shift = 0; i < bytes.length; i++, shift += 7) {
          if (shift > 28) throw this.#malformed()
          const byte = bytes[i]!
          length += (byte & 0x7f) * 2 ** shift
          if (byte >= 0x80) continue
          this.#rawLeft = length
          return i + 1
        }
        return at
      }
      case SEGMENT.object: {
        if (at + 33 > bytes.length) return at
        const digest = bytes.toString('hex', at + 1, at + 33) as VerityDigest
        this.#visitor.content({ kind: 'object', digest })
        return at + 33
      }
      case SEGMENT.inline: {
        const length = bytes[at + 1]
        if (length === undefined || at + 2 + length > bytes.length) return at
        if (length === 0 || length > MAX_INLINE_BYTES) throw this.#malformed()
        this.#visitor.content({
          kind: 'inline',
          bytes: Uint8Array.prototype.slice.call(bytes, at + 2, at + 2 + length),
        })
        return at + 2 + length
      }
      default:
        throw this.#malformed()
    }
  }
}

function varint(value: number): Buffer {
  const bytes: number[] = []
  let left = value
  for (; left >= 0x80; left = Math.floor(left / 128)) bytes.push((left % 128) | 0x80)
  bytes.push(left)
  return Buffer.from(bytes)
}

function readFully(fd: number, into: Uint8Array): number {
  const buffer = asBuffer(into)
  let at = 0
  while (at < buffer.length) {
    const count = readSync(fd, buffer, at, buffer.length - at, null)
    if (count === 0) break
    at += count
  }
  return at
}
