/**
 * The header of a gzip member (RFC 1952 2.3), read wherever chunks are cut. It says nothing that groot wants to know; it is
 * passed over, and refused where it is wrong.
 */
import { crc32 } from 'node:zlib'

const FIXED_BYTES = 10
const DEFLATE = 8
const RESERVED_FLAGS = 0xe0

/** In their order; all but the first are there or not. */
const PARTS = ['fixed', 'extra length', 'extra', 'name', 'comment', 'checksum', 'end'] as const
type Part = (typeof PARTS)[number]
const FLAG_OF: Readonly<Partial<Record<Part, number>>> = {
  'extra length': 0x04,
  name: 0x08,
  comment: 0x10,
  checksum: 0x02,
}

export class GzipHeader {
  #part: Part = 'fixed'
  /** Bytes that the part still needs, where it has a length. */
  #left = FIXED_BYTES
  /** What was read of the part, where that matters. */
  #bytes: number[] = []
  #flags = 0
  #crc = 0
  #isFresh = true

  /** Whether nothing of it was read. */
  get isFresh(): boolean {
    return this.#isFresh
  }

  get isRead(): boolean {
    return this.#part === 'end'
  }

  /**
   * Reads on.
   *
   * @returns how many of the bytes belong to the header
   * @throws {Error} with what is wrong, in the words of zlib
   */
  read(bytes: Uint8Array): number {
    let at = 0
    while (at < bytes.length && this.#part !== 'end') {
      const rest = bytes.subarray(at)
      const isText = this.#part === 'name' || this.#part === 'comment'
      const used = rest.subarray(0, isText ? rest.indexOf(0) + 1 || rest.length : this.#left)
      if (this.#part !== 'checksum') this.#crc = crc32(used, this.#crc)
      if (isText) {
        if (used.at(-1) === 0) this.#begin(this.#after())
      } else this.#count(used)
      at += used.length
      this.#isFresh = false
    }
    return at
  }

  #count(used: Uint8Array): void {
    if (this.#part !== 'extra') this.#bytes.push(...used)
    this.#left -= used.length
    if (this.#left > 0) return
    if (this.#part === 'fixed') this.#checkFixed()
    if (this.#part === 'checksum' && this.#number() !== (this.#crc & 0xffff))
      throw new Error('header crc mismatch')
    this.#begin(this.#after())
  }

  #checkFixed(): void {
    const [first, second, method, flags = 0] = this.#bytes
    if (first !== 0x1f || second !== 0x8b) throw new Error('incorrect header check')
    if (method !== DEFLATE) throw new Error('unknown compression method')
    // They may change what follows.
    if ((flags & RESERVED_FLAGS) !== 0) throw new Error('unknown header flags set')
    this.#flags = flags
  }

  /** The part that comes next. */
  #after(): Part {
    return PARTS.slice(PARTS.indexOf(this.#part) + 1).find((part) => this.#has(part)) ?? 'end'
  }

  #has(part: Part): boolean {
    // It comes behind its length, which was just read.
    if (part === 'extra') return this.#part === 'extra length' && this.#number() > 0
    return (this.#flags & (FLAG_OF[part] ?? 0)) !== 0
  }

  #begin(part: Part): void {
    this.#left = part === 'extra' ? this.#number() : 2
    this.#part = part
    this.#bytes = []
  }

  /** Two bytes, the lower one first. */
  #number(): number {
    const [low = 0, high = 0] = this.#bytes
    return low | (high << 8)
  }
}
