/**
 * Bases: for each a directory with the subvolume `tree`, read-only, and `base.json` with what later calls need to know.
 * base.json is written last: without it, what stands there is half a base.
 */
import {
  closeSync,
  constants,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  writeFileSync,
} from 'node:fs'
import {
  BASE_ID,
  type BaseId,
  type BaseSpec,
  type BaseUsage,
  byteString,
  createSnapshot,
  createSubvolume,
  isErrno,
  isGrootError,
  materialise,
  NotFoundError,
  removeTreeInSlices,
  type SubvolumeLimits,
  setSubvolumeReadOnly,
  syncDirectory,
  syncFilesystem,
  updateTree,
} from '../../lib/driver/kit.js'
import { LeftOut, type LeftOutKind } from './left-out.js'
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
  // What a base is never changes, and warm creates should not read it again and again.
  readonly #known = new Map<BaseId, Base>()

  constructor(directory: string, limits: SubvolumeLimits) {
    this.#directory = directory
    this.#limits = limits
  }

  tree(id: BaseId): string {
    return `${this.#directory}/${id}/tree`
  }

  /** @throws {NotFoundError} `base-missing` */
  read(id: BaseId): Base {
    const known = this.#known.get(id)
    if (known !== undefined) return known
    let text: string
    try {
      text = readFileSync(this.#file(id), 'utf8')
    } catch (error) {
      if (!isErrno(error, 'ENOENT')) throw error
      throw missing(id, error)
    }
    const base = JSON.parse(text) as Base
    this.#known.set(id, base)
    return base
  }

  /** A descriptor of the top of a base's subvolume. @throws {NotFoundError} `base-missing` */
  open(id: BaseId): number {
    try {
      return openSync(this.tree(id), constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW)
    } catch (error) {
      if (!isErrno(error, 'ENOENT')) throw error
      this.#known.delete(id)
      throw missing(id, error)
    }
  }

  /** Makes a base, durable when it returns. Leavings in its place are removed first. */
  async prepare(spec: BaseSpec, signal: AbortSignal): Promise<BaseUsage> {
    await this.remove(spec.id)
    const leftOut = new LeftOut()
    const ignoresOwnership = process.geteuid?.() !== 0
    if (ignoresOwnership || !(await this.#beginFromNear(spec, signal))) {
      this.#makeDirectory(spec.id, (directory) => createSubvolume(directory, TREE))
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
    writeSynced(this.#file(spec.id), JSON.stringify(base))
    syncDirectory(`${this.#directory}/${spec.id}`)
    syncDirectory(this.#directory)
    return { bytes: base.bytes }
  }

  async remove(id: BaseId): Promise<void> {
    this.#known.delete(id)
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
        this.#makeDirectory(id, (directory) =>
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

  #makeDirectory(id: BaseId, make: (directory: number) => void): void {
    const path = `${this.#directory}/${id}`
    mkdirSync(path, { mode: 0o700 })
    const directory = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY)
    try {
      make(directory)
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

  #file(id: BaseId): string {
    return `${this.#directory}/${id}/base.json`
  }
}

function missing(id: BaseId, cause: unknown): NotFoundError {
  return new NotFoundError('base-missing', `Cannot use base "${id}": the driver does not have it`, {
    facts: { base: id },
    cause,
  })
}

function writeSynced(path: string, text: string): void {
  const fd = openSync(path, 'wx', 0o600)
  try {
    writeFileSync(fd, text)
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
}
