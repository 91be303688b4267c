/**
 * The xattrs of an image that is being read: entries behind inodes, and those of the shared table.
 */
import { type ByteString, byteString } from '../bytes.js'
import { ImageFault } from './faults.js'
import { BLOCK_BYTES, viewOf, XATTR_ENTRY_BYTES, XATTR_HEADER_BYTES } from './format.js'
import { METACOPY, REDIRECT } from './overlay.js'
import { METACOPY_HEADER_BYTES, xattrPrefix } from './xattr-pool.js'

/** Gets each xattr of an inode: of a metacopy the digest in hex, of a redirect the path without its slash, else the bytes. */
export type XattrTaker = (name: ByteString, value: ByteString) => void

interface Entry {
  readonly name: ByteString
  readonly value: ByteString
}

export class XattrReader {
  readonly #bytes: Buffer
  readonly #view: DataView
  /** Entries of the shared table by their place in the image. */
  readonly #shared = new Map<number, Entry>()
  /** Names by prefix and what stands in the image, so that each is in memory once. */
  readonly #names = new Map<number, Map<string, ByteString>>()
  /** Where the first names stand: to compare with them is faster than to make strings, and most inodes have no others. */
  readonly #first: { readonly at: number; readonly length: number; readonly name: ByteString }[] = []
  /** What references to shared entries count from. */
  readonly #base: number
  #end = 0

  /**
   * Reads the shared table: all of it and once, so that what many inodes refer to is in memory once.
   *
   * @param start where the inodes end
   * @param end where the data blocks begin
   */
  constructor(bytes: Buffer, start: number, end: number) {
    this.#bytes = bytes
    this.#view = viewOf(bytes)
    this.#base = start - (start % BLOCK_BYTES)
    // Entries have names, so zeros are what fills up the last block.
    for (
      let at = start;
      at + XATTR_ENTRY_BYTES <= end && this.#view.getUint32(at, true) !== 0;
      at = this.#end
    ) {
      this.#shared.set(at, this.#entry(at, end))
    }
  }

  /** Reads what stands behind an inode: a header, references, entries. */
  read(start: number, end: number, take: XattrTaker): void {
    const view = this.#view
    const shared = this.#bytes[start + 4]!
    let at = start + XATTR_HEADER_BYTES
    if (at + 4 * shared > end)
      throw new ImageFault(start, 'an inode has more references to shared xattrs than room')
    for (const inline = at + 4 * shared; at < inline; at += 4) {
      const entry = this.#shared.get(this.#base + 4 * view.getUint32(at, true))
      if (entry === undefined) throw new ImageFault(at, 'an inode refers to a shared xattr that is not there')
      take(entry.name, entry.value)
    }
    while (at < end) {
      const { name, value } = this.#entry(at, end)
      take(name, value)
      at = this.#end
    }
  }

  /** Reads an entry; #end is behind it then. */
  #entry(at: number, limit: number): Entry {
    const view = this.#view
    const value = at + XATTR_ENTRY_BYTES + (this.#bytes[at] ?? 0)
    const end = at + XATTR_ENTRY_BYTES > limit ? Infinity : value + view.getUint16(at + 2, true)
    this.#end = at + ((end - at + 3) & ~3)
    if (end > limit || this.#end > limit)
      throw new ImageFault(at, 'an xattr does not end where its inode does')
    const name = this.#name(at, value)
    return { name, value: this.#value(name, value, end) }
  }

  #name(at: number, end: number): ByteString {
    for (const { at: known, length, name } of this.#first) {
      if (at + length === end && this.#isSame(known, at, length)) return name
    }
    const index = this.#bytes[at + 1]!
    let names = this.#names.get(index)
    if (names === undefined) {
      names = new Map()
      this.#names.set(index, names)
    }
    const suffix = this.#bytes.toString('latin1', at + XATTR_ENTRY_BYTES, end)
    const known = names.get(suffix)
    if (known !== undefined) return known
    const prefix = xattrPrefix(index)
    if (prefix === undefined) throw new ImageFault(at, 'an xattr has a prefix that the writer does not use')
    const name = (prefix + suffix) as ByteString
    names.set(suffix, name)
    if (this.#first.length < MAX_FIRST_NAMES) this.#first.push({ at, length: end - at, name })
    return name
  }

  /** Whether the same prefix and name stand in two entries. */
  #isSame(a: number, b: number, length: number): boolean {
    const bytes = this.#bytes
    if (bytes[a + 1] !== bytes[b + 1]) return false
    for (let i = length - 1; i >= XATTR_ENTRY_BYTES; i--) if (bytes[a + i] !== bytes[b + i]) return false
    return true
  }

  #value(name: ByteString, start: number, end: number): ByteString {
    const bytes = this.#bytes
    if (name === METACOPY) return start === end ? NO_DIGEST : this.#digest(start, end)
    if (name !== REDIRECT) return bytes.toString('latin1', start, end) as ByteString
    if (bytes[start] !== SLASH || end - start < 2)
      throw new ImageFault(start, 'a redirect does not begin with a slash')
    return bytes.toString('latin1', start + 1, end) as ByteString
  }

  #digest(start: number, end: number): ByteString {
    const bytes = this.#bytes
    const length = end - start
    const algorithm = METACOPY_ALGORITHMS.get(length)
    if (algorithm === undefined || bytes.readUInt32BE(start) !== (length << 16) + algorithm) {
      throw new ImageFault(start, 'a metacopy is none of a SHA-256 or SHA-512 digest')
    }
    return bytes.toString('hex', start + METACOPY_HEADER_BYTES, end) as ByteString
  }
}

const MAX_FIRST_NAMES = 4
const SLASH = 0x2f
const NO_DIGEST = byteString('')
/** By length of the value. */
const METACOPY_ALGORITHMS = new Map([
  [METACOPY_HEADER_BYTES + 32, 1],
  [METACOPY_HEADER_BYTES + 64, 2],
])
