/**
 * A table of objects: for each digest how many records name it, what it takes on disk, and whether it is marked.
 *
 * Flat arrays and open addressing: an object takes some 90 bytes at most, where a Map from text would take three times as
 * much, and a store may have millions. The hash has a secret of its own, because whoever makes images chooses digests.
 */
import { randomInt } from 'node:crypto'
import type { VerityDigest } from '../digest.js'

const WORDS = 8 // of 32 bits, in a SHA-256 digest
const FIRST_CAPACITY = 1024
const MAX_LOAD = 0.6
const FLAG = { used: 1, onDisk: 2, marked: 4 } as const

export class ObjectTable {
  readonly #secret = randomInt(2 ** 32)
  readonly #words = new Uint32Array(WORDS)
  #capacity = FIRST_CAPACITY
  #keys = new Uint32Array(FIRST_CAPACITY * WORDS)
  #flags = new Uint8Array(FIRST_CAPACITY)
  #references = new Uint32Array(FIRST_CAPACITY)
  #bytes = new Float64Array(FIRST_CAPACITY)
  /** Made when it is asked for: clean has no need of numbers. */
  #numbers: Uint32Array | null = null
  #count = 0
  #lastNumber = 0

  /** Notes that an object is on disk, and what it takes there. */
  addObject(digest: VerityDigest, bytes: number): void {
    const slot = this.#slotOf(digest)
    this.#flags[slot]! |= FLAG.onDisk
    this.#bytes[slot] = bytes
  }

  /** Notes that a record names an object; as often as it does. */
  addReference(digest: VerityDigest): void {
    const slot = this.#slotOf(digest)
    this.#references[slot]!++
  }

