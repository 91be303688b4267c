/**
 * Numbers for strings, a new one for each that was not there before: a map for many strings of which few come again.
 */
import type { ByteString } from '../bytes.js'

const HASHED_CHARS = 12 // the first ones: of digests they are plenty, and of paths of objects
const BUCKET = 4
const GROWTH = 4

/**
 * A string has a bucket that follows from its first chars, and the first few that come to a bucket are found there. The others
 * are in a Map: few, unless somebody has made them so, and then this is as slow as a Map and no slower.
 */
export class ValueIds {
  readonly #values: readonly ByteString[]
  /** For each place in a bucket the hash of its string, and its id + 1, or 0 from where it is empty. */
  #places = new Int32Array(2 * BUCKET)
  #count = 0
  #others: Map<ByteString, number> | null = null

  /** @param values by id; the owner puts new ones there */
  constructor(values: readonly ByteString[]) {
    this.#values = values
  }

  /** The id of a string; `next` becomes that of a new one. */
  idOf(value: ByteString, next: number): number {
    const hash = hashOf(value)
    const places = this.#places
    const start = this.#bucketOf(hash)
    for (let at = start; at < start + 2 * BUCKET; at += 2) {
      const id = places[at + 1]! - 1
      if (id < 0) {
        places[at] = hash
        places[at + 1] = next + 1
        this.#countOne()
        return next
      }
      if (places[at] === hash && this.#values[id] === value) return id
    }
    this.#others ??= new Map()
    const known = this.#others.get(value)
    if (known !== undefined) return known
    this.#others.set(value, next)
    this.#countOne()
    return next
  }

  /** Frees the memory; ids cannot be asked for any more. */
  close(): void {
    this.#places = new Int32Array(0)
    this.#others = null
  }

  #bucketOf(hash: number): number {
    return 2 * (hash & (this.#places.length / 2 - BUCKET))
  }

  #countOne(): void {
    if (4 * ++this.#count > this.#places.length) this.#grow()
  }

  /** What is in one bucket has room in it, or comes to several. */
  #grow(): void {
    const before = this.#places
    this.#places = new Int32Array(GROWTH * before.length)
    for (let from = 0; from < before.length; from += 2) {
      if (before[from + 1] !== 0) this.#move(before[from]!, before[from + 1]!)
    }
    if (this.#others === null) return
    for (const [value, id] of this.#others) if (this.#move(hashOf(value), id + 1)) this.#others.delete(value)
  }

  #move(hash: number, idPlusOne: number): boolean {
    const start = this.#bucketOf(hash)
    for (let at = start; at < start + 2 * BUCKET; at += 2) {
      if (this.#places[at + 1] !== 0) continue
      this.#places[at] = hash
      this.#places[at + 1] = idPlusOne
      return true
    }
    return false
  }
}

function hashOf(value: ByteString): number {
  const length = Math.min(value.length, HASHED_CHARS)
  let hash = value.length
  for (let i = 0; i < length; i++) hash = (Math.imul(hash, 31) + value.charCodeAt(i)) | 0
  hash = Math.imul(hash, 0x9e3779b1)
  return hash ^ (hash >>> 15)
}
