/**
 * The xattrs of an image that is being read: entries behind inodes, and those of the shared table.
 */
import { type ByteString, EMPTY } from '../bytes.js'
import { ImageFault } from './faults.js'
import { viewOf, XATTR_ENTRY_BYTES, XATTR_HEADER_BYTES } from './format.js'
import { METACOPY, REDIRECT } from './overlay.js'
import { xattrPrefix } from './xattr-key.js'
import { METACOPY_HEADER_BYTES } from './xattr-pool.js'

interface Entry {
  readonly name: ByteString
  readonly value: ByteString
}

export class XattrReader {
  /** Those of the inode that was read last: of a metacopy the digest in hex, of a redirect the path without its slash. */
  readonly names: ByteString[] = []
  readonly values: ByteString[] = []
  /** How many it has; the arrays may be longer. */
  count = 0
  readonly #bytes: Buffer
  readonly #view: DataView
  /** What references to shared entries count from. */
  readonly #base: number
  /** Entries of the shared table by their place in the image, so that what many inodes refer to is in memory once. */
  readonly #shared = new Map<number, Entry>()
  /** How much of the image they can take, as they stand apart. */
  #room: number
  /** Names by prefix and what stands in the image, so that each is in memory once; those that come first, if there are many. */
  readonly #known = new Map<number, Map<string, ByteString>>()
  /** Where the first names stand: to compare with them is faster than to make strings, and most inodes have no others. */
  readonly #first: { readonly at: number; readonly length: number; readonly name: ByteString }[] = []
  readonly #digits = Buffer.alloc(128)

  /** @param base where the block begins in which the inodes end and the shared table begins */
  constructor(bytes: Buffer, base: number) {
    this.#bytes = bytes
    this.#view = viewOf(bytes)
    this.#base = base
    this.#room = bytes.length - base
  }

  /**
   * Reads what stands behind an inode: a header, references, entries.
   *
   * @throws {ImageFault} where that is not what the header and the entries say
   */
  read(start: number, end: number): void {
    this.count = 0
    if (start === end) return
    const inline = start + XATTR_HEADER_BYTES + 4 * this.#bytes[start + 4]!
    if (inline > end) throw new ImageFault(start, 'an inode has more references to shared xattrs than room')
    for (let at = start + XATTR_HEADER_BYTES; at < inline; at += 4) {
      const { name, value } = this.#sharedEntry(at)
      this.#take(name, value)
    }
    for (let at = inline; at < end; ) {
      const next = this.#endOfEntry(at, end)
      const name = this.#name(at)
      this.#take(name, this.#value(name, at))
      at = next
    }
  }

  #take(name: ByteString, value: ByteString): void {
    this.names[this.count] = name
    this.values[this.count++] = value
  }

  #sharedEntry(reference: number): Entry {
    const at = this.#base + 4 * this.#view.getUint32(reference, true)
    const known = this.#shared.get(at)
    if (known !== undefined) return known
    this.#room -= this.#endOfEntry(at, this.#bytes.length) - at
    // Without this, many entries that share their bytes would take more memory than any image that the writer writes.
    if (this.#room < 0) throw new ImageFault(reference, 'an inode refers to what is no entry of a table')
    const name = this.#name(at)
    const entry = { name, value: this.#value(name, at) }
    this.#shared.set(at, entry)
    return entry
  }

  #endOfEntry(at: number, limit: number): number {
    if (at + XATTR_ENTRY_BYTES <= limit) {
      const length = XATTR_ENTRY_BYTES + this.#bytes[at]! + this.#view.getUint16(at + 2, true)
      const end = at + ((length + 3) & ~3)
      if (end <= limit) return end
    }
    throw new ImageFault(at, 'an xattr does not end where its inode or the image does')
  }

  #name(at: number): ByteString {
    const length = XATTR_ENTRY_BYTES + this.#bytes[at]!
    for (const first of this.#first) {
      if (first.length === length && this.#isSame(first.at, at, length)) return first.name
    }
    const index = this.#bytes[at + 1]!
    let names = this.#known.get(index)
    if (names === undefined) {
      names = new Map()
      this.#known.set(index, names)
    }
    const suffix = this.#bytes.toString('latin1', at + XATTR_ENTRY_BYTES, at + length)
    const known = names.get(suffix)
    if (known !== undefined) return known
    const prefix = xattrPrefix(index)
    if (prefix === undefined) throw new ImageFault(at, 'an xattr has a prefix that the writer does not use')
    const name = (prefix + suffix) as ByteString
    if (names.size < MAX_KNOWN_NAMES) names.set(suffix, name)
    if (this.#first.length < MAX_FIRST_NAMES) this.#first.push({ at, length, name })
    return name
  }

  /** Whether the same prefix and name stand in two entries. */
  #isSame(a: number, b: number, length: number): boolean {
    const bytes = this.#bytes
    if (bytes[a + 1] !== bytes[b + 1]) return false
    for (let i = length - 1; i >= XATTR_ENTRY_BYTES; i--) if (bytes[a + i] !== bytes[b + i]) return false
    return true
  }

  #value(name: ByteString, at: number): ByteString {
    const bytes = this.#bytes
    const start = at + XATTR_ENTRY_BYTES + bytes[at]!
    const end = start + this.#view.getUint16(at + 2, true)
    if (name === METACOPY) return start === end ? EMPTY : this.#digest(start, end)
    if (name !== REDIRECT) return bytes.toString('latin1', start, end) as ByteString
    if (bytes[start] !== SLASH || end - start < 2)
      throw new ImageFault(start, 'a redirect does not begin with a slash')
    return bytes.toString('latin1', start + 1, end) as ByteString
  }

  #digest(start: number, end: number): ByteString {
    const length = end - start
    const algorithm = METACOPY_ALGORITHMS.get(length)
    if (algorithm === undefined || this.#view.getUint32(start) !== (length << 16) + algorithm) {
      throw new ImageFault(start, 'a metacopy is none of a SHA-256 or SHA-512 digest')
    }
    let digits = 0
    for (let at = start + METACOPY_HEADER_BYTES; at < end; at++) {
      const byte = this.#bytes[at]!
      this.#digits[digits++] = HEX_DIGITS[byte >> 4]!
      this.#digits[digits++] = HEX_DIGITS[byte & 15]!
    }
    return this.#digits.toString('latin1', 0, digits) as ByteString
  }
}

const MAX_FIRST_NAMES = 4
const MAX_KNOWN_NAMES = 4096 // many times what real trees have
const SLASH = 0x2f
const HEX_DIGITS = Buffer.from('0123456789abcdef')
/** By length of the value. */
const METACOPY_ALGORITHMS = new Map([
  [METACOPY_HEADER_BYTES + 32, 1],
  [METACOPY_HEADER_BYTES + 64, 2],
])