  /** Takes a reference back. @returns bytes on disk that nobody needs any more */
  removeReference(digest: VerityDigest): number {
    const slot = this.#slotOf(digest)
    const left = this.#references[slot]!
    // More than were given: of a record that changed between two readings. What comes out is an estimate only.
    if (left === 0) return 0
    this.#references[slot] = left - 1
    return left === 1 && (this.#flags[slot]! & FLAG.onDisk) !== 0 ? this.#bytes[slot]! : 0
  }

  /** A number of the object's own, from 0 in the order in which they are asked for. */
  numberOf(digest: VerityDigest): number {
    const slot = this.#slotOf(digest)
    this.#numbers ??= new Uint32Array(this.#capacity)
    this.#numbers[slot] ||= ++this.#lastNumber
    return this.#numbers[slot]! - 1
  }

  mark(digest: VerityDigest): void {
    const slot = this.#slotOf(digest)
    this.#flags[slot]! |= FLAG.marked
  }

  isMarked(digest: VerityDigest): boolean {
    const slot = this.#slotOf(digest)
    return (this.#flags[slot]! & FLAG.marked) !== 0
  }

  /** Objects on disk that no record names, and their bytes. */
  unreferenced(): { readonly count: number; readonly bytes: number } {
    let count = 0
    let bytes = 0
    for (let slot = 0; slot < this.#capacity; slot++) {
      if ((this.#flags[slot]! & FLAG.onDisk) === 0 || this.#references[slot]! > 0) continue
      count++
      bytes += this.#bytes[slot]!
    }
    return { count, bytes }
  }

  /** How many objects on disk are not marked. */
  unmarkedCount(): number {
    let count = 0
    for (let slot = 0; slot < this.#capacity; slot++) {
      if ((this.#flags[slot]! & (FLAG.onDisk | FLAG.marked)) === FLAG.onDisk) count++
    }
    return count
  }

  /**
   * Objects on disk that are not marked, by the first byte of their digest, so that those of one directory come together.
   *
   * What is marked while this runs may still come: ask isMarked. Nothing may be added meanwhile but marks and references.
   */
  *unmarked(): Generator<{ readonly digest: VerityDigest; readonly bytes: number }> {
    for (const digest of this.#unmarkedDigests()) {
      const slot = this.#slotOf(digest)
      yield { digest, bytes: this.#bytes[slot]! }
    }
  }

  *#unmarkedDigests(): Generator<VerityDigest> {
    const found = this.#unmarkedKeys()
    for (let at = 0; at < found.length; at += WORDS) yield textOf(found, at)
  }

  /** Copies, as adding references may move everything. */
  #unmarkedKeys(): Uint32Array {
    const isWanted = (slot: number): boolean =>
      (this.#flags[slot]! & (FLAG.onDisk | FLAG.marked)) === FLAG.onDisk
    const starts = new Uint32Array(257)
    for (let slot = 0; slot < this.#capacity; slot++) {
      if (isWanted(slot)) starts[firstByte(this.#keys[slot * WORDS]!) + 1]!++
    }
    for (let byte = 0; byte < 256; byte++) starts[byte + 1]! += starts[byte]!
    const keys = new Uint32Array(starts[256]! * WORDS)
    for (let slot = 0; slot < this.#capacity; slot++) {
      if (!isWanted(slot)) continue
      const at = starts[firstByte(this.#keys[slot * WORDS]!)]!++
      for (let word = 0; word < WORDS; word++) keys[at * WORDS + word] = this.#keys[slot * WORDS + word]!
    }
    return keys
  }

  /**
   * The slot of a digest; it is added where it is missing. That may put new arrays in place of the old ones, so get the
   * slot first, and the array after.
   */
  #slotOf(digest: VerityDigest): number {
    parse(digest, this.#words)
    const slot = this.#find(this.#words, 0)
    if ((this.#flags[slot]! & FLAG.used) !== 0) return slot
    if (this.#count + 1 > this.#capacity * MAX_LOAD) {
      this.#grow()
      return this.#slotOf(digest)
    }
    this.#count++
    this.#flags[slot] = FLAG.used
    this.#keys.set(this.#words, slot * WORDS)
    return slot
  }

  #find(words: Uint32Array, at: number): number {
    let hash = this.#secret
    for (let word = 0; word < WORDS; word++) {
      hash = Math.imul(hash ^ words[at + word]!, 0x9e3779b1)
      hash ^= hash >>> 15
    }
    const mask = this.#capacity - 1
    for (let slot = hash & mask; ; slot = (slot + 1) & mask) {
      if ((this.#flags[slot]! & FLAG.used) === 0 || this.#isAt(slot, words, at)) return slot
    }
  }

  #isAt(slot: number, words: Uint32Array, at: number): boolean {
    for (let word = 0; word < WORDS; word++) {
      if (this.#keys[slot * WORDS + word] !== words[at + word]) return false
    }
    return true
  }

  #grow(): void {
    const [keys, flags, references, bytes] = [this.#keys, this.#flags, this.#references, this.#bytes]
    const before = this.#capacity
    this.#capacity = before * 2
    this.#keys = new Uint32Array(this.#capacity * WORDS)
    this.#flags = new Uint8Array(this.#capacity)
    this.#references = new Uint32Array(this.#capacity)
    this.#bytes = new Float64Array(this.#capacity)
    const numbers = this.#numbers
    if (numbers !== null) this.#numbers = new Uint32Array(this.#capacity)
    for (let from = 0; from < before; from++) {
      if ((flags[from]! & FLAG.used) === 0) continue
      const slot = this.#find(keys, from * WORDS)
      this.#keys.set(keys.subarray(from * WORDS, (from + 1) * WORDS), slot * WORDS)
      this.#flags[slot] = flags[from]!
      this.#references[slot] = references[from]!
      this.#bytes[slot] = bytes[from]!
      if (numbers !== null) this.#numbers![slot] = numbers[from]!
    }
  }
}

/** Eight hex digits a word, the first digit highest. */
function parse(digest: VerityDigest, words: Uint32Array): void {
  for (let word = 0; word < WORDS; word++) {
    let value = 0
    for (let at = word * 8; at < word * 8 + 8; at++) value = (value << 4) | digitOf(digest.charCodeAt(at))
    words[word] = value
  }
}

/** Of `0-9` and `a-f`, the only ones in a digest. */
function digitOf(code: number): number {
  return code < 0x60 ? code - 0x30 : code - 0x57
}

function textOf(words: Uint32Array, at: number): VerityDigest {
  let text = ''
  for (let word = 0; word < WORDS; word++) text += words[at + word]!.toString(16).padStart(8, '0')
  return text as VerityDigest
}

function firstByte(word: number): number {
  return word >>> 24
}
