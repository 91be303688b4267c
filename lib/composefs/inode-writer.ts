/**
 * The bytes of single inodes and of their data blocks, from a layout that says where everything stands.
 */
import type { ByteString } from '../bytes.js'
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
import type { DirectoryEntries } from './inode-table.js'
import { chunkBits, type ImageLayout, MAX_SHARED_XATTRS, MIN_CHUNK_BITS, sizeInImage } from './layout.js'
import { type ComposefsNode, isBacked, stModeOf } from './node.js'
import type { Sink } from './sink.js'

const NO_CHUNK = 0xff // four of them are the address of a chunk that is not in the image

/** Writes into buffers of zeros. Inodes must be asked for in order, once each; then their blocks. */
export class InodeWriter {
  readonly #layout: ImageLayout
  /** Where the next inode that has data blocks gets them. */
  #nextBlock: number
  #splitOf = -1
  #split: readonly number[] = []

  constructor(layout: ImageLayout) {
    this.#layout = layout
    this.#nextBlock = layout.dataStart / BLOCK_BYTES
  }

  /** Writes an inode, its xattrs and its tail, and gives the end. */
  inode(i: number, into: Sink, at: number): number {
    const { table, extended, xattrBytes, tails } = this.#layout
    const node = table.nodes[i]!
    if (extended[i] === 1) this.#extended(i, node, into, at)
    else this.#compact(i, node, into, at)
    let end = at + (extended[i] === 1 ? EXTENDED_INODE_BYTES : COMPACT_INODE_BYTES)
    if (xattrBytes[i]! > 0) this.#xattrs(i, into, end)
    end += xattrBytes[i]!
    if (tails[i]! > 0) this.#tail(i, node, into, end)
    return end + tails[i]!
  }

  /** Writes one of the data blocks of an inode. */
  block(i: number, block: number, into: Sink, at: number): void {
    const { table } = this.#layout
    const node = table.nodes[i]!
    const entries = table.entries[i]!
    if (entries !== null) {
      const ends = this.#splitEntries(i, entries)
      this.#dirents(entries, block === 0 ? 0 : ends[block - 1]!, ends[block]!, into, at)
    } else if (node.kind === 'symlink') {
      into.write(node.payload!, at)
    } else if (isBacked(node)) {
      into.buffer.fill(NO_CHUNK, at, at + BLOCK_BYTES)
    } else {
      // Of contents of up to 5000 bytes no more than one block is not in the tail.
      into.buffer.set(node.content!.subarray(0, BLOCK_BYTES), at)
    }
  }

