/**
 * The xattrs of all inodes of an image, each pair of name and value once: EROFS shares those that more than one inode has.
 *
 * Values that follow from a file's object are kept as what they follow from, which the nodes have anyway.
 */
import { type ByteString, compareBytes, printable } from '../bytes.js'
import { BugError } from '../errors.js'
import type { Arena } from './arena.js'
import { doubled } from './inode-columns.js'
import type { Sink } from './sink.js'
import { ValueIds } from './value-ids.js'
import { type ValueForm, XattrKey } from './xattr-key.js'

/** Number of a pair in the pool. */
export type XattrId = number

export const METACOPY_HEADER_BYTES = 4

/** Instead of places in the shared table: while uses are counted, of pairs that are used once, and more often. */
const UNSHARED = -1
const REPEATED = -2

/** Up to here values of a name are found by looking at each. */
const FEW_VALUES = 8

export class XattrPool {
  readonly #arena: Arena
  readonly #keys = new Map<ByteString, XattrKey>()
  readonly #keyList: XattrKey[] = []
  /** By id: key and value of a pair, its entry in the arena, and its place in the shared table. */
  #keyOf: Uint32Array
  readonly #valueOf: ByteString[] = []
  /** The pair of the same key before it; less than 0 for the first. */
  #beforeOf: Int32Array
  #positionOf: Float64Array
  #bytesOf: Uint32Array
  #placeOf: Float64Array
  #shared: readonly XattrId[] = []
  readonly #digits = Buffer.alloc(128)

  /** @param expected how many pairs there may be, as far as that is known */
  constructor(arena: Arena, expected: number) {
    this.#arena = arena
    this.#keyOf = new Uint32Array(expected)
    this.#beforeOf = new Int32Array(expected)
    this.#positionOf = new Float64Array(expected)
    this.#bytesOf = new Uint32Array(expected)
    this.#placeOf = new Float64Array(expected)
  }

