/**
 * Inodes of an image that is read, one after another: their fixed parts, and where the rest of each stands.
 *
 * An inode must stand where the writer puts it behind the one before, and data blocks are given out in order. So no image makes
 * its reader work more than its length, there are no circles, and no two directories share their entries.
 */
import { MAX_BACKED_BYTES, MAX_CONTENT_BYTES, MAX_PAYLOAD_BYTES } from './check-node.js'
import { ImageFault } from './faults.js'
import {
  BLOCK_BYTES,
  COMPACT_INODE_BYTES,
  EXTENDED_INODE_BYTES,
  FILE_TYPES,
  INODES_START,
  LAYOUT_CHUNKS,
  LAYOUT_INLINE,
  LAYOUT_PLAIN,
  uint64,
  XATTR_HEADER_BYTES,
} from './format.js'
import { type Placed, place } from './layout.js'
import { type ComposefsKind, kindOfStMode } from './node.js'

/** Where the data of an inode stands. */
export interface DataPlace {
  /** First byte of its data blocks, if it has any. */
  readonly start: number
  readonly blocks: number
  /** What stands behind inode and xattrs. */
  readonly tail: number
  readonly tailBytes: number
}

/** The fields are those of the inode that was read last. */
export class InodeReader implements DataPlace {
  at = 0
  kind: ComposefsKind = 'file'
  isExtended = false
  /** Whether it is a file of an object. */
  isBacked = false
  size = 0
  /** Where its xattrs begin; they end where the tail begins. */
  xattrs = 0
  tail = 0
  tailBytes = 0
  blocks = 0
  start = 0
  readonly #view: DataView
  readonly #placed: Placed = { position: 0, blocks: 0, tail: 0 }
  /** Where the last inode ends. */
  #end = INODES_START
  /** Data blocks given out. */
  #given = 0
  /** Block of the image that is the first data block, once an inode has told. */
  #firstBlock: number | undefined

  /** @param view of an image of whole blocks */
  constructor(view: DataView) {
    this.#view = view
  }

  /** @throws {ImageFault} where the next inode does not stand at a place */
  read(at: number): void {
    const view = this.#view
    const format = view.getUint16(at, true)
    const layout = format >> 1
    const kind = kindOfStMode(view.getUint16(at + 4, true))
    if (kind === undefined) throw new ImageFault(at, 'an inode is of no type of file')
    this.at = at
    this.kind = kind
    this.isExtended = (format & 1) === 1
    this.isBacked = layout === LAYOUT_CHUNKS
    this.xattrs = at + (this.isExtended ? EXTENDED_INODE_BYTES : COMPACT_INODE_BYTES)
    if (this.xattrs > view.byteLength) throw new ImageFault(at, 'an inode does not end in the image')
    this.size = this.isExtended ? uint64(view, at + 8) : view.getUint32(at + 8, true)
    checkSize(at, kind, layout, this.size)
    const xattrCount = view.getUint16(at + 2, true)
    this.tail = this.xattrs + (xattrCount === 0 ? 0 : XATTR_HEADER_BYTES + 4 * (xattrCount - 1))
    this.#place()
  }

  #place(): void {
    const { at, kind, isBacked, tail, size } = this
    place(this.#end, FILE_TYPES[kind], tail - at, size, isBacked, this.#placed)
    const { position, blocks, tail: tailBytes } = this.#placed
    if (position !== at) throw new ImageFault(at, `an inode does not stand where it should, at ${position}`)
    this.#end = tail + tailBytes
    if (this.#end > this.#view.byteLength) throw new ImageFault(at, 'an inode does not end in the image')
    this.tailBytes = tailBytes
    this.blocks = blocks
    if (blocks > 0) this.#takeBlocks(blocks)
  }

  #takeBlocks(blocks: number): void {
    const address = this.#view.getUint32(this.at + 16, true)
    // That of a chunk table is in part written over, and nothing is read from there.
    if (!this.isBacked) {
      this.#firstBlock ??= address - this.#given
      if (this.#firstBlock + this.#given !== address)
        throw new ImageFault(this.at, 'an inode has not the next data blocks')
    }
    this.#given += blocks
    const first = this.#firstBlock ?? 0
    if (first < 0 || (first + this.#given) * BLOCK_BYTES > this.#view.byteLength) {
      throw new ImageFault(this.at, 'an inode has data blocks that are not in the image')
    }
    this.start = address * BLOCK_BYTES
  }
}

function checkSize(at: number, kind: ComposefsKind, layout: number, size: number): void {
  if (layout === LAYOUT_CHUNKS) {
    if (kind === 'file' && size > 0 && size <= MAX_BACKED_BYTES) return
    throw new ImageFault(at, `a ${kind} of ${size} bytes has a chunk table`)
  }
  if (layout !== LAYOUT_PLAIN && layout !== LAYOUT_INLINE)
    throw new ImageFault(at, 'an inode has an unknown layout')
  if (size > MOST_BYTES[kind] || (kind === 'symlink' && size === 0))
    throw new ImageFault(at, `a ${kind} has a size of ${size}`)
}

const MOST_BYTES: Readonly<Record<ComposefsKind, number>> = {
  // More is not in the image, which is found when its blocks are taken.
  directory: 2 ** 44,
  file: MAX_CONTENT_BYTES,
  symlink: MAX_PAYLOAD_BYTES,
  char: 0,
  block: 0,
  fifo: 0,
  socket: 0,
}
