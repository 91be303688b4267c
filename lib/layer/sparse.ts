/**
 * Sparse members: files with holes, stored as their data runs only (GNU tar manual, "Storing Sparse Files").
 *
 * Four ways to write the map are read: old GNU headers of type `S`, and GNU's PAX forms 0.0, 0.1 and 1.0. A map is
 * expanded exactly or refused; the condensed form never passes for the file.
 */
import type { ByteString } from '../bytes.js'
import type { SparseRun } from './entry.js'
import { invalid, shown, TarFault } from './tar-fault.js'
import { BLOCK_BYTES, numberField } from './tar-header.js'

/** Offsets and lengths in turn, as they stand in the archive: not checked yet. */
export type FlatRuns = number[]

/** The GNU.sparse.* records of one PAX header; undefined for those that are not there. */
export interface SparseRecords {
  major: ByteString | undefined
  minor: ByteString | undefined
  /** The file's name; `path` has an invented one then. */
  name: ByteString | undefined
  size: number | undefined
  realSize: number | undefined
  numBlocks: number | undefined
  map: ByteString | undefined
  /** GNU.sparse.offset and GNU.sparse.numbytes in turn. */
  pairs: FlatRuns | undefined
}

export interface SparsePlan {
  readonly name: ByteString | undefined
  /** Bytes of the expanded file. */
  readonly size: number
  /** The map, or null when it stands in front of the data (form 1.0). */
  readonly runs: FlatRuns | null
}

/**
 * Works out which form a PAX header uses.
 *
 * @throws {TarFault} for forms that nobody has defined and for records that do not go together
 */
export function planPaxSparse(records: SparseRecords): SparsePlan {
  const { major, minor, name } = records
  const size = records.size ?? records.realSize
  if (size === undefined) throw invalid('it is sparse and does not say how long the file is')
  if (records.realSize !== undefined && records.realSize !== size) {
    throw invalid(`it is sparse and says two lengths, ${size} and ${records.realSize}`)
  }
  const stated = major !== undefined || minor !== undefined
  const isOne = major === '1' && minor === '0'
  const isZero = !stated || (major === '0' && (minor === '0' || minor === '1'))
  if (!isOne && !isZero) {
    throw new TarFault(
      'entry-refused',
      `it is sparse in the form ${shown(major ?? ('' as ByteString))}.${shown(minor ?? ('' as ByteString))}, and 0.0, 0.1 and 1.0 are known`,
    )
  }
  if (isOne) {
    if (records.map !== undefined || records.pairs !== undefined || records.numBlocks !== undefined) {
      throw invalid('it is sparse in the form 1.0 and has a map of an older form')
    }
    return { name, size, runs: null }
  }
  if (records.map !== undefined && records.pairs !== undefined) throw invalid('it has two sparse maps')
  const runs = records.map !== undefined ? parseMap(records.map) : (records.pairs ?? [])
  if (runs.length % 2 !== 0) throw invalid('its sparse map ends with an offset without a length')
  if (records.numBlocks !== runs.length / 2) {
    throw invalid(`its sparse map has ${runs.length / 2} runs and announces ${records.numBlocks ?? 'none'}`)
  }
  return { name, size, runs }
}

/** `offset,length,offset,length…` of form 0.1. */
function parseMap(map: ByteString): FlatRuns {
  if (map === '') return []
  return map.split(',').map((digits) => parseDecimal(digits as ByteString, 'a number of its sparse map'))
}

/**
 * Decimal digits and nothing else.
 *
 * @param what its name, for messages
 * @throws {TarFault} for anything else and beyond 2^53 - 1
 */
export function parseDecimal(digits: ByteString, what: string): number {
  if (!/^[0-9]+$/.test(digits)) throw invalid(`${what} "${shown(digits)}" is not a decimal number`)
  const value = Number(digits)
  if (value > Number.MAX_SAFE_INTEGER) throw invalid(`${what} "${shown(digits)}" is beyond 2^53 - 1`)
  return value
}

/**
 * Checks a map against the file's length and the bytes that are stored, and gives it in its final form.
 *
 * Runs may touch each other. Runs of no length are dropped: writers end a map with one to mark the file's end.
 *
 * @param stored bytes of data in the archive, the map itself not counted
 * @throws {TarFault} unless runs ascend inside the file and have just the stored bytes
 */
