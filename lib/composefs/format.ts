/**
 * The fixed parts of a composefs image: sizes and numbers of EROFS as composefs uses it, the header and the superblock.
 *
 * An image is: header, superblock, inodes from byte 1152 on, shared xattrs directly behind them, then data blocks.
 */
import { asBuffer } from '../bytes.js'
import { ImageError } from '../errors.js'
import type { ComposefsKind } from './node.js'

export const BLOCK_BYTES = 4096
export const SLOT_BYTES = 32
/** A superblock's end, where the first inode stands, or zeros up to it. */
export const INODES_START = 1152
export const COMPACT_INODE_BYTES = 32
export const EXTENDED_INODE_BYTES = 64
export const DIRENT_BYTES = 12
export const XATTR_HEADER_BYTES = 12
export const XATTR_ENTRY_BYTES = 4

/** How the data of an inode is laid out (`i_format`, bits 1 to 3). */
export const LAYOUT_PLAIN = 0
export const LAYOUT_INLINE = 2
export const LAYOUT_CHUNKS = 4

/** The file types of directory entries. */
export const FILE_TYPES: Readonly<Record<ComposefsKind, number>> = {
  file: 1,
  directory: 2,
  char: 3,
  block: 4,
  fifo: 5,
  socket: 6,
  symlink: 7,
}

const SUPERBLOCK_START = 1024
const HEADER_MAGIC = 0xd078629a
const HEADER_VERSION = 1
const FLAG_HAS_ACL = 1
const EROFS_MAGIC = 0xe0f5e1e2
const FEATURES = 6 // times per inode, xattr name filters
const BLOCK_BITS = 12

/** What the first 1152 bytes of an image say. */
export interface ComposefsHeader {
  /** Version 1 marks directories that hold whiteouts so that older overlayfs can read them. */
  readonly version: 0 | 1
  /** Without POSIX ACLs in the image it can be mounted without support for them. */
  readonly hasAcl: boolean
  readonly inodes: number
  /** Where the root stands, in units of 32 bytes: 36, unless its xattrs leave too little of the first block for its entries. */
  readonly rootNid: number
  /** The least time of all inodes; compact ones have no other. */
  readonly mtimeSeconds: bigint
  readonly mtimeNanoseconds: number
  /** Blocks of 4096 bytes: the length of the file. */
  readonly blocks: number
  /** Block in which the inodes end and the shared xattrs begin. */
  readonly xattrBlock: number
}

/** Rounds up to a multiple. */
export function alignUp(value: number, unit: number): number {
  const rest = value % unit
  return rest === 0 ? value : value + unit - rest
}

/** The same memory; its methods are faster than those of buffers. */
export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

/** An integer of 64 bits; what is too large to be exact is too large in any case. */
export function uint64(view: DataView, at: number): number {
  const low = view.getUint32(at, true)
  const high = view.getUint32(at + 4, true)
  return high === 0 ? low : low + high * 2 ** 32 // small integers stay small ones, which take less memory
}

/** Header and superblock as they stand in the file: its first 1152 bytes. */
export function encodeHeader(header: ComposefsHeader): Buffer {
  const bytes = Buffer.alloc(INODES_START)
  bytes.writeUInt32LE(HEADER_MAGIC, 0)
  bytes.writeUInt32LE(HEADER_VERSION, 4)
  bytes.writeUInt32LE(header.hasAcl ? FLAG_HAS_ACL : 0, 8)
  bytes.writeUInt32LE(header.version, 12)
  const at = SUPERBLOCK_START
  bytes.writeUInt32LE(EROFS_MAGIC, at)
  bytes.writeUInt32LE(FEATURES, at + 8)
  bytes.writeUInt8(BLOCK_BITS, at + 12)
  bytes.writeUInt16LE(header.rootNid, at + 14)
  bytes.writeBigUInt64LE(BigInt(header.inodes), at + 16)
  bytes.writeBigInt64LE(header.mtimeSeconds, at + 24)
  bytes.writeUInt32LE(header.mtimeNanoseconds, at + 32)
  bytes.writeUInt32LE(header.blocks, at + 36)
  bytes.writeUInt32LE(header.xattrBlock, at + 44)
  return bytes
}

/**
 * Reads header and superblock of an image, of which no more than the first 1152 bytes are needed.
 *
 * @throws {ImageError} `composefs-invalid` when they are not as the writer writes them
 */
export function readHeader(image: Uint8Array): ComposefsHeader {
  if (image.length < INODES_START)
    throw headerInvalid(`it has ${image.length} bytes, and a header has ${INODES_START}`)
  const bytes = asBuffer(image)
  const at = SUPERBLOCK_START
  if (bytes.readUInt32LE(0) !== HEADER_MAGIC) throw headerInvalid('it does not begin as composefs images do')
  if (bytes.readUInt32LE(at) !== EROFS_MAGIC) throw headerInvalid('it has no EROFS superblock')
  const version = bytes.readUInt32LE(12)
  if (bytes.readUInt32LE(4) !== HEADER_VERSION || version > 1) {
    throw headerInvalid(
      `its version is ${bytes.readUInt32LE(4)}.${version}; those of 1.0 and 1.1 can be read`,
    )
  }
  const inodes = bytes.readBigUInt64LE(at + 16)
  const header: ComposefsHeader = {
    version: version as 0 | 1,
    hasAcl: (bytes.readUInt32LE(8) & FLAG_HAS_ACL) !== 0,
    rootNid: bytes.readUInt16LE(at + 14),
    // What is beyond exact numbers does not survive the comparison below.
    inodes: Number(inodes),
    mtimeSeconds: bytes.readBigInt64LE(at + 24),
    mtimeNanoseconds: bytes.readUInt32LE(at + 32),
    blocks: bytes.readUInt32LE(at + 36),
    xattrBlock: bytes.readUInt32LE(at + 44),
  }
  if (inodes > Number.MAX_SAFE_INTEGER || !encodeHeader(header).equals(bytes.subarray(0, INODES_START))) {
    throw headerInvalid('its header holds what the writer never writes')
  }
  return header
}

function headerInvalid(cause: string): ImageError {
  return new ImageError('composefs-invalid', `Cannot read the composefs image: ${cause}`, {
    facts: { cause, offset: 0 },
  })
}
