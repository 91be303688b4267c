/**
 * Walks the frames and blocks of a zstd stream (RFC 8878 section 3.1) without decompressing it.
 *
 * The decoders differ in what they do at the end of a frame: one goes on, one stops, some take a cut frame for a whole
 * one. So bounds and windows are checked here, the same for all of them, and a decoder gets pieces that never reach over
 * the end of a frame. Skippable frames are left out.
 */
import { ImageError } from '../errors.js'

/** The largest window that a frame may ask for: what libzstd accepts unless it is told otherwise. */
export const MAX_WINDOW_LOG = 27
/** Compressed layers that can be read file by file have a frame per file; this is far beyond any of them. */
const MAX_FRAMES = 1 << 24
const MAX_BLOCK_BYTES = 128 * 1024 // RFC 8878 3.1.1.2.3
const FRAME_MAGIC = 0xfd2fb528
const SKIPPABLE_MAGIC = 0x184d2a5 // without its last four bits

/**
 * What the walker is in the middle of. `fields` are collected byte by byte and then understood, `skip` states pass over
 * content of known length.
 */
type State =
  | 'magic'
  | 'descriptor'
  | 'header'
  | 'block'
  | 'skippable-size'
  | 'content'
  | 'checksum'
  | 'skippable'

export class ZstdFrames {
  #state: State = 'magic'
  /** Bytes of the current field, and how many of them there are and have to be. */
  readonly #field = new Uint8Array(16)
  #have = 0
  #want = 4
  /** Bytes of content still to pass over. */
  #skip = 0
  #descriptor = 0
  #isLastBlock = false
  #frames = 0
  /** Bytes of the stream before the current chunk, for messages. */
  #offset = 0

