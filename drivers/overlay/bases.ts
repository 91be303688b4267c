/**
 * Bases: for each a directory with what is mounted, `image` or `tree`, and `base.json` with what later calls need to know.
 * base.json is written last: without it, what stands there is half a base.
 */
import {
  closeSync,
  constants,
  fchmodSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readSync,
  writeSync,
} from 'node:fs'
import {
  BASE_ID,
  type BaseId,
  BaseNotes,
  type BaseSpec,
  type BaseUsage,
  contentsOf,
  type Directory,
  diskUsageInSlices,
  enableVerity,
  fileSize,
  IntegrityError,
  isErrno,
  materialise,
  measureVerity,
  NotFoundError,
  namesIn,
  type ObjectReader,
  removeTreeInSlices,
  syncFilesystemOf,
  throwIfAborted,
  UnsupportedError,
  type VerityDigest,
  VerityHasher,
  type VerityMode,
} from '../../lib/driver/kit.js'
import type { BaseKind } from './options.js'

/** What base.json holds. */
export interface Base {
  readonly format: 1
  readonly kind: BaseKind
  /** fs-verity digest of the image; of `tree`, the image that it would be. */
  readonly digest: VerityDigest
  /** Whether image and objects have fs-verity, so that the kernel can hold them to their digests. */
  readonly verity: boolean
  /** One of the objects, by which a mount finds out whether objects still have fs-verity. */
  readonly sample: VerityDigest | null
  /** Bytes of the base itself. */
  readonly bytes: number
  /** Bytes of all contents, in blocks of 4096. */
  readonly contentBytes: number
  /** Metadata of the tree's top, which an overlay takes from its upper directory. */
  readonly top: RecordedTop
}

interface RecordedTop {
  readonly mode: number
  readonly uid: number
  readonly gid: number
  readonly mtimeSeconds: string
  readonly mtimeNanoseconds: number
  /** One char a byte, as in trees. */
  readonly xattrs: readonly (readonly [string, string])[]
}

const BLOCK_BYTES = 4096
const SLICE = 256 // objects between two looks at the signal and the event loop
const READ_BYTES = 1024 * 1024

export class Bases {
  readonly #directory: string
  readonly #objects: ObjectReader
  readonly #notes: BaseNotes<Base>

  constructor(directory: string, objects: ObjectReader) {
    this.#directory = directory
    this.#notes = new BaseNotes(directory)
    this.#objects = objects
  }

  image(id: BaseId): string {
    return `${this.#directory}/${id}/image`
  }

  tree(id: BaseId): string {
    return `${this.#directory}/${id}/tree`
  }

  /** @throws {NotFoundError} `base-missing` */
  read(id: BaseId): Base {
    return this.#notes.read(id)
  }

