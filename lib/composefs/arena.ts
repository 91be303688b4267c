/**
 * Bytes of many small things, one behind the other in a few large pieces of memory.
 *
 * What is reserved stands in the current piece, and is written there at once; later it is found by its position.
 */
import type { ByteString } from '../bytes.js'
import { viewOf } from './format.js'
import type { Sink } from './sink.js'

const PIECE_BYTES = 256 * 1024 // more than the largest thing that is kept, an xattr of 64 KiB
/** Up to here a loop beats a call of the runtime. */
const SHORT_BYTES = 128
const SHORT_CHARS = 24

export class Arena {
  /** The current piece: zeros where nothing was written. */
  buffer = Buffer.alloc(PIECE_BYTES)
  /** The same memory; its methods are faster than those of buffers. */
  view = viewOf(this.buffer)
  readonly #buffers = [this.buffer]
  readonly #views = [this.view]
  #filled = 0

  /** Makes room, and gives its place in the current piece. */
  reserve(length: number): number {
    if (this.#filled + length > PIECE_BYTES) {
      this.buffer = Buffer.alloc(PIECE_BYTES)
      this.view = viewOf(this.buffer)
      this.#buffers.push(this.buffer)
      this.#views.push(this.view)
      this.#filled = 0
    }
    const at = this.#filled
    this.#filled += length
    return at
  }

  /** The position of a place in the current piece. */
  positionOf(at: number): number {
    return (this.#buffers.length - 1) * PIECE_BYTES + at
  }

  /** Keeps bytes, and gives their position. */
  put(bytes: Uint8Array): number {
    const at = this.reserve(bytes.length)
    this.buffer.set(bytes, at)
    return this.positionOf(at)
  }

  /** Keeps a byte string, and gives its position. */
  putText(text: ByteString): number {
    const at = this.reserve(text.length)
    this.buffer.write(text, at, 'latin1')
    return this.positionOf(at)
  }

  /** Writes a byte string to a place in the current piece. */
  write(text: ByteString, at: number): void {
    const { buffer } = this
    if (text.length > SHORT_CHARS) buffer.write(text, at, 'latin1')
    else for (let i = 0; i < text.length; i++) buffer[at + i] = text.charCodeAt(i)
  }

  setUint32(position: number, value: number): void {
    this.#views[Math.floor(position / PIECE_BYTES)]!.setUint32(position % PIECE_BYTES, value, true)
  }

  setUint8(position: number, value: number): void {
    this.#views[Math.floor(position / PIECE_BYTES)]!.setUint8(position % PIECE_BYTES, value)
  }

  /** Copies what is kept at a position. */
  copy(position: number, length: number, into: Sink, to: number): void {
    const piece = Math.floor(position / PIECE_BYTES)
    const from = position % PIECE_BYTES
    if (length > SHORT_BYTES) {
      this.#buffers[piece]!.copy(into.buffer, to, from, from + length)
      return
    }
    const source = this.#views[piece]!
    const { view } = into
    let i = 0
    for (; i + 4 <= length; i += 4) view.setUint32(to + i, source.getUint32(from + i))
    for (; i < length; i++) view.setUint8(to + i, source.getUint8(from + i))
  }
}