  #compact(i: number, node: ComposefsNode, into: Sink, at: number): void {
    const { entries } = this.#layout.table
    into.view.setUint16(at, this.#format(i, node), true)
    into.view.setUint16(at + 2, this.#xattrCount(i), true)
    into.view.setUint16(at + 4, stModeOf(node.kind, node.mode), true)
    into.view.setUint16(at + 6, entries[i]?.nlink ?? node.nlink, true)
    into.view.setUint32(at + 8, this.#size(i, node), true)
    into.view.setUint32(at + 16, this.#union(i, node), true)
    into.view.setUint32(at + 20, i, true)
    into.view.setUint16(at + 24, node.uid, true)
    into.view.setUint16(at + 26, node.gid, true)
  }

  #extended(i: number, node: ComposefsNode, into: Sink, at: number): void {
    const { entries } = this.#layout.table
    into.view.setUint16(at, this.#format(i, node) | 1, true)
    into.view.setUint16(at + 2, this.#xattrCount(i), true)
    into.view.setUint16(at + 4, stModeOf(node.kind, node.mode), true)
    into.writeUint64(this.#size(i, node), at + 8)
    into.view.setUint32(at + 16, this.#union(i, node), true)
    into.view.setUint32(at + 20, i, true)
    into.view.setUint32(at + 24, node.uid, true)
    into.view.setUint32(at + 28, node.gid, true)
    into.view.setBigInt64(at + 32, node.mtimeSeconds, true)
    into.view.setUint32(at + 40, node.mtimeNanoseconds, true)
    into.view.setUint32(at + 44, entries[i]?.nlink ?? node.nlink, true)
  }

  #format(i: number, node: ComposefsNode): number {
    if (isBacked(node)) return LAYOUT_CHUNKS << 1
    return (this.#layout.tails[i]! > 0 ? LAYOUT_INLINE : LAYOUT_PLAIN) << 1
  }

  #xattrCount(i: number): number {
    const bytes = this.#layout.xattrBytes[i]!
    return bytes === 0 ? 0 : (bytes - XATTR_HEADER_BYTES) / 4 + 1
  }

  #size(i: number, node: ComposefsNode): number {
    const { blocks, tails } = this.#layout
    return node.kind === 'directory' ? blocks[i]! * BLOCK_BYTES + tails[i]! : sizeInImage(node)
  }

  /** The field that holds a block address, a device number or the form of a chunk table. */
  #union(i: number, node: ComposefsNode): number {
    if (node.kind === 'char' || node.kind === 'block') return node.rdev
    let address = 0
    if (this.#layout.blocks[i]! > 0) {
      address = this.#nextBlock
      this.#nextBlock += this.#layout.blocks[i]!
    }
    if (!isBacked(node)) return address
    // The form stands over the low half of an address, if there is one.
    return ((address & 0xffff_0000) | (chunkBits(Number(node.size)) - MIN_CHUNK_BITS)) >>> 0
  }

  #xattrs(i: number, into: Sink, at: number): void {
    const { table, inodesEnd } = this.#layout
    const { pool, xattrIds, xattrStarts } = table
    const end = xattrStarts[i + 1]!
    let filter = 0xffff_ffff
    let shared = 0
    let to = at + XATTR_HEADER_BYTES
    for (let x = xattrStarts[i]!; x < end; x++) {
      const id = xattrIds[x]!
      filter &= ~(1 << pool.filterBit(id))
      if (pool.offset(id) < 0 || shared === MAX_SHARED_XATTRS) continue
      shared++
      into.view.setUint32(to, ((inodesEnd % BLOCK_BYTES) + pool.offset(id)) / 4, true)
      to += 4
    }
    into.view.setUint32(at, filter >>> 0, true)
    into.buffer[at + 4] = shared
    for (let x = xattrStarts[i]!; x < end; x++) {
      const id = xattrIds[x]!
      if (pool.offset(id) >= 0 && shared > 0) shared--
      else to = pool.writeEntry(id, into, to)
    }
  }

  #tail(i: number, node: ComposefsNode, into: Sink, at: number): void {
    const { table, tails, blocks } = this.#layout
    const entries = table.entries[i]!
    if (entries !== null) {
      const from = blocks[i] === 0 ? 0 : this.#splitEntries(i, entries)[blocks[i]! - 1]!
      this.#dirents(entries, from, entries.names.length, into, at)
    } else if (node.kind === 'symlink') {
      into.write(node.payload!, at)
    } else if (isBacked(node)) {
      into.buffer.fill(NO_CHUNK, at, at + tails[i]!)
    } else {
      into.buffer.set(node.content!.subarray(node.content!.length - tails[i]!), at)
    }
  }

  /** For each block of a directory, and for what is left, the number of the entry at which it ends. */
  #splitEntries(i: number, { names }: DirectoryEntries): readonly number[] {
    if (this.#splitOf === i) return this.#split
    const ends: number[] = []
    let filled = 0
    for (let slot = 0; slot < names.length; slot++) {
      const length = DIRENT_BYTES + names[slot]!.length
      if (filled + length > BLOCK_BYTES) {
        ends.push(slot)
        filled = 0
      }
      filled += length
    }
    ends.push(names.length)
    this.#splitOf = i
    this.#split = ends
    return ends
  }

  /** Records first, then their names. */
  #dirents({ names, inodes }: DirectoryEntries, from: number, to: number, into: Sink, at: number): void {
    const { table, positions } = this.#layout
    let record = at
    let nameAt = at + DIRENT_BYTES * (to - from)
    for (let slot = from; slot < to; slot++) {
      const name: ByteString = names[slot]!
      const inode = inodes[slot]!
      into.writeUint64(positions[inode]! / SLOT_BYTES, record)
      into.view.setUint16(record + 8, nameAt - at, true)
      into.buffer[record + 10] = FILE_TYPES[table.nodes[inode]!.kind]
      nameAt = into.write(name, nameAt)
      record += DIRENT_BYTES
    }
  }
}
