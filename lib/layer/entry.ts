/**
 * What the tar reader says of one archive member. What the policy makes of it stands in tree/change.ts.
 */
import type { ByteString } from '../bytes.js'
import type { Xattrs } from '../tree/model.js'

export type TarKind = 'file' | 'directory' | 'symlink' | 'hardlink' | 'char' | 'block' | 'fifo'

/** A run of bytes of a sparse file: where it stands in the expanded file and how long it is. */
export interface SparseRun {
  readonly offset: number
  readonly length: number
}

/** One member, headers resolved (PAX over ustar, GNU long names), names not cleaned yet. */
export interface TarEntry {
  readonly kind: TarKind
  readonly path: ByteString
  /** Target of a symlink or hard link, else empty. */
  readonly linkPath: ByteString
  /** Permission bits, 0 to 0o7777. */
  readonly mode: number
  readonly uid: number
  readonly gid: number
  readonly mtimeSeconds: bigint
  readonly mtimeNanoseconds: number
  /** Bytes of the file, expanded. 0 for all other kinds. */
  readonly size: number
  readonly major: number
  readonly minor: number
  /** From SCHILY.xattr.* (and LIBARCHIVE.xattr.*) records, unfiltered. */
  readonly xattrs: Xattrs
  /** The data runs when the member is stored sparse, ascending and not overlapping; null when it is stored whole. */
  readonly sparse: readonly SparseRun[] | null
  /** Offset of the member's first header block in the plain tar, for messages. */
  readonly offset: number
}
