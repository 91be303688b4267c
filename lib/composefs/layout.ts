/**
 * Where everything of an image stands: sizes and forms of inodes, padding, node numbers, data blocks.
 *
 * Positions are bytes from the start of the file; a node number is a position in units of 32.
 */
import { type ByteString, byteString } from '../bytes.js'
import { ImageError } from '../errors.js'
import {
  alignUp,
  BLOCK_BYTES,
  COMPACT_INODE_BYTES,
  type ComposefsHeader,
  DIRENT_BYTES,
  EXTENDED_INODE_BYTES,
  INODES_START,
  SLOT_BYTES,
  XATTR_HEADER_BYTES,
} from './format.js'
import type { InodeTable } from './inode-table.js'
import { type ComposefsKind, type ComposefsNode, isBacked } from './node.js'

export interface ImageLayout {
  readonly table: InodeTable
  readonly header: ComposefsHeader
  /** Of each inode: where it begins, padding before it left out. */
  readonly positions: Float64Array
  /** Whether the inode has 64 bytes. */
  readonly extended: Uint8Array
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

const HALF_BLOCK = BLOCK_BYTES / 2
/** Of one inode; what is shared beyond that is written out. */
export const MAX_SHARED_XATTRS = 128
const MAX_U16 = 0xffff
const MAX_U32 = 0xffff_ffff
export const MIN_CHUNK_BITS = 12
const MAX_CHUNK_BITS = 43
const MAX_CHUNK_BYTES = 2 ** MAX_CHUNK_BITS
const CHUNK_ADDRESS_BYTES = 4

export function layOut(table: InodeTable): ImageLayout {
  const { nodes, pool, oldest } = table
  const sharedBytes = pool.share()
  const positions = new Float64Array(nodes.length)
  const extended = new Uint8Array(nodes.length)
  const xattrBytes = new Uint32Array(nodes.length)
  const blocks = new Uint32Array(nodes.length)
  const tails = new Uint16Array(nodes.length)
  let position = INODES_START
  let dataBlocks = 0
  const placed: Placed = { position: 0, blocks: 0, tail: 0 }
  for (let i = 0; i < nodes.length; i++) {
    const node = nodes[i]!
    const entries = table.entries[i]!
    const size = entries === null ? sizeInImage(node) : directoryBytes(entries.names)
    // The size of a device and its like is not written, and makes their inodes extended all the same.
    const sizeAsked = entries === null && node.kind !== 'symlink' ? node.size : size
    const isExtended = needsExtended(node, entries?.nlink ?? node.nlink, sizeAsked, oldest)
    const xattrs = xattrAreaBytes(table, i)
    const head = (isExtended ? EXTENDED_INODE_BYTES : COMPACT_INODE_BYTES) + xattrs
    place(position, node.kind, head, size, isBacked(node), placed)
    positions[i] = placed.position
    extended[i] = isExtended ? 1 : 0
    xattrBytes[i] = xattrs
    blocks[i] = placed.blocks
    tails[i] = placed.tail
    dataBlocks += placed.blocks
    position = placed.position + head + placed.tail
  }
  const inodesEnd = alignUp(position, SLOT_BYTES)
  const dataStart = alignUp(inodesEnd + sharedBytes, BLOCK_BYTES)
  const header = headerOf(table, inodesEnd, dataStart / BLOCK_BYTES + dataBlocks)
  const byteLength = dataStart + dataBlocks * BLOCK_BYTES
  return { table, header, positions, extended, xattrBytes, blocks, tails, inodesEnd, dataStart, byteLength }
}

function headerOf(table: InodeTable, inodesEnd: number, blocks: number): ComposefsHeader {
  const { version, oldest, pool, nodes } = table
  if (blocks > MAX_U32) {
    const cause = `it would have ${blocks} blocks, and images end at ${MAX_U32}`
    throw new ImageError('composefs-refused', `Cannot write the composefs image: ${cause}`, {
      facts: { path: '/', cause, errno: 'EFBIG' },
    })
  }
  return {
    version,
    hasAcl: ACLS.some((name) => pool.has(name)),
    inodes: nodes.length,
    mtimeSeconds: oldest.mtimeSeconds,
    mtimeNanoseconds: oldest.mtimeNanoseconds,
    blocks,
    xattrBlock: Math.floor(inodesEnd / BLOCK_BYTES),
  }
}

const ACLS = [byteString('system.posix_acl_access'), byteString('system.posix_acl_default')]

/** The size that an inode has in the image; of directories that is directoryBytes. */
export function sizeInImage(node: ComposefsNode): number {
  if (node.kind === 'symlink') return node.payload!.length
  // Files end at 2^53 bytes, where numbers are still exact.
  return node.kind === 'file' ? Number(node.size) : 0
}

/**
 * What the entries of a directory take: full blocks, then what is left, which is filled up to a block when it is more than
 * half of one.
 *
 * @param names `.` and `..` among them, in order
 */
export function directoryBytes(names: readonly ByteString[]): number {
  let full = 0
  let filled = 0
  for (const name of names) {
    const length = DIRENT_BYTES + name.length
    if (filled + length > BLOCK_BYTES) {
      full += BLOCK_BYTES
      filled = 0
    }
    filled += length
  }
  return full + (filled > HALF_BLOCK ? BLOCK_BYTES : filled)
}

/** Compact inodes have no time of their own, and narrow fields. */
function needsExtended(
  node: ComposefsNode,
  nlink: number,
  size: number | bigint,
  oldest: ComposefsNode,
): boolean {
  const fits =
    size <= MAX_U32 &&
    nlink <= MAX_U16 &&
    node.uid <= MAX_U16 &&
    node.gid <= MAX_U16 &&
    isSameTime(node, oldest)
  return !fits
}

function isSameTime(a: ComposefsNode, b: ComposefsNode): boolean {
  return a.mtimeNanoseconds === b.mtimeNanoseconds && a.mtimeSeconds === b.mtimeSeconds
}

/** What the xattrs of an inode take behind it: a header, references to shared ones, the others. */
function xattrAreaBytes(table: InodeTable, inode: number): number {
  const { pool, xattrIds, xattrStarts } = table
  const start = xattrStarts[inode]!
  const end = xattrStarts[inode + 1]!
  if (start === end) return 0
  let bytes = XATTR_HEADER_BYTES
  let shared = 0
  for (let i = start; i < end; i++) {
    if (pool.offset(xattrIds[i]!) >= 0 && shared < MAX_SHARED_XATTRS) shared++
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
 * @param head bytes of the inode and its xattrs
 * @param size in the image
 */
export function place(
  from: number,
  kind: ComposefsKind,
  head: number,
  size: number,
  backed: boolean,
  placed: Placed,
): void {
  placed.position = alignUp(from, SLOT_BYTES)
  if (backed) {
    placed.blocks = 0
    placed.tail = CHUNK_ADDRESS_BYTES * chunksOf(size)
  } else if (kind === 'symlink') {
    placeSymlink(placed, head, size)
    return
  } else {
    placed.blocks = Math.floor(size / BLOCK_BYTES)
    placed.tail = size % BLOCK_BYTES
    if (placed.tail > HALF_BLOCK) {
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