export function checkRuns(flat: FlatRuns, size: number, stored: number): SparseRun[] {
  const runs: SparseRun[] = []
  let end = 0
  let sum = 0
  for (let i = 0; i < flat.length; i += 2) {
    const offset = flat[i]!
    const length = flat[i + 1]!
    if (offset < end) throw invalid(`its sparse map goes back from ${end} to ${offset}`)
    // Compared by difference: the sum of both may be beyond what a number holds exactly.
    if (offset > size || length > size - offset) {
      throw invalid(`its sparse map has a run of ${length} bytes at ${offset}, and the file ends at ${size}`)
    }
    end = offset + length
    sum += length
    if (length > 0) runs.push({ offset, length })
  }
  if (sum !== stored) {
    throw invalid(`its sparse map names ${sum} bytes of data and the archive has ${stored}`)
  }
  return runs
}

const OLD_HEADER = { slots: 4, at: 386, extended: 482, realSize: { at: 483, length: 12 } } as const
const OLD_EXTENSION = { slots: 21, at: 0, extended: 504 } as const
const SLOT_BYTES = 24

/** The length of the expanded file in an old GNU header of type `S`. */
export function oldSparseSize(block: Uint8Array, at: number): number {
  return numberField(block, at, OLD_HEADER.realSize, 'real size')
}

/**
 * Adds the runs of an old GNU header or of one of its extension blocks.
 *
 * @returns whether an extension block follows
 * @throws {TarFault} also when used slots or an extension follow an unused slot, where readers disagree
 */
export function readOldSparse(
  block: Uint8Array,
  at: number,
  kind: 'header' | 'extension',
  into: FlatRuns,
): boolean {
  const layout = kind === 'header' ? OLD_HEADER : OLD_EXTENSION
  const extended = block[at + layout.extended] !== 0
  let ended = false
  for (let slot = 0; slot < layout.slots; slot++) {
    const offset = { at: layout.at + slot * SLOT_BYTES, length: 12 }
    const length = { at: offset.at + 12, length: 12 }
    const hasOffset = block[at + offset.at] !== 0
    const hasLength = block[at + length.at] !== 0
    if (hasOffset !== hasLength) throw invalid('its sparse map has half a run')
    if (!hasOffset) {
      ended = true
      continue
    }
    if (ended) throw invalid('its sparse map has a gap')
    into.push(
      numberField(block, at, offset, 'sparse offset'),
      numberField(block, at, length, 'sparse length'),
    )
  }
  if (ended && extended) throw invalid('its sparse map goes on after its end')
  return extended
}

const NEWLINE = 0x0a
const MAX_DIGITS = 16 // of 2^53 - 1

/** Reads the map of form 1.0 from the blocks in front of the data: a count, then that many pairs, a line for each number. */
export class SparseMapReader {
  readonly runs: FlatRuns = []
  #count = -1
  #value = 0
  #digits = 0

  /**
   * @returns whether this was the map's last block; what follows the map in it has no meaning
   * @throws {TarFault}
   */
  push(block: Uint8Array, at: number): boolean {
    for (let i = at; i < at + BLOCK_BYTES; i++) {
      const byte = block[i]!
      if (byte !== NEWLINE) {
        this.#addDigit(byte)
      } else {
        this.#endNumber()
        if (this.runs.length === this.#count * 2) return true
      }
    }
    return false
  }

  #addDigit(byte: number): void {
    if (byte < 0x30 || byte > 0x39) throw invalid('its sparse map has something else than decimal numbers')
    if (++this.#digits > MAX_DIGITS) throw invalid('its sparse map has a number beyond 2^53 - 1')
    this.#value = this.#value * 10 + (byte - 0x30)
  }

  #endNumber(): void {
    if (this.#digits === 0) throw invalid('its sparse map has an empty line')
    if (this.#value > Number.MAX_SAFE_INTEGER) throw invalid('its sparse map has a number beyond 2^53 - 1')
    if (this.#count < 0) this.#count = this.#value
    else this.runs.push(this.#value)
    this.#value = 0
    this.#digits = 0
  }
}
