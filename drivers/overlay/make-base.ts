/**
 * Making a base: its contents looked at and, where that can be, given fs-verity; its image or its directory written.
 */
import { closeSync, constants, fchmodSync, fsyncSync, mkdirSync, openSync } from 'node:fs'
import {
  type BaseSpec,
  contentsOf,
  type Directory,
  diskUsageInSlices,
  enableVerity,
  fileSize,
  isErrno,
  materialise,
  measureVerity,
  NotFoundError,
  syncFilesystemOf,
  throwIfAborted,
  type VerityDigest,
  type VerityMode,
  writeAll,
} from '../../lib/driver/kit.js'
import { type Base, damaged, noVerity, objectDamaged, type RecordedTop } from './bases.js'
import type { BaseKind } from './options.js'

const BLOCK_BYTES = 4096
const SLICE = 256 // objects between two looks at the signal and the event loop

/** What a base is to be: its directory, which is not there yet, and how it is made. */
export interface BasePlan {
  readonly directory: string
  readonly spec: BaseSpec
  readonly kind: BaseKind
  readonly verity: VerityMode
  readonly signal: AbortSignal
}

/** Makes all of a base but its notes. Durable with those. */
export async function makeBase(plan: BasePlan): Promise<Base> {
  const { directory, spec, kind } = plan
  mkdirSync(directory, { mode: 0o700 })
  const contents = await checkContents(plan)
  const made =
    kind === 'composefs' ? writeImage(plan, contents.verity) : { bytes: await writeTree(plan), verity: false }
  if (made.verity || kind === 'directory') syncFilesystemOf(directory)
  return {
    format: 1,
    kind,
    digest: spec.image.digest(),
    verity: made.verity,
    sample: contents.sample,
    bytes: made.bytes,
    contentBytes: contents.bytes,
    top: recordTop(spec.tree.root),
  }
}

/**
 * Sees that all contents are there and whole in length, unless that is known, and gives them fs-verity where that can be.
 *
 * An image only names its contents: what is missing would be noticed by the container that reads it.
 */
async function checkContents({
  spec,
  verity: mode,
  kind,
  signal,
}: BasePlan): Promise<{ bytes: number; sample: VerityDigest | null; verity: boolean }> {
  let verity = mode !== 'off' && kind === 'composefs'
  let bytes = 0
  let sample: VerityDigest | null = null
  let count = 0
  for (const [digest, size] of contentsOf(spec.tree)) {
    if (++count % SLICE === 0) await new Promise(setImmediate)
    throwIfAborted(signal)
    sample ??= digest
    bytes += Math.ceil(size / BLOCK_BYTES) * BLOCK_BYTES
    const path = spec.objects.path(digest)
    if (verity) verity = protect(path, digest, size)
    else if (!spec.areContentsSeen) checkLength(digest, sizeOf(path, digest), size)
  }
  if (!verity && mode === 'require') throw noVerity()
  return { bytes, sample, verity }
}

/** @returns whether the object has fs-verity now */
function protect(path: string, digest: VerityDigest, size: number): boolean {
  const fd = openOf(path, digest)
  try {
    checkLength(digest, fileSize(path), size)
    if (measureVerity(fd)?.digest !== digest && !enableVerity(fd)) return false
    const measured = measureVerity(fd)?.digest
    if (measured === digest) return true
    throw objectDamaged(digest, `the kernel measures ${measured ?? 'nothing'}`)
  } finally {
    closeSync(fd)
  }
}

function checkLength(digest: VerityDigest, found: number, expected: number): void {
  if (found !== expected) throw objectDamaged(digest, `it has ${found} bytes, the tree says ${expected}`)
}

function writeImage({ directory, spec }: BasePlan, verity: boolean): { bytes: number; verity: boolean } {
  const path = `${directory}/image`
  const fd = openSync(path, 'wx', 0o400)
  let bytes = 0
  try {
    for (const piece of spec.image.chunks()) {
      writeAll(fd, piece)
      bytes += piece.length
    }
    fchmodSync(fd, 0o444)
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
  if (!verity) return { bytes, verity }
  const image = openSync(path, 'r')
  try {
    const enabled = enableVerity(image)
    const measured = measureVerity(image)?.digest ?? null
    if (enabled && measured !== spec.image.digest()) throw damaged(spec.id, spec.image.digest(), measured)
    return { bytes, verity: enabled }
  } finally {
    closeSync(image)
  }
}

/** @returns bytes on disk */
async function writeTree({ directory, spec, signal }: BasePlan): Promise<number> {
  const path = `${directory}/tree`
  await materialise(spec.tree, spec.objects, path, { ignoreOwnership: false, underOverlay: true, signal })
  return (await diskUsageInSlices(path, signal)).bytes
}

function recordTop(root: Directory): RecordedTop {
  const { mode, uid, gid, mtimeSeconds, mtimeNanoseconds, xattrs } = root
  return { mode, uid, gid, mtimeSeconds: String(mtimeSeconds), mtimeNanoseconds, xattrs: [...xattrs] }
}

function objectMissing(object: VerityDigest, cause: unknown): NotFoundError {
  return new NotFoundError('object-missing', `Cannot use object ${object}: it is not in the store`, {
    facts: { object },
    cause,
  })
}

function sizeOf(path: string, digest: VerityDigest): number {
  try {
    return fileSize(path)
  } catch (error) {
    if (isErrno(error, 'ENOENT')) throw objectMissing(digest, error)
    throw error
  }
}

function openOf(path: string, digest: VerityDigest): number {
  try {
    return openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW)
  } catch (error) {
    if (isErrno(error, 'ENOENT')) throw objectMissing(digest, error)
    throw error
  }
}
