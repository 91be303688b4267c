/**
 * mount.composefs: an image file and its objects as one mount.
 */
import { mkdtempSync, readSync, rmdirSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { INODES_START, readHeader } from '../../composefs/format.js'
import {
  ImageError,
  IntegrityError,
  isErrno,
  isGrootError,
  NotFoundError,
  toGrootError,
  UnsupportedError,
  UsageError,
} from '../../errors.js'
import { mountComposefs } from '../../linux/composefs-mount.js'
import { measureVerity } from '../../linux/verity.js'
import type { MountImage } from './api.js'
import { openInput, shown } from './input.js'

/** When it throws, nothing is mounted. */
export async function mountImage(request: MountImage): Promise<void> {
  const { image, target, objects, upper, work, readOnly = false, digest, signal } = request
  if ((upper === undefined) !== (work === undefined)) throw unusable('upper and work directory go together')
  if (objects.length === 0) throw unusable('it needs a directory of objects')
  for (const directory of [target, ...objects]) checkDirectory(directory)
  const { fd, isFile, stream } = openInput(image, signal)
  try {
    if (!isFile) throw unusable(`${shown(image)} is no regular file`)
    if (digest !== undefined) checkDigest(fd, image, digest)
    mountAt(resolve(target), fd, {
      hasAcl: headerOf(fd, image).hasAcl,
      objects: objects.map((path) => resolve(path)),
      ...layersAbove(upper, work, readOnly),
      // As mount.composefs has it: whoever demands a digest of the image means its files, too.
      verity: request.verity === 'require' || digest !== undefined,
    })
  } catch (error) {
    throw mountError(request, error)
  } finally {
    stream.destroy()
  }
}

type Wanted = Pick<
  Parameters<typeof mountComposefs>[0],
  'hasAcl' | 'objects' | 'above' | 'writable' | 'verity'
>

/** The upper directory of a read-only mount shows what was written to it, and is not written to. */
function layersAbove(
  upper: string | undefined,
  work: string | undefined,
  readOnly: boolean,
): Pick<Wanted, 'above' | 'writable'> {
  if (upper === undefined || work === undefined) return { above: null, writable: null }
  if (readOnly) return { above: resolve(upper), writable: null }
  return { above: null, writable: { upper: resolve(upper), work: resolve(work), volatile: false } }
}

function mountAt(at: string, image: number, wanted: Wanted): void {
  const scratch = mkdtempSync(join(tmpdir(), 'groot-mount-'))
  try {
    mountComposefs({ ...wanted, image, at, scratch })
  } finally {
    rmdirSync(scratch)
  }
}

function headerOf(fd: number, image: string) {
  const bytes = Buffer.alloc(INODES_START)
  const length = readSync(fd, bytes, 0, bytes.length, 0)
  try {
    return readHeader(bytes.subarray(0, length))
  } catch (error) {
    if (!isGrootError(error)) throw error
    throw new ImageError('composefs-invalid', `Cannot mount ${shown(image)}: ${error.facts.cause}`, {
      facts: { ...error.facts, path: image },
      cause: error,
    })
  }
}

const DIGEST = /^(?:[0-9a-f]{64}|[0-9a-f]{128})$/i

/** Asks the kernel, which then holds the file to that digest for as long as it is mounted. */
function checkDigest(fd: number, image: string, digest: string): void {
  if (!DIGEST.test(digest)) throw unusable('the digest needs 64 or 128 hex digits')
  const expected = digest.toLowerCase()
  const measured = measureVerity(fd)
  if (measured === null) {
    const message = `Cannot mount ${shown(image)}: it has no fs-verity digest, and ${expected} is demanded`
    throw new UnsupportedError('verity-unsupported', message, { facts: { path: image, expected } })
  }
  if (measured.digest === expected) return
  const found = measured.digest
  throw new IntegrityError(
    'digest-unexpected',
    `Cannot mount ${shown(image)}: its digest is ${found}, and ${expected} is demanded`,
    { facts: { path: image, expected, found } },
  )
}

function checkDirectory(path: string): void {
  try {
    if (statSync(path).isDirectory()) return
  } catch (error) {
    if (!isErrno(error, 'ENOENT', 'ENOTDIR')) throw toGrootError(error, `Cannot look at ${shown(path)}`)
    const message = `Cannot mount: there is no directory ${shown(path)}`
    throw new NotFoundError('file-missing', message, { facts: { path }, cause: error })
  }
  throw unusable(`${shown(path)} is no directory`)
}

function mountError({ image, target }: MountImage, error: unknown): Error {
  const doing = `Cannot mount ${shown(image)} on ${shown(target)}`
  if (!isErrno(error, 'ENODEV', 'ENOSYS')) return toGrootError(error, doing)
  return new UnsupportedError('system-unsupported', `${doing}: this kernel cannot: ${error.message}`, {
    facts: { path: target, errno: error.code, syscall: error.syscall ?? null },
    cause: error,
  })
}

function unusable(cause: string): UsageError {
  return new UsageError('usage-invalid', `Cannot mount: ${cause}`)
}