  /** What names the xattrs of that name in the pool. A name always has the same form. */
  key(name: ByteString, form: ValueForm = 'bytes'): XattrKey {
    let key = this.#keys.get(name)
    if (key === undefined) {
      key = new XattrKey(name, form, this.#keyList.length)
      this.#keys.set(name, key)
      this.#keyList.push(key)
    }
    return key
  }

  /** Counts a use of a pair. */
  use(key: XattrKey, value: ByteString): XattrId {
    const next = this.#valueOf.length
    const id = this.#idOf(key, value, next)
    if (id < next) {
      this.#placeOf[id] = REPEATED
      return id
    }
    const bytes = (key.head.length + valueBytes(key.form, value) + 3) & ~3
    const at = this.#arena.reserve(bytes)
    this.#writeEntry(at, key, value)
    if (id === this.#keyOf.length) this.#grow()
    this.#valueOf.push(value)
    this.#keyOf[id] = key.number
    this.#beforeOf[id] = key.last
    key.last = id
    key.count++
    this.#positionOf[id] = this.#arena.positionOf(at)
    this.#bytesOf[id] = bytes
    this.#placeOf[id] = UNSHARED
    return id
  }

  has(name: ByteString): boolean {
    return this.#keys.has(name)
  }

  /** Orders ids of one inode by name. */
  compareNames(a: XattrId, b: XattrId): number {
    return compareBytes(this.#keyAt(a).name, this.#keyAt(b).name)
  }

  /** Ends the counting: gives what is used twice its place in the shared table, and says how long that is. */
  share(): number {
    for (const { ids } of this.#keyList) ids?.close()
    const shared: XattrId[] = []
    for (let id = 0; id < this.#valueOf.length; id++) if (this.#placeOf[id] === REPEATED) shared.push(id)
    shared.sort((a, b) => this.#compareShared(a, b))
    let end = 0
    for (const id of shared) {
      this.#placeOf[id] = end
      end += this.#bytesOf[id]!
    }
    this.#valueOf.length = 0
    this.#shared = shared
    return end
  }

  /** In the order of the shared table. */
  get shared(): readonly XattrId[] {
    return this.#shared
  }

  /** Place in the shared table; less than 0 for a pair that is not in it. */
  place(id: XattrId): number {
    return this.#placeOf[id]!
  }

  filterBit(id: XattrId): number {
    return this.#keyAt(id).filterBit
  }

  /** What an entry takes, filled up to four bytes. */
  entryBytes(id: XattrId): number {
    return this.#bytesOf[id]!
  }

  /** Copies an entry into zeros and gives its end. */
  copyEntry(id: XattrId, into: Sink, at: number): number {
    this.#arena.copy(this.#positionOf[id]!, this.#bytesOf[id]!, into, at)
    return at + this.#bytesOf[id]!
  }

  /** The id of a pair; `next` where it is not there yet. */
  #idOf(key: XattrKey, value: ByteString, next: number): XattrId {
    if (key.ids !== null) return key.ids.idOf(value, next)
    for (let id = key.last; id >= 0; id = this.#beforeOf[id]!) if (this.#valueOf[id] === value) return id
    if (key.count < FEW_VALUES) return next
    key.ids = new ValueIds(this.#valueOf)
    for (let id = key.last; id >= 0; id = this.#beforeOf[id]!) key.ids.idOf(this.#valueOf[id]!, id)
    return key.ids.idOf(value, next)
  }

  #keyAt(id: XattrId): XattrKey {
    return this.#keyList[this.#keyOf[id]!]!
  }

  #grow(): void {
    this.#keyOf = doubled(this.#keyOf)
    this.#beforeOf = doubled(this.#beforeOf)
    this.#positionOf = doubled(this.#positionOf)
    this.#bytesOf = doubled(this.#bytesOf)
    this.#placeOf = doubled(this.#placeOf)
  }

  #writeEntry(at: number, { head, form }: XattrKey, value: ByteString): void {
    const { buffer, view } = this.#arena
    this.#arena.write(head, at)
    view.setUint16(at + 2, valueBytes(form, value) + (form === 'redirect' ? 1 : 0), true)
    if (form !== 'metacopy') buffer.write(value, at + head.length, 'latin1')
    else if (value.length > 0) this.#writeMetacopy(value, at + head.length)
  }

  /** struct ovl_metacopy (the kernel's fs/overlayfs): version, own length, flags, number of the algorithm, digest. */
  #writeMetacopy(digest: ByteString, at: number): void {
    const { buffer } = this.#arena
    buffer[at + 1] = METACOPY_HEADER_BYTES + digest.length / 2
    buffer[at + 3] = digest.length === 64 ? 1 : 2
    // Faster than what the runtime does with hex: digits are written as they are, and then looked at as bytes.
    this.#digits.write(digest, 'latin1')
    let found = 0
    for (let from = 0, to = at + METACOPY_HEADER_BYTES; from < digest.length; from += 2, to++) {
      const byte = (HEX[this.#digits[from]!]! << 4) | HEX[this.#digits[from + 1]!]!
      buffer[to] = byte
      found |= byte
    }
    if (found > 0xff)
      throw new BugError(`Cannot write the digest "${printable(digest)}": it is not lower-case hex`)
  }

  /** Names descending; of one name the longer value first, then values descending. */
  #compareShared(a: XattrId, b: XattrId): number {
    const keyA = this.#keyAt(a)
    const keyB = this.#keyAt(b)
    if (keyA !== keyB) return compareBytes(keyB.name, keyA.name)
    const valueA = this.#valueOf[a]!
    const valueB = this.#valueOf[b]!
    // Hex digits order as the bytes do that they stand for.
    return valueB.length - valueA.length || compareBytes(valueB, valueA)
  }
}

/** What a value takes behind the head of its entry. */
function valueBytes(form: ValueForm, value: ByteString): number {
  if (form !== 'metacopy' || value.length === 0) return value.length
  return METACOPY_HEADER_BYTES + value.length / 2
}

/** By byte; more than four bits for what is no digit. */
const HEX = Uint16Array.from({ length: 256 }, (_, byte) => {
  const digit = '0123456789abcdef'.indexOf(String.fromCharCode(byte))
  return digit === -1 ? 0x100 : digit
})
