/**
 * Directories of records that are looked at again and again, as under the gc lock: only what may have changed is read.
 *
 * A directory's time tells that names came or went, a file's times and number that it is another one. Times are coarse, so
 * what changed a moment before it was looked at counts as changed the next time too.
 */

import { type BigIntStats, lstatSync } from 'node:fs'
import { namesIn } from '../linux/names.js'
import type { Work } from '../linux/slices.js'

const SETTLED_NS = 3_000_000_000n // the coarsest times of filesystems with flock are whole seconds

/** Tells whether names in a directory may have changed since it was asked before. */
export class DirectoryWatch {
  readonly #directory: string
  #settledAt: bigint | null = null

  constructor(directory: string) {
    this.#directory = directory
  }

  /** Ask before listing, not after. */
  mayHaveChanged(): boolean {
    const stat = statOf(this.#directory)
    const time = stat === null ? -1n : stat.mtimeNs
    const isSame = this.#settledAt === time
    this.#settledAt = stat === null || isSettled(time) ? time : null
    return !isSame
  }
}

/** What a record said, or why it says nothing. */
export type Seen<T> =
  | { readonly kind: 'read'; readonly value: T }
  | { readonly kind: 'damaged'; readonly error: unknown }

interface Entry<T> {
  readonly seen: Seen<T>
  readonly identity: string
  readonly settled: boolean
}

/** The records of a directory, each read once. */
export class RecordWatch<T> {
  readonly #directory: string
  readonly #isRecord: (name: string) => boolean
  readonly #read: (name: string) => T | null
  readonly #watch: DirectoryWatch
  readonly #entries = new Map<string, Entry<T>>()

  /**
   * @param isRecord by the name of the file
   * @param read gives the value of a file; null when it is gone. What it throws makes the record a damaged one
   */
  constructor(directory: string, isRecord: (name: string) => boolean, read: (name: string) => T | null) {
    this.#directory = directory
    this.#isRecord = isRecord
    this.#read = read
    this.#watch = new DirectoryWatch(directory)
  }

  /** All records as they are now, by file name. */
  refresh(): ReadonlyMap<string, { readonly seen: Seen<T> }> {
    if (!this.#watch.mayHaveChanged()) return this.#entries
    const names = new Set(namesIn(this.#directory).filter(this.#isRecord))
    for (const name of this.#entries.keys()) if (!names.has(name)) this.#entries.delete(name)
    for (const name of names) this.#look(name)
    return this.#entries
  }

  /** Reads all records for the first time, as work that may be interrupted: after it refresh has little to do. */
  *prime(): Work<void> {
    this.#watch.mayHaveChanged()
    for (const name of namesIn(this.#directory).filter(this.#isRecord)) {
      this.#look(name)
      yield
    }
  }

  #look(name: string): void {
    const stat = statOf(`${this.#directory}/${name}`)
    const known = this.#entries.get(name)
    if (stat !== null && known?.settled && known.identity === identityOf(stat)) return
    this.#entries.delete(name)
    if (stat === null) return
    const seen = this.#readOne(name)
    if (seen === null) return
    this.#entries.set(name, { seen, identity: identityOf(stat), settled: isSettled(stat.ctimeNs) })
  }

  #readOne(name: string): Seen<T> | null {
    try {
      const value = this.#read(name)
      return value === null ? null : { kind: 'read', value }
    } catch (error) {
      return { kind: 'damaged', error }
    }
  }
}

/** Another content has another one. */
export function identityOf(stat: BigIntStats): string {
  return `${stat.ino}:${stat.size}:${stat.mtimeNs}`
}

/** Null when nothing is there. Symlinks are not followed. */
export function statOf(path: string): BigIntStats | null {
  return lstatSync(path, { bigint: true, throwIfNoEntry: false }) ?? null
}

/** Of a time to come it cannot be told. */
function isSettled(timeNs: bigint): boolean {
  return BigInt(Date.now()) * 1_000_000n - timeNs > SETTLED_NS
}
