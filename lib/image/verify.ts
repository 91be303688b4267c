/**
 * Checks of whole documents in memory against their descriptor. Layers are checked while they stream, by the ingest.
 */
import { algorithmOf, type Digest, digestOf, shortDigest } from '../digest.js'
import { ImageError, IntegrityError } from '../errors.js'
import { MAX_DOCUMENT_BYTES } from './json.js'

/** The part of a descriptor that can be checked. */
export interface Expected {
  readonly digest: Digest
  /** Bytes. */
  readonly size: number
}

/**
 * Checks before reading that a document is one that may be held in memory.
 *
 * @param what `manifest`, `config`, …, for the message
 * @throws {ImageError} `limit-exceeded` for more than 4 MiB
 */
export function checkDocumentSize(what: string, { digest, size }: Expected): void {
  if (size <= MAX_DOCUMENT_BYTES) return
  throw new ImageError(
    'limit-exceeded',
    `Cannot read the ${what} ${shortDigest(digest)}: it has ${size} bytes, at most ${MAX_DOCUMENT_BYTES} are read`,
    { facts: { document: what, digest, bytes: size, limit: MAX_DOCUMENT_BYTES } },
  )
}

/**
 * @param what `manifest`, `config`, …, for the message
 * @throws {IntegrityError} `size-mismatch`, `digest-mismatch`
 */
export function verifyDocument(what: string, bytes: Uint8Array, { digest, size }: Expected): void {
  if (bytes.length !== size) {
    throw new IntegrityError(
      'size-mismatch',
      `Cannot accept the ${what} ${shortDigest(digest)}: it has ${bytes.length} bytes, its descriptor says ${size}`,
      { facts: { digest, expected: size, found: bytes.length } },
    )
  }
  verifyDigest(what, bytes, digest)
}

/** @throws {IntegrityError} `digest-mismatch` */
export function verifyDigest(what: string, bytes: Uint8Array, expected: Digest): void {
  const found = digestOf(algorithmOf(expected), bytes)
  if (found === expected) return
  throw new IntegrityError(
    'digest-mismatch',
    `Cannot accept the ${what} ${shortDigest(expected)}: its bytes hash to ${shortDigest(found)}`,
    { facts: { expected, found, bytes: bytes.length } },
  )
}
