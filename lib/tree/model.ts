/**
 * Trees: a whole filesystem in memory. Names, metadata, and for files an object or inline bytes.
 *
 * A hard link is one Inode under several names: the same object by identity. Nothing here reads files or archives.
 */
import type { ByteString } from '../bytes.js'
import type { VerityDigest } from '../digest.js'

/** Extended attributes by full name (`user.mime_type`); values are raw bytes. */
export type Xattrs = ReadonlyMap<ByteString, ByteString>

export interface Metadata {
  /** Permission bits, set-id and sticky bits: 0 to 0o7777. */
  readonly mode: number
  /** 0 to 2^32 - 2. */
  readonly uid: number
  readonly gid: number
  /** Seconds since the epoch, signed 64 bits. */
  readonly mtimeSeconds: bigint
  /** 0 to 999,999,999, always counted forward from mtimeSeconds. */
  readonly mtimeNanoseconds: number
  readonly xattrs: Xattrs
}

/** Where the bytes of a regular file are. Contents of 1 to 64 bytes are kept inline, as composefs does. */
export type Content =
  | { readonly kind: 'empty' }
  | { readonly kind: 'inline'; readonly bytes: Uint8Array }
  | { readonly kind: 'object'; readonly digest: VerityDigest }

export const MAX_INLINE_BYTES = 64 // what mkcomposefs keeps in the image instead of an object

export interface Directory extends Metadata {
  readonly kind: 'directory'
  readonly children: Map<ByteString, Inode>
}
export interface RegularFile extends Metadata {
  readonly kind: 'file'
  /** Bytes. */
  readonly size: number
  readonly content: Content
}
export interface Symlink extends Metadata {
  readonly kind: 'symlink'
  /** Verbatim: absolute and climbing targets stay as they are. */
  readonly target: ByteString
}
export interface Device extends Metadata {
  readonly kind: 'char' | 'block'
  /** 0 to 4095 (12 bits) and 0 to 1,048,575 (20 bits), as Linux keeps them. */
  readonly major: number
  readonly minor: number
}
export interface Special extends Metadata {
  readonly kind: 'fifo' | 'socket'
}

export type Inode = Directory | RegularFile | Symlink | Device | Special
export type NonDirectory = Exclude<Inode, Directory>

export interface Tree {
  readonly root: Directory
}

export const NO_XATTRS: Xattrs = new Map()
export const NO_CONTENT: Content = { kind: 'empty' }

/** Metadata of a directory that no layer describes: root's, 0755, at the epoch, so that trees are reproducible. */
export const IMPLICIT_DIRECTORY: Metadata = {
  mode: 0o755,
  uid: 0,
  gid: 0,
  mtimeSeconds: 0n,
  mtimeNanoseconds: 0,
  xattrs: NO_XATTRS,
}
