/**
 * Where everything of an image stands: sizes and forms of inodes, padding, node numbers, data blocks.
 *
 * Positions are bytes from the start of the file; a node number is a position in units of 32.
 */
import { byteString } from '../bytes.js'
import { ImageError } from '../errors.js'
import { MAX_TAIL_BYTES } from './dirents.js'
import {
  alignUp,
  BLOCK_BYTES,
  COMPACT_INODE_BYTES,
  type ComposefsHeader,
  EXTENDED_INODE_BYTES,
  FILE_TYPES,
  INODES_START,
  SLOT_BYTES,
  XATTR_HEADER_BYTES,
} from './format.js'
import { IS_BACKED, IS_EXTENDED, TYPE_BITS } from './inode-columns.js'
import type { InodeTable } from './inode-table.js'

export interface ImageLayout {
  readonly table: InodeTable
  readonly header: ComposefsHeader
  /** Of each inode: where it begins, padding before it left out. */
  readonly positions: Float64Array
  /** What its xattrs take behind it. */
  readonly xattrBytes: Uint32Array
  /** Data blocks, and the bytes that stand behind inode and xattrs. */
  readonly blocks: Uint32Array
  readonly tails: Uint16Array
  /** Where the inodes end and the shared xattrs begin, and where the data blocks begin. */
  readonly inodesEnd: number
  readonly dataStart: number
  readonly byteLength: number
}

export interface Placed {
  position: number
  blocks: number
  tail: number
}

/** Of one inode; what is shared beyond that is written out. */
export const MAX_SHARED_XATTRS = 128
const MAX_U32 = 0xffff_ffff
export const MIN_CHUNK_BITS = 12
const MAX_CHUNK_BITS = 43
const MAX_CHUNK_BYTES = 2 ** MAX_CHUNK_BITS
const CHUNK_ADDRESS_BYTES = 4

export function layOut(table: InodeTable): ImageLayout {
  const { count, pool } = table
  const { forms, sizes } = table.columns
  const sharedBytes = pool.share()
  const positions = new Float64Array(count)
  const xattrBytes = new Uint32Array(count)
  const blocks = new Uint32Array(count)
  const tails = new Uint16Array(count)
  let position = INODES_START
  let dataBlocks = 0
  const placed: Placed = { position: 0, blocks: 0, tail: 0 }
  for (let i = 0; i < count; i++) {
    const xattrs = xattrAreaBytes(table, i)
    const form = forms[i]!
    const head = ((form & IS_EXTENDED) !== 0 ? EXTENDED_INODE_BYTES : COMPACT_INODE_BYTES) + xattrs
    place(position, form & TYPE_BITS, head, sizes[i]!, (form & IS_BACKED) !== 0, placed)
    positions[i] = placed.position
    xattrBytes[i] = xattrs
    blocks[i] = placed.blocks
    tails[i] = placed.tail
    dataBlocks += placed.blocks
    position = placed.position + head + placed.tail
  }
  const inodesEnd = alignUp(position, SLOT_BYTES)
  const dataStart = alignUp(inodesEnd + sharedBytes, BLOCK_BYTES)
  const header = headerOf(table, positions[0]!, inodesEnd, dataStart / BLOCK_BYTES + dataBlocks)
  const byteLength = dataStart + dataBlocks * BLOCK_BYTES
  return { table, header, positions, xattrBytes, blocks, tails, inodesEnd, dataStart, byteLength }
}

function headerOf(table: InodeTable, root: number, inodesEnd: number, blocks: number): ComposefsHeader {
  const { version, columns, oldest, pool, count } = table
  if (blocks > MAX_U32) {
    const cause = `it would have ${blocks} blocks, and images end at ${MAX_U32}`
    throw new ImageError('composefs-refused', `Cannot write the composefs image: ${cause}`, {
      facts: { path: '/', cause, errno: 'EFBIG' },
    })
  }
  return {
    version,
    hasAcl: ACLS.some((name) => pool.has(name)),
    inodes: count,
    rootNid: root / SLOT_BYTES,
    mtimeSeconds: columns.secondsOf(oldest),
    mtimeNanoseconds: columns.nanoseconds[oldest]!,
    blocks,
    xattrBlock: Math.floor(inodesEnd / BLOCK_BYTES),
  }
}

const ACLS = [byteString('system.posix_acl_access'), byteString('system.posix_acl_default')]

/** What the xattrs of an inode take behind it: a header, references to shared ones, the others. */
function xattrAreaBytes(table: InodeTable, inode: number): number {
  const { pool, xattrIds, columns } = table
  const start = columns.xattrStarts[inode]!
  const end = columns.xattrEnds[inode]!
  if (start === end) return 0
  let bytes = XATTR_HEADER_BYTES
  let shared = 0
  for (let i = start; i < end; i++) {
    if (pool.place(xattrIds[i]!) >= 0 && shared < MAX_SHARED_XATTRS) shared++
    else bytes += pool.entryBytes(xattrIds[i]!)
  }
  return bytes + 4 * shared
}

/** How many bits of a backed file's offsets one of its chunks covers: as many as make the chunks few. */
export function chunkBits(size: number): number {
  const last = size - 1
  const bits = last < 2 ** 32 ? 32 - Math.clz32(last) : 64 - Math.clz32(last / 2 ** 32)
  return Math.min(Math.max(bits, MIN_CHUNK_BITS), MAX_CHUNK_BITS)
}

/** Nearly every file has one; more only those of more than 2^43 bytes. */
function chunksOf(size: number): number {
  return size <= MAX_CHUNK_BYTES ? 1 : Math.ceil(size / MAX_CHUNK_BYTES)
}

/**
 * Finds the place of an inode at or behind `from`, so that no tail crosses the border of a block.
 *
 * @param type as entries of directories tell it
 * @param head bytes of the inode and its xattrs
 * @param size in the image
 */
export function place(
  from: number,
  type: number,
  head: number,
  size: number,
  backed: boolean,
  placed: Placed,
): void {
  placed.position = alignUp(from, SLOT_BYTES)
  if (backed) {
    placed.blocks = 0
    placed.tail = CHUNK_ADDRESS_BYTES * chunksOf(size)
  } else if (type === FILE_TYPES.symlink) {
    placeSymlink(placed, head, size)
    return
  } else {
    placed.blocks = Math.floor(size / BLOCK_BYTES)
    placed.tail = size % BLOCK_BYTES
    if (placed.tail > MAX_TAIL_BYTES) {
      placed.blocks++
      placed.tail = 0
    }
  }
  const end = placed.position + head
  const room = BLOCK_BYTES - (end % BLOCK_BYTES)
  if (room >= placed.tail) return
  const padding = alignUp(room, SLOT_BYTES)
  if (placed.tail <= BLOCK_BYTES - ((end + padding) % BLOCK_BYTES)) {
    placed.position += padding
    return
  }
  placed.blocks++
  placed.tail = 0
  placed.position = alignUp(placed.position, BLOCK_BYTES)
}

/** The kernel wants inode and target in one block; a target that is too long for that has a block of its own. */
function placeSymlink(placed: Placed, head: number, size: number): void {
  const total = head + size
  const isLong = total >= BLOCK_BYTES
  placed.blocks = isLong ? 1 : 0
  placed.tail = isLong ? 0 : size
  const firstBlock = Math.floor(placed.position / BLOCK_BYTES)
  const lastBlock = Math.floor((placed.position + total - 1) / BLOCK_BYTES)
  if (firstBlock !== lastBlock) placed.position = alignUp(placed.position, BLOCK_BYTES)
}
