/**
 * Verifying what is stored: objects against their names, and layers, written again from record and objects, against
 * their diff ids. Reads only. Synchronous: runs on an ingest thread.
 */
import { createHash } from 'node:crypto'
import { closeSync, fstatSync, openSync, readSync } from 'node:fs'
import { VerityHasher } from '../composefs/verity.js'
import { algorithmOf, type DiffId, encodedOf, type VerityDigest } from '../digest.js'
import { IntegrityError, isErrno, NotFoundError } from '../errors.js'
import type { ObjectReader } from '../store/objects.js'
import type { Content } from '../tree/model.js'
import type { LayerLimits } from './limits.js'
import { visitLayer } from './replay.js'

const CHUNK_BYTES = 1024 * 1024

/**
 * Recomputes an object's digest.
 *
 * @returns its size in bytes
 * @throws {IntegrityError} `object-damaged`
 */
export function verifyObject(path: string, digest: VerityDigest): number {
  const fd = openSync(path, 'r')
  try {
    if (!fstatSync(fd).isFile()) throw damagedObject(digest, 'it is not a regular file')
    const buffer = Buffer.allocUnsafe(CHUNK_BYTES)
    const hasher = new VerityHasher()
    let size = 0
    for (;;) {
      const count = readSync(fd, buffer, 0, CHUNK_BYTES, null)
      if (count === 0) break
      hasher.update(buffer.subarray(0, count))
      size += count
    }
    const found = hasher.digest()
    if (found !== digest) throw damagedObject(digest, `its bytes measure ${found.slice(0, 12)}`)
    return size
  } finally {
    closeSync(fd)
  }
}

/**
 * Writes a layer's tar again, into a hash, and compares it with the diff id.
 *
 * @returns bytes of the tar
 * @throws {IntegrityError} `layer-damaged`, `diff-id-mismatch`
 * @throws {NotFoundError} `object-missing`
 */
export function verifyLayer(
  record: string,
  diffId: DiffId,
  objects: ObjectReader,
  limits: LayerLimits,
): number {
  const hash = createHash(algorithmOf(diffId))
  const buffer = Buffer.allocUnsafe(CHUNK_BYTES)
  let bytes = 0
  const update = (chunk: Uint8Array): void => {
    hash.update(chunk)
    bytes += chunk.length
  }
  visitLayer(record, limits, {
    raw: update,
    entry: () => {},
    stored: (entry, content) => {
      const runs = entry.sparse ?? [{ offset: 0, length: entry.size }]
      if (content.kind === 'inline') {
        for (const run of runs) update(content.bytes.subarray(run.offset, run.offset + run.length))
      } else if (content.kind === 'object') {
        readRuns(openObject(objects, content), runs, buffer, update)
      }
    },
  })
  const found = hash.digest('hex')
  if (found !== encodedOf(diffId)) {
    throw new IntegrityError(
      'diff-id-mismatch',
      `Cannot verify layer ${diffId}: written again from its record and objects it hashes to ${found.slice(0, 12)}`,
      { facts: { expected: diffId, found: `${algorithmOf(diffId)}:${found}` } },
    )
  }
  return bytes
}

function openObject(objects: ObjectReader, content: Content & { kind: 'object' }): number {
  try {
    return openSync(objects.path(content.digest), 'r')
  } catch (error) {
    if (!isErrno(error, 'ENOENT')) throw error
    throw new NotFoundError(
      'object-missing',
      `Cannot read object ${content.digest}: it is not in the store`,
      {
        facts: { object: content.digest },
        cause: error,
      },
    )
  }
}

function readRuns(
  fd: number,
  runs: readonly { offset: number; length: number }[],
  buffer: Buffer,
  update: (chunk: Uint8Array) => void,
): void {
  try {
    for (const run of runs) {
      for (let at = 0; at < run.length; ) {
        const count = readSync(fd, buffer, 0, Math.min(buffer.length, run.length - at), run.offset + at)
        // A short object makes the tar short, and its digest another: nothing to say here.
        if (count === 0) return
        update(buffer.subarray(0, count))
        at += count
      }
    }
  } finally {
    closeSync(fd)
  }
}

function damagedObject(digest: VerityDigest, cause: string): IntegrityError {
  return new IntegrityError('object-damaged', `Cannot trust object ${digest}: ${cause}`, {
    facts: { object: digest, cause },
  })
}
