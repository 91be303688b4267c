/**
 * The nodes of a composefs image in memory: all that a line of composefs-dump(5) can say about an entry, and no more.
 *
 * They differ from the trees of lib/tree in what only this format has (link counts by hand, device numbers as one number,
 * backing paths, digests that may be absent) and name the digest of a content without knowing where objects are. What the
 * writer adds for overlayfs is not here: see overlay.ts.
 */
import type { ByteString } from '../bytes.js'
import type { VerityDigest } from '../digest.js'
import type { Verity512Digest } from './verity.js'

export type ComposefsKind = 'file' | 'directory' | 'char' | 'block' | 'fifo' | 'socket' | 'symlink'

/** One shape for all kinds, so that trees of many entries are walked fast; fields that a kind has no use for are ignored. */
export interface ComposefsNode {
  readonly kind: ComposefsKind
  /** Permission bits, set-id and sticky bits: 0 to 0o7777. */
  readonly mode: number
  /** 32 bits, written as it stands; only that of directories is always counted anew. */
  readonly nlink: number
  /** 32 bits. */
  readonly uid: number
  readonly gid: number
  /** Of devices, 32 bits in Linux's encoding (see rdevOf). A character device with 0 is a whiteout. */
  readonly rdev: number
  /**
   * 64 bits; a bigint where a number is not exact. Of files, their length, which is that of `content` where there is one.
   * Ignored for directories and symlinks; devices, fifos and sockets have one that no reader sees, but above 2^32 - 1 it
   * makes their inodes extended ones.
   */
  readonly size: number | bigint
  /** Signed 64 bits. */
  readonly mtimeSeconds: bigint
  /** 32 bits. */
  readonly mtimeNanoseconds: number
  /** By full name, as the container shall see them: names of overlayfs are escaped by the writer. */
  readonly xattrs: ReadonlyMap<ByteString, ByteString>
  /** Target of a symlink; of a file, its backing path below the objects directory. At most 4095 bytes. */
  readonly payload: ByteString | null
  /** Of a file, its bytes where they are kept in the image: at most 5000; none is the same as null. */
  readonly content: Uint8Array | null
  /** Of a backed file, the fs-verity digest that is demanded of its object. */
  readonly digest: VerityDigest | Verity512Digest | null
  /** Of a directory, and only of one. Names have 1 to 255 bytes; in any order. */
  readonly children: ReadonlyMap<ByteString, ComposefsEntry> | null
}

/**
 * A further name of a node that is in the tree under a name of its own, and only there. That one decides the node's place in the
 * image. (The same object under two names, with no links to it, is two inodes that look alike.)
 */
export interface ComposefsLink {
  readonly kind: 'link'
  readonly target: ComposefsNode
}

export type ComposefsEntry = ComposefsNode | ComposefsLink

/** The least size that makes the inode of a device, fifo or socket an extended one; it is not written. */
export const UNSEEN_SIZE = 2 ** 32

/** The type bits of st_mode, which are the same in EROFS inodes and in dumps. */
const TYPE_BITS: Readonly<Record<ComposefsKind, number>> = {
  fifo: 0o010000,
  char: 0o020000,
  directory: 0o040000,
  block: 0o060000,
  file: 0o100000,
  symlink: 0o120000,
  socket: 0o140000,
}
const KINDS = new Map(Object.entries(TYPE_BITS).map(([kind, bits]) => [bits, kind as ComposefsKind]))

/** st_mode: kind and mode in 16 bits. */
export function stModeOf(kind: ComposefsKind, mode: number): number {
  return TYPE_BITS[kind] | (mode & 0o7777)
}

/** Undefined where the type bits are none of the seven. */
export function kindOfStMode(stMode: number): ComposefsKind | undefined {
  return KINDS.get(stMode & 0o170000)
}

/** Linux's encoding of a device number in 32 bits: 12 bits of major and 20 of minor, of which the low 8 come first. */
export function rdevOf(major: number, minor: number): number {
  return ((minor & 0xff) | (major << 8) | ((minor >>> 8) << 20)) >>> 0
}

export function majorOf(rdev: number): number {
  return (rdev >>> 8) & 0xfff
}

export function minorOf(rdev: number): number {
  return (rdev & 0xff) | ((rdev >>> 20) << 8)
}

/** A whiteout that a container made or shall see: hidden from the overlay by the writer, unlike those of section 5. */
export function isWhiteout(node: ComposefsNode): boolean {
  return node.kind === 'char' && node.rdev === 0
}

/** Whether a file has its bytes in the image: an empty content is none. */
export function isInline(node: ComposefsNode): boolean {
  return node.content !== null && node.content.length > 0
}

/** A file of an object: bytes, and not in the image. */
export function isBacked(node: ComposefsNode): boolean {
  return node.kind === 'file' && node.size > 0 && !isInline(node)
}
