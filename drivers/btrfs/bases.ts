/**
 * Bases: for each a directory with the subvolume `tree`, read-only, and `base.json` with what later calls need to know.
 * base.json is written last: without it, what stands there is half a base.
 */
import { closeSync, constants, mkdirSync, openSync, readdirSync } from 'node:fs'
import {
  BASE_ID,
  type BaseId,
  BaseNotes,
  type BaseSpec,
  type BaseUsage,
  baseMissing,
  byteString,
  createSnapshot,
  createSubvolume,
  isErrno,
  isGrootError,
  LeftOut,
  type LeftOutKind,
  materialise,
  removeTreeInSlices,
  type SubvolumeLimits,
  setSubvolumeReadOnly,
  syncFilesystem,
  updateTree,
} from '../../lib/driver/kit.js'
import { sizeOf } from './size.js'

/** What base.json holds. */
export interface Base {
  readonly format: 1
  /** Estimated bytes of names and metadata, and of contents that stand among them. */
  readonly bytes: number
  /** Bytes of all contents, in blocks of 4096. */
  readonly contentBytes: number
  /** Whether owners and all that takes privileges were left to the caller's. */
  readonly ignoresOwnership: boolean
  readonly leftOut: readonly LeftOutKind[]
}

const TREE = byteString('tree')

export class Bases {
  readonly #directory: string
  readonly #limits: SubvolumeLimits
  readonly #notes: BaseNotes<Base>

  constructor(directory: string, limits: SubvolumeLimits) {
    this.#directory = directory
    this.#notes = new BaseNotes(directory)
    this.#limits = limits
  }

  tree(id: BaseId): string {
    return `${this.#directory}/${id}/tree`
  }

  /** @throws {NotFoundError} `base-missing` */
  read(id: BaseId): Base {
    return this.#notes.read(id)
  }

  /** A descriptor of the top of a base's subvolume. @throws {NotFoundError} `base-missing` */
  open(id: BaseId): number {
    try {
      return openSync(this.tree(id), constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW)
    } catch (error) {
      if (!isErrno(error, 'ENOENT')) throw error
      this.#notes.forget(id)
      throw baseMissing(id, error)
    }
  }

  /** Makes a base, durable when it returns. Leavings in its place are removed first. */
  async prepare(spec: BaseSpec, signal: AbortSignal): Promise<BaseUsage> {
    await this.remove(spec.id)
    const leftOut = new LeftOut()
    const ignoresOwnership = process.geteuid?.() !== 0
    if (ignoresOwnership || !(await this.#beginFromNear(spec, signal))) {
      await this.#makeDirectory(spec.id, async (directory) => createSubvolume(directory, TREE))
      await materialise(spec.tree, spec.objects, this.tree(spec.id), {
        ignoreOwnership: ignoresOwnership,
        intoEmpty: true,
        signal,
        onSkipped: (what, path, detail) => leftOut.add(what, path, detail),
      })
    }
    const base: Base = {
      format: 1,
      ...sizeOf(spec.tree),
      ignoresOwnership,
      leftOut: leftOut.list(),
    }
    this.#seal(spec.id)
    this.#notes.write(spec.id, base)
    return { bytes: base.bytes }
  }

  async remove(id: BaseId): Promise<void> {
    this.#notes.forget(id)
    const directory = `${this.#directory}/${id}`
    try {
      const fd = this.open(id)
      try {
        this.#limits.release(null, fd)
      } finally {
        closeSync(fd)
      }
    } catch (error) {
      if (!isGrootError(error) || error.code !== 'base-missing') throw error
    }
    await removeTreeInSlices(directory)
  }

  *list(): Generator<BaseId> {
    for (const name of readdirSync(this.#directory)) if (BASE_ID.test(name)) yield name as BaseId
  }

  /** @returns whether the tree stands there now; if not, nothing does */
  async #beginFromNear({ id, tree, objects, near }: BaseSpec, signal: AbortSignal): Promise<boolean> {
    if (near === null) return false
    try {
      this.read(near.id)
      const source = this.open(near.id)
      try {
        await this.#makeDirectory(id, (directory) =>
          createSnapshot(directory, TREE, source, { readOnly: false, groups: null }),
        )
      } finally {
        closeSync(source)
      }
      await updateTree(near.tree, tree, objects, this.tree(id), { ignoreOwnership: false, signal })
      return true
    } catch (error) {
      // The near base only saves work. What is wrong with the image or the machine, the whole tree will meet again.
      if (signal.aborted) throw error
      await this.remove(id)
      return false
    }
  }

  async #makeDirectory(id: BaseId, make: (directory: number) => Promise<void>): Promise<void> {
    const path = `${this.#directory}/${id}`
    mkdirSync(path, { mode: 0o700 })
    const directory = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY)
    try {
      await make(directory)
    } finally {
      closeSync(directory)
    }
  }

  /** One sync for all of the tree, and nobody changes it any more. */
  #seal(id: BaseId): void {
    const fd = this.open(id)
    try {
      setSubvolumeReadOnly(fd, true)
      syncFilesystem(fd)
    } finally {
      closeSync(fd)
    }
  }
}
