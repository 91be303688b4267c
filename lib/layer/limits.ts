/**
 * Caps on what a layer may ask for (hardening: everything from outside has a limit).
 */
export interface LayerLimits {
  /** Bytes of one file, expanded. */
  readonly maxFileBytes: number
  /** Bytes of all files of one image, expanded. */
  readonly maxTotalBytes: number
  /** Entries of one image. */
  readonly maxEntries: number
  /** Bytes of one PAX header or GNU long name. */
  readonly maxHeaderBytes: number
  /** Memory for names, link targets and extended attributes of one image, as metadataBytes() of tree/change.ts counts it. */
  readonly maxMetadataBytes: number
  /** Directories below one another, those that symlinks lead to counted as they stand. */
  readonly maxDepth: number
}

const GiB = 1024 ** 3

export const DEFAULT_LIMITS: LayerLimits = {
  maxFileBytes: 64 * GiB,
  maxTotalBytes: 256 * GiB,
  maxEntries: 2_000_000, // a tree of so many takes about a gigabyte of memory
  maxHeaderBytes: 1024 * 1024,
  maxMetadataBytes: GiB, // 2,000,000 entries with names of 80 bytes take two thirds of it
  maxDepth: 2048, // PATH_MAX / 2: nothing deeper can be named by a path
}
