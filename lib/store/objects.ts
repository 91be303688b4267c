/**
 * Objects: the contents of regular files, each stored once under its fs-verity digest (`objects/ab/cdef…`).
 *
 * `objects/` holds only durable, verified contents: new ones are made in a staging directory (see staged-objects.ts) and
 * renamed here after they are synced. Names follow from contents, so whoever finds a name there may use it.
 */
import type { VerityDigest } from '../digest.js'

export interface ObjectReader {
  /** Absolute path of `objects/`. */
  readonly directory: string
  /** Absolute path of one object, whether or not it is there. */
  path(digest: VerityDigest): string
}

/** `ab/cdef…`: the path of an object below `objects/`, as composefs names it. */
export function objectName(digest: VerityDigest): string {
  return `${digest.slice(0, 2)}/${digest.slice(2)}`
}

export function objectReader(directory: string): ObjectReader {
  return { directory, path: (digest) => `${directory}/${digest.slice(0, 2)}/${digest.slice(2)}` }
}
