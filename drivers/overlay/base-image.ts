/**
 * The image file of a base, as it is now: somebody may have cut, replaced or removed it since it was made.
 *
 * What one look can tell is looked at by every mount. The bytes are read where the kernel could not mount them, or where
 * the user demands a digest that the kernel does not measure.
 */
import { closeSync, fstatSync, readSync } from 'node:fs'
import {
  type BaseId,
  baseDamaged,
  isErrno,
  isGrootError,
  openImage,
  readComposefsHeader,
  runAtOnce,
  runInSlices,
  type VerityDigest,
  VerityHasher,
  type Work,
} from '../../lib/driver/kit.js'
import type { Base } from './bases.js'

const HEADER_BYTES = 1152
const READ_BYTES = 1024 * 1024

/** @returns a descriptor, the caller's to close @throws {IntegrityError} `base-damaged` when it is gone, or of another length */
export function openBaseImage(path: string, id: BaseId, base: Base): number {
  const image = openIfThere(path, id)
  const { size } = fstatSync(image)
  if (size === base.bytes) return image
  closeSync(image)
  throw baseDamaged(id, `its image has ${size} bytes, ${base.bytes} were written`)
}

function openIfThere(path: string, id: BaseId): number {
  try {
    return openImage(path)
  } catch (error) {
    if (isErrno(error, 'ENOENT')) throw baseDamaged(id, 'its image is gone', { cause: error })
    if (isErrno(error, 'ELOOP')) throw baseDamaged(id, 'its image is a symlink', { cause: error })
    throw error
  }
}

/** Whether the header says that the image has ACLs. @throws {IntegrityError} `base-damaged` when it is no header */
export function hasAcl(image: number, id: BaseId): boolean {
  const header = Buffer.alloc(HEADER_BYTES)
  const length = readSync(image, header, 0, HEADER_BYTES, 0)
  try {
    return readComposefsHeader(header.subarray(0, length)).hasAcl
  } catch (error) {
    if (!isGrootError(error) || error.code !== 'composefs-invalid') throw error
    throw baseDamaged(id, `of its image, ${error.facts.cause}`, { cause: error })
  }
}

/** Computes the fs-verity digest. Slow: reads the whole image. */
export function digestOf(image: number): VerityDigest {
  return runAtOnce(digestInSteps(image))
}

/** The same, and lets other things happen in between. */
export async function digestInSlices(image: number): Promise<VerityDigest> {
  return await runInSlices(digestInSteps(image))
}

function* digestInSteps(image: number): Work<VerityDigest> {
  const hasher = new VerityHasher()
  const buffer = Buffer.allocUnsafe(READ_BYTES)
  for (let at = 0; ; yield) {
    const length = readSync(image, buffer, 0, buffer.length, at)
    if (length === 0) return hasher.digest()
    hasher.update(buffer.subarray(0, length))
    at += length
  }
}
