/**
 * The entries of directories, in the blocks in which they stand in the image: as many entries as fit, each with its name; what
 * is left in the end stands behind the inode when it is short enough.
 *
 * Where inodes stand is not known while entries are collected, so these hold the numbers of inodes, in their place.
 */
import type { ByteString } from '../bytes.js'
import type { Arena } from './arena.js'
import { BLOCK_BYTES, DIRENT_BYTES } from './format.js'

/** What is left of data may stand behind an inode up to this length. */
export const MAX_TAIL_BYTES = BLOCK_BYTES / 2
const NAME_AT = 8
const TYPE_AT = 10

/** Blocks of entries, and what is left of directories: the chunks of one directory follow each other. */
export interface Dirents {
  readonly count: number
  /** Where a chunk is in the arena, its length, and how many entries it has. */
  readonly positions: readonly number[]
  readonly lengths: readonly number[]
  readonly entries: readonly number[]
}

/** An entry whose inode is told later. */
export interface PendingEntry {
  /** In the arena. */
  position: number
}

/** What the entries of a directory take, by their names in order, `.` and `..` among them. */
export function directoryBytes(names: readonly ByteString[]): number {
  let size = 0
  pack(names, (_start, end, bytes) => {
    size += end < names.length || bytes > MAX_TAIL_BYTES ? BLOCK_BYTES : bytes
  })
  return size
}

function pack(names: readonly ByteString[], take: (start: number, end: number, bytes: number) => void): void {
  let start = 0
  let bytes = 0
  for (let slot = 0; slot < names.length; slot++) {
    const length = DIRENT_BYTES + names[slot]!.length
    if (bytes + length > BLOCK_BYTES) {
      take(start, slot, bytes)
      start = slot
      bytes = 0
    }
    bytes += length
  }
  take(start, names.length, bytes)
}

/** Collects the entries of one directory after another. */
export class DirentsBuilder implements Dirents {
  readonly positions: number[] = []
  readonly lengths: number[] = []
  readonly entries: number[] = []
  readonly #arena: Arena
  /** Of the directory that is being collected. */
  readonly #names: ByteString[] = []
  readonly #inodes: number[] = []
  readonly #types: number[] = []
  readonly #pending = new Map<number, PendingEntry>()

  constructor(arena: Arena) {
    this.#arena = arena
  }

  /** How many chunks there are, which is the number of the next. */
  get count(): number {
    return this.positions.length
  }

  add(name: ByteString, inode: number, type: number): void {
    this.#names.push(name)
    this.#inodes.push(inode)
    this.#types.push(type)
  }

  addPending(name: ByteString): PendingEntry {
    const pending: PendingEntry = { position: 0 }
    this.#pending.set(this.#names.length, pending)
    this.add(name, 0, 0)
    return pending
  }

  /** Ends a directory, and gives the size that it has. */
  close(): number {
    let size = 0
    pack(this.#names, (start, end, bytes) => {
      this.#keep(start, end, bytes)
      size += end < this.#names.length || bytes > MAX_TAIL_BYTES ? BLOCK_BYTES : bytes
    })
    this.#names.length = 0
    this.#inodes.length = 0
    this.#types.length = 0
    this.#pending.clear()
    return size
  }

  /** Tells the inode of an entry of a directory that has ended. */
  settle({ position }: PendingEntry, inode: number, type: number): void {
    this.#arena.setUint32(position, inode)
    this.#arena.setUint8(position + TYPE_AT, type)
  }

  /** Records first, then their names. */
  #keep(start: number, end: number, bytes: number): void {
    const at = this.#arena.reserve(bytes)
    const { buffer, view } = this.#arena
    const position = this.#arena.positionOf(at)
    let record = at
    let name = DIRENT_BYTES * (end - start)
    for (let slot = start; slot < end; slot++) {
      view.setUint32(record, this.#inodes[slot]!, true)
      view.setUint16(record + NAME_AT, name, true)
      view.setUint8(record + TYPE_AT, this.#types[slot]!)
      name += this.#names[slot]!.length
      record += DIRENT_BYTES
    }
    buffer.write(this.#names.slice(start, end).join(''), record, 'latin1')
    for (const [slot, pending] of this.#pending) {
      if (slot >= start && slot < end) pending.position = position + DIRENT_BYTES * (slot - start)
    }
    this.positions.push(position)
    this.lengths.push(bytes)
    this.entries.push(end - start)
  }
}
