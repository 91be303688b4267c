/**
 * The bytes of single inodes and of their data blocks, from a layout that says where everything stands.
 */
import {
  BLOCK_BYTES,
  COMPACT_INODE_BYTES,
  DIRENT_BYTES,
  EXTENDED_INODE_BYTES,
  FILE_TYPES,
  LAYOUT_CHUNKS,
  LAYOUT_INLINE,
  LAYOUT_PLAIN,
  SLOT_BYTES,
  XATTR_HEADER_BYTES,
} from './format.js'
import { type InodeColumns, IS_BACKED, IS_EXTENDED, TYPE_BITS } from './inode-columns.js'
import { chunkBits, type ImageLayout, MAX_SHARED_XATTRS, MIN_CHUNK_BITS } from './layout.js'
import type { Sink } from './sink.js'

const NO_CHUNK = 0xffff_ffff // the address of a chunk that is not in the image

/** Writes into buffers of zeros. Inodes must be asked for in order, once each; their blocks at any time. */
export class InodeWriter {
  readonly #layout: ImageLayout
  readonly #columns: InodeColumns
  /** Where the next inode that has data blocks gets them. */
  #nextBlock: number

  constructor(layout: ImageLayout) {
    this.#layout = layout
    this.#columns = layout.table.columns
    this.#nextBlock = layout.dataStart / BLOCK_BYTES
  }

