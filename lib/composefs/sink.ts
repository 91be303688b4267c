/**
 * Where the bytes of an image go while it is written: a buffer of zeros that is filled from its start, and then another.
 */
import type { ByteString } from '../bytes.js'
import { viewOf } from './format.js'

const PIECE_BYTES = 256 * 1024
/** More than an inode can take with padding before it, all its xattrs and a tail; than a shared xattr, and than a block. */
const MAX_RECORD_BYTES = 96 * 1024
/** Up to here a loop beats a call of the runtime. */
const SHORT_CHARS = 24

export class Sink {
  buffer = Buffer.alloc(PIECE_BYTES)
  /** The same memory; its methods are faster than those of buffers. */
  view = viewOf(this.buffer)
  /** How much of the buffer is filled. */
  at = 0
  /** Where the buffer begins in the image. */
  #start = 0
  readonly #isLent: boolean

  /** @param isLent whether what is taken may be written over when more is taken: one buffer does for all then */
  constructor(isLent: boolean) {
    this.#isLent = isLent
  }

  /** Whether there is no room for the largest record. */
  get isFull(): boolean {
    return this.at > PIECE_BYTES - MAX_RECORD_BYTES
  }

  /** Leaves zeros up to a position in the image. */
  skipTo(position: number): void {
    this.at = position - this.#start
  }

  put(bytes: Uint8Array): void {
    this.buffer.set(bytes, this.at)
    this.at += bytes.length
  }

  /** Writes a byte string, and gives its end. */
  write(value: ByteString, at: number): number {
    const { length } = value
    if (length > SHORT_CHARS) return at + this.buffer.write(value, at, 'latin1')
    for (let i = 0; i < length; i++) this.buffer[at + i] = value.charCodeAt(i)
    return at + length
  }

  /** Writes an unsigned integer of 64 bits that is exact as a number. */
  writeUint64(value: number, at: number): void {
    this.view.setUint32(at, value >>> 0, true)
    if (value > 0xffff_ffff) this.view.setUint32(at + 4, Math.floor(value / 2 ** 32), true)
  }

  /** What is filled; the sink begins anew behind it. */
  *take(): Generator<Uint8Array, void, undefined> {
    yield this.buffer.subarray(0, this.at)
    this.#start += this.at
    if (this.#isLent) {
      this.buffer.fill(0, 0, this.at)
    } else {
      this.buffer = Buffer.alloc(PIECE_BYTES)
      this.view = viewOf(this.buffer)
    }
    this.at = 0
  }
}
