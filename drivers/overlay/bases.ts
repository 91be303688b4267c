/**
 * Bases: for each a directory with what is mounted, `image` or `tree`, and `base.json` with what later calls need to know.
 * base.json is written last: without it, what stands there is half a base.
 */
import { closeSync } from 'node:fs'
import {
  BASE_ID,
  type BaseId,
  BaseNotes,
  type BaseSpec,
  type BaseUsage,
  baseDamaged,
  type Directory,
  IntegrityError,
  namesIn,
  removeTreeInSlices,
  UnsupportedError,
  type VerityDigest,
  type VerityMode,
} from '../../lib/driver/kit.js'
import { digestInSlices, openBaseImage } from './base-image.js'
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

export interface RecordedTop {
  readonly mode: number
  readonly uid: number
  readonly gid: number
  readonly mtimeSeconds: string
  readonly mtimeNanoseconds: number
  /** One char a byte, as in trees. */
  readonly xattrs: readonly (readonly [string, string])[]
}

export class Bases {
  readonly #directory: string
  readonly #notes: BaseNotes<Base>

  constructor(directory: string) {
    this.#directory = directory
    this.#notes = new BaseNotes(directory)
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
    // Seldom needed, and much to load.
    const { makeBase } = await import('./make-base.js')
    const base = await makeBase({ directory: `${this.#directory}/${spec.id}`, spec, kind, verity, signal })
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

  /** @throws {IntegrityError} `base-damaged` when the image is gone, or not the one that was made */
  async check(id: BaseId, digest: VerityDigest): Promise<void> {
    // Not what was read when the store was opened: somebody may have changed it since.
    this.#notes.forget(id)
    const base = this.read(id)
    if (base.digest !== digest) throw damaged(id, digest, base.digest)
    if (base.kind !== 'composefs') return
    const image = openBaseImage(this.image(id), id, base)
    try {
      const found = await digestInSlices(image)
      if (found !== digest) throw damaged(id, digest, found)
    } finally {
      closeSync(image)
    }
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

export function noVerity(): UnsupportedError {
  return new UnsupportedError(
    'verity-unsupported',
    'Cannot require fs-verity: this kernel or the filesystem of the store does not have it; groot check verifies without it',
    { facts: { feature: 'fs-verity' } },
  )
}

export function damaged(id: BaseId, expected: string, found: string | null): IntegrityError {
  const why = `its image measures ${found ?? 'nothing'}, ${expected} was made`
  return baseDamaged(id, why, { facts: { expected, found } })
}

export function objectDamaged(object: VerityDigest, cause: string): IntegrityError {
  return new IntegrityError('object-damaged', `Cannot use object ${object}: ${cause}`, {
    facts: { object, cause },
  })
}