  /** Writes an inode, its xattrs and its tail, and gives the end. */
  inode(i: number, into: Sink, at: number): number {
    const { xattrBytes, tails } = this.#layout
    const { forms, modes } = this.#columns
    const isExtended = (forms[i]! & IS_EXTENDED) !== 0
    const { view } = into
    view.setUint16(at, (this.#dataLayout(i) << 1) | (isExtended ? 1 : 0), true)
    view.setUint16(at + 2, this.#xattrCount(i), true)
    view.setUint16(at + 4, modes[i]!, true)
    view.setUint32(at + 16, this.#union(i), true)
    view.setUint32(at + 20, i, true)
    if (isExtended) this.#extended(i, into, at)
    else this.#compact(i, into, at)
    let end = at + (isExtended ? EXTENDED_INODE_BYTES : COMPACT_INODE_BYTES)
    if (xattrBytes[i]! > 0) this.#xattrs(i, into, end)
    end += xattrBytes[i]!
    if (tails[i]! > 0) this.#tail(i, into, end)
    return end + tails[i]!
  }

  /** Writes one of the data blocks of an inode. */
  block(i: number, block: number, into: Sink, at: number): void {
    const { arena } = this.#layout.table
    const { forms, sizes, extras } = this.#columns
    if ((forms[i]! & TYPE_BITS) === FILE_TYPES.directory) this.#dirents(extras[i]! + block, into, at)
    else if ((forms[i]! & IS_BACKED) !== 0) noChunks(into, at, BLOCK_BYTES)
    // Targets have one block, and of contents of up to 5000 bytes no more than one is not in the tail.
    else arena.copy(extras[i]!, Math.min(sizes[i]!, BLOCK_BYTES), into, at)
  }

  #compact(i: number, { view }: Sink, at: number): void {
    const { nlinks, uids, gids } = this.#columns
    view.setUint16(at + 6, nlinks[i]!, true)
    view.setUint32(at + 8, this.#size(i), true)
    view.setUint16(at + 24, uids[i]!, true)
    view.setUint16(at + 26, gids[i]!, true)
  }

  #extended(i: number, into: Sink, at: number): void {
    const { nlinks, uids, gids, timesLow, timesHigh, nanoseconds } = this.#columns
    const { view } = into
    into.writeUint64(this.#size(i), at + 8)
    view.setUint32(at + 24, uids[i]!, true)
    view.setUint32(at + 28, gids[i]!, true)
    view.setUint32(at + 32, timesLow[i]!, true)
    view.setInt32(at + 36, timesHigh[i]!, true)
    view.setUint32(at + 40, nanoseconds[i]!, true)
    view.setUint32(at + 44, nlinks[i]!, true)
  }

  #dataLayout(i: number): number {
    if ((this.#columns.forms[i]! & IS_BACKED) !== 0) return LAYOUT_CHUNKS
    return this.#layout.tails[i]! > 0 ? LAYOUT_INLINE : LAYOUT_PLAIN
  }

  #xattrCount(i: number): number {
    const bytes = this.#layout.xattrBytes[i]!
    return bytes === 0 ? 0 : (bytes - XATTR_HEADER_BYTES) / 4 + 1
  }

  /** That of a directory has grown where its tail has become a block. */
  #size(i: number): number {
    const { forms, sizes } = this.#columns
    if ((forms[i]! & TYPE_BITS) !== FILE_TYPES.directory) return sizes[i]!
    const { blocks, tails } = this.#layout
    return blocks[i]! * BLOCK_BYTES + tails[i]!
  }

  /** The field that holds a block address, a device number or the form of a chunk table. */
  #union(i: number): number {
    const { forms, sizes, extras } = this.#columns
    const type = forms[i]! & TYPE_BITS
    if (type === FILE_TYPES.char || type === FILE_TYPES.block) return extras[i]!
    let address = 0
    if (this.#layout.blocks[i]! > 0) {
      address = this.#nextBlock
      this.#nextBlock += this.#layout.blocks[i]!
    }
    if ((forms[i]! & IS_BACKED) === 0) return address
    // The form stands over the low half of an address, if there is one.
    return ((address & 0xffff_0000) | (chunkBits(sizes[i]!) - MIN_CHUNK_BITS)) >>> 0
  }

  #xattrs(i: number, into: Sink, at: number): void {
    const { table, inodesEnd } = this.#layout
    const { pool, xattrIds } = table
    const start = this.#columns.xattrStarts[i]!
    const end = this.#columns.xattrEnds[i]!
    let filter = 0xffff_ffff
    let shared = 0
    let to = at + XATTR_HEADER_BYTES
    for (let x = start; x < end; x++) {
      const id = xattrIds[x]!
      filter &= ~(1 << pool.filterBit(id))
      if (pool.place(id) < 0 || shared === MAX_SHARED_XATTRS) continue
      shared++
      into.view.setUint32(to, ((inodesEnd % BLOCK_BYTES) + pool.place(id)) / 4, true)
      to += 4
    }
    into.view.setUint32(at, filter >>> 0, true)
    into.view.setUint8(at + 4, shared)
    for (let x = start; x < end; x++) {
      const id = xattrIds[x]!
      if (pool.place(id) >= 0 && shared > 0) shared--
      else to = pool.copyEntry(id, into, to)
    }
  }

  #tail(i: number, into: Sink, at: number): void {
    const { table, tails, blocks } = this.#layout
    const { forms, extras } = this.#columns
    if ((forms[i]! & TYPE_BITS) === FILE_TYPES.directory) this.#dirents(extras[i]! + blocks[i]!, into, at)
    else if ((forms[i]! & IS_BACKED) !== 0) noChunks(into, at, tails[i]!)
    else table.arena.copy(extras[i]! + blocks[i]! * BLOCK_BYTES, tails[i]!, into, at)
  }

  /** A block or tail of entries: now it is known where their inodes stand. */
  #dirents(chunk: number, into: Sink, at: number): void {
    const { table, positions } = this.#layout
    const { dirents, arena } = table
    arena.copy(dirents.positions[chunk]!, dirents.lengths[chunk]!, into, at)
    const end = at + DIRENT_BYTES * dirents.entries[chunk]!
    for (let record = at; record < end; record += DIRENT_BYTES) {
      const inode = into.view.getUint32(record, true)
      into.writeUint64(positions[inode]! / SLOT_BYTES, record)
    }
  }
}

function noChunks({ view }: Sink, at: number, length: number): void {
  for (let to = at; to < at + length; to += 4) view.setUint32(to, NO_CHUNK, true)
}