  /** @throws {ImageError} `compression-invalid` when the stream ends within a frame */
  finish(): void {
    if (this.#state !== 'magic' || this.#have > 0) throw invalid('it is cut', this.#offset)
  }

  /**
   * Cuts a chunk into pieces for the decoder. A piece is a part of the chunk, or a copy of the few bytes that the chunk
   * before ended with.
   *
   * @throws {ImageError} `compression-invalid` or `limit-exceeded`
   */
  *split(chunk: Uint8Array): Generator<Uint8Array, void, undefined> {
    // A magic number is held back until it is whole: only then is it known whether the decoder gets it.
    let start = this.#isOutside() ? -1 : 0
    let at = 0
    while (at < chunk.length) {
      const wasMagic = this.#state === 'magic'
      const held = this.#have
      const began = at
      at = this.#step(chunk, at)
      if (wasMagic && this.#state === 'descriptor') {
        if (held > 0) yield magicBytes().subarray(0, held)
        start = began
      }
      if (!this.#isOutside()) continue
      if (start >= 0) yield chunk.subarray(start, at)
      start = -1
    }
    this.#offset += chunk.length
    if (start >= 0 && start < chunk.length) yield chunk.subarray(start)
  }

  /** Between frames, or in a frame that the decoder does not get. */
  #isOutside(): boolean {
    return this.#state === 'magic' || this.#state === 'skippable-size' || this.#state === 'skippable'
  }

  /** Consumes at least one byte, up to the end of one field or content. */
  #step(chunk: Uint8Array, at: number): number {
    if (this.#skip > 0) {
      const count = Math.min(this.#skip, chunk.length - at)
      this.#skip -= count
      if (this.#skip === 0) this.#endContent()
      return at + count
    }
    while (at < chunk.length && this.#have < this.#want) this.#field[this.#have++] = chunk[at++]!
    if (this.#have === this.#want) this.#endField(this.#offset + at)
    return at
  }

  #collect(state: State, bytes: number): void {
    this.#state = state
    this.#have = 0
    this.#want = bytes
  }

  #pass(state: State, bytes: number): void {
    this.#state = state
    this.#skip = bytes
    if (bytes === 0) this.#endContent()
  }

  #endContent(): void {
    const isFrameEnd = this.#state !== 'content' || (this.#isLastBlock && (this.#descriptor & 4) === 0)
    if (isFrameEnd) this.#collect('magic', 4)
    else if (this.#isLastBlock) this.#pass('checksum', 4)
    else this.#collect('block', 3)
  }

  #endField(offset: number): void {
    if (this.#state === 'magic') this.#beginFrame(offset)
    else if (this.#state === 'descriptor') this.#readDescriptor(offset)
    else if (this.#state === 'header') this.#readHeader(offset)
    else if (this.#state === 'block') this.#readBlock(offset)
    else this.#pass('skippable', this.#number(0, 4))
  }

  #beginFrame(offset: number): void {
    const magic = this.#number(0, 4)
    if (++this.#frames > MAX_FRAMES)
      throw tooMuch(`it has more than ${MAX_FRAMES} frames`, 'frames', MAX_FRAMES)
    if (magic === FRAME_MAGIC) this.#collect('descriptor', 1)
    else if (magic >>> 4 === SKIPPABLE_MAGIC) this.#collect('skippable-size', 4)
    else throw invalid(`bytes that are not zstd follow at offset ${offset - 4}`, offset - 4)
  }

  /** RFC 8878 3.1.1.1.1: which of the fields that follow are there. */
  #readDescriptor(offset: number): void {
    const descriptor = this.#field[0]!
    if ((descriptor & 8) !== 0) throw invalid('a reserved bit of a frame header is set', offset)
    this.#descriptor = descriptor
    this.#collect('header', this.#windowBytes() + this.#dictionaryBytes() + this.#sizeBytes())
  }

  #isSingleSegment(): boolean {
    return (this.#descriptor & 32) !== 0
  }
  #windowBytes(): number {
    return this.#isSingleSegment() ? 0 : 1
  }
  #dictionaryBytes(): number {
    return [0, 1, 2, 4][this.#descriptor & 3]!
  }
  #sizeBytes(): number {
    const flag = this.#descriptor >>> 6
    return flag === 0 ? (this.#isSingleSegment() ? 1 : 0) : 1 << flag
  }

  #readHeader(offset: number): void {
    const window = this.#isSingleSegment() ? this.#contentSize() : this.#windowSize()
    const limit = 2 ** MAX_WINDOW_LOG
    if (window > limit) throw tooMuch(`a frame asks for a window of ${window} bytes`, 'window', limit)
    if (this.#number(this.#windowBytes(), this.#dictionaryBytes()) !== 0) {
      throw invalid('a frame needs a dictionary', offset)
    }
    this.#collect('block', 3)
  }

  #contentSize(): number {
    const bytes = this.#sizeBytes()
    const value = this.#number(this.#dictionaryBytes(), bytes)
    return bytes === 2 ? value + 256 : value
  }

  #windowSize(): number {
    const base = 2 ** (10 + (this.#field[0]! >>> 3))
    return base + (base / 8) * (this.#field[0]! & 7)
  }

  #readBlock(offset: number): void {
    const header = this.#number(0, 3)
    const kind = (header >>> 1) & 3
    const bytes = header >>> 3
    if (kind === 3) throw invalid('a block is of the reserved kind', offset)
    if (bytes > MAX_BLOCK_BYTES) throw invalid(`a block holds ${bytes} bytes`, offset)
    this.#isLastBlock = (header & 1) !== 0
    this.#pass('content', kind === 1 ? 1 : bytes)
  }

  /** A little-endian number; exact where it matters, since what passes 2^53 passes the window limit too. */
  #number(from: number, bytes: number): number {
    let value = 0
    for (let at = from + bytes - 1; at >= from; at--) value = value * 256 + this.#field[at]!
    return value
  }
}

function magicBytes(): Uint8Array {
  return Uint8Array.of(0x28, 0xb5, 0x2f, 0xfd)
}

function invalid(reason: string, bytes: number): ImageError {
  return new ImageError('compression-invalid', `Cannot decompress the tar: ${reason} (zstd)`, {
    facts: { compression: 'zstd', reason, bytes },
  })
}

function tooMuch(reason: string, what: string, limit: number): ImageError {
  return new ImageError(
    'limit-exceeded',
    `Cannot decompress the tar: ${reason}, the limit is ${limit} (zstd)`,
    {
      facts: { compression: 'zstd', what, limit },
    },
  )
}