  /** Makes a base, durable when it returns. Leavings in its place are removed first. */
  async prepare(spec: BaseSpec, kind: BaseKind, verity: VerityMode, signal: AbortSignal): Promise<BaseUsage> {
    await this.remove(spec.id)
    const directory = `${this.#directory}/${spec.id}`
    mkdirSync(directory, { mode: 0o700 })
    const contents = await this.#checkContents(spec, verity, kind, signal)
    const made =
      kind === 'composefs'
        ? this.#writeImage(spec, contents.verity)
        : { bytes: await this.#writeTree(spec, signal), verity: false }
    const base: Base = {
      format: 1,
      kind,
      digest: spec.image.digest(),
      verity: made.verity,
      sample: contents.sample,
      bytes: made.bytes,
      contentBytes: contents.bytes,
      top: recordTop(spec.tree.root),
    }
    if (made.verity || kind === 'directory') syncFilesystemOf(directory)
    this.#notes.write(spec.id, base)
    return { bytes: base.bytes }
  }

  async remove(id: BaseId): Promise<void> {
    this.#notes.forget(id)
    await removeTreeInSlices(`${this.#directory}/${id}`)
  }

  async *list(): AsyncGenerator<BaseId> {
    for (const name of namesIn(this.#directory)) if (BASE_ID.test(name)) yield name as BaseId
  }

  /** @throws {IntegrityError} `base-damaged` when the image is not the one that was made */
  async check(id: BaseId, digest: VerityDigest): Promise<void> {
    // Not what was read when the store was opened: somebody may have changed it since.
    this.#notes.forget(id)
    const base = this.read(id)
    if (base.digest !== digest) throw damaged(id, digest, base.digest)
    if (base.kind !== 'composefs') return
    const found = await digestOfFile(this.image(id))
    if (found !== digest) throw damaged(id, digest, found)
  }

  /**
   * Sees that all contents are there and whole in length, and gives them fs-verity where that can be.
   *
   * An image only names its contents: what is missing would be noticed by the container that reads it.
   */
  async #checkContents(
    spec: BaseSpec,
    mode: VerityMode,
    kind: BaseKind,
    signal: AbortSignal,
  ): Promise<{ bytes: number; sample: VerityDigest | null; verity: boolean }> {
    const contents = contentsOf(spec.tree)
    let verity = mode !== 'off' && kind === 'composefs'
    let bytes = 0
    let sample: VerityDigest | null = null
    let count = 0
    for (const [digest, size] of contents) {
      if (++count % SLICE === 0) await new Promise(setImmediate)
      throwIfAborted(signal)
      sample ??= digest
      bytes += Math.ceil(size / BLOCK_BYTES) * BLOCK_BYTES
      if (verity) verity = this.#protect(digest, size)
      else this.#checkLength(digest, sizeOf(this.#objects.path(digest), digest), size)
    }
    if (!verity && mode === 'require') throw noVerity()
    return { bytes, sample, verity }
  }

  /** @returns whether the object has fs-verity now */
  #protect(digest: VerityDigest, size: number): boolean {
    const path = this.#objects.path(digest)
    const fd = openOf(path, digest)
    try {
      this.#checkLength(digest, fileSize(path), size)
      if (measureVerity(fd)?.digest !== digest && !enableVerity(fd)) return false
      const measured = measureVerity(fd)?.digest
      if (measured === digest) return true
      throw objectDamaged(digest, `the kernel measures ${measured ?? 'nothing'}`)
    } finally {
      closeSync(fd)
    }
  }

  #checkLength(digest: VerityDigest, found: number, expected: number): void {
    if (found !== expected) throw objectDamaged(digest, `it has ${found} bytes, the tree says ${expected}`)
  }

  #writeImage(spec: BaseSpec, verity: boolean): { bytes: number; verity: boolean } {
    const path = this.image(spec.id)
    const fd = openSync(path, 'wx', 0o400)
    let bytes = 0
    try {
      for (const piece of spec.image.chunks()) {
        for (let at = 0; at < piece.length; ) at += writeSync(fd, piece, at)
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

  async #writeTree(spec: BaseSpec, signal: AbortSignal): Promise<number> {
    const path = this.tree(spec.id)
    await materialise(spec.tree, spec.objects, path, { ignoreOwnership: false, underOverlay: true, signal })
    return (await diskUsageInSlices(path, signal)).bytes
  }
}

/** The tree's top alone, as it was. */
export function topOf({ top }: Base): Directory {
  return {
    kind: 'directory',
    mode: top.mode,
    uid: top.uid,
    gid: top.gid,
    mtimeSeconds: BigInt(top.mtimeSeconds),
    mtimeNanoseconds: top.mtimeNanoseconds,
    xattrs: new Map(top.xattrs) as unknown as Directory['xattrs'],
    children: new Map(),
  }
}

function recordTop(root: Directory): RecordedTop {
  const { mode, uid, gid, mtimeSeconds, mtimeNanoseconds, xattrs } = root
  return { mode, uid, gid, mtimeSeconds: String(mtimeSeconds), mtimeNanoseconds, xattrs: [...xattrs] }
}

export function noVerity(): UnsupportedError {
  return new UnsupportedError(
    'verity-unsupported',
    'Cannot require fs-verity: this kernel or the filesystem of the store does not have it; groot check verifies without it',
    { facts: { feature: 'fs-verity' } },
  )
}

export function damaged(id: BaseId, expected: string, found: string | null): IntegrityError {
  const message = `Cannot use base "${id}": its image measures ${found ?? 'nothing'}, ${expected} was made`
  return new IntegrityError('base-damaged', message, { facts: { base: id, expected, found } })
}

export function objectDamaged(object: VerityDigest, cause: string): IntegrityError {
  return new IntegrityError('object-damaged', `Cannot use object ${object}: ${cause}`, {
    facts: { object, cause },
  })
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

async function digestOfFile(path: string): Promise<VerityDigest> {
  const hasher = new VerityHasher()
  const buffer = Buffer.alloc(READ_BYTES)
  const fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW)
  try {
    for (;;) {
      const length = readSync(fd, buffer)
      if (length === 0) return hasher.digest()
      hasher.update(buffer.subarray(0, length))
      await new Promise(setImmediate)
    }
  } finally {
    closeSync(fd)
  }
}
