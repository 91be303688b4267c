/**
 * Which contents are in `objects/`, for a reader of a layer that asks of each.
 *
 * A look at a directory costs as much as a few questions after single files, so directories are read as long as they are
 * small. What was seen may be gone by now, and what came since is not seen: whoever relies on it looks again.
 */
import { existsSync, opendirSync } from 'node:fs'
import type { VerityDigest } from '../digest.js'
import { isErrno } from '../errors.js'
import { objectName } from '../store/objects.js'

const SMALL_NAMES = 256

export class SeenObjects {
  readonly #objects: string
  /** By the two digits that a directory is named by. */
  readonly #names = new Map<string, ReadonlySet<string>>()
  /** Digests are spread evenly: where one directory is large, all are. */
  #areLarge = false

  /** @param objects the store's `objects/` */
  constructor(objects: string) {
    this.#objects = objects
  }

  has(digest: VerityDigest): boolean {
    if (this.#areLarge) return existsSync(`${this.#objects}/${objectName(digest)}`)
    const prefix = digest.slice(0, 2)
    const known = this.#names.get(prefix)
    if (known !== undefined) return known.has(digest.slice(2))
    const names = namesOf(`${this.#objects}/${prefix}`)
    if (names === null) this.#areLarge = true
    else this.#names.set(prefix, names)
    return this.has(digest)
  }
}

/** Null when there are many. */
function namesOf(directory: string): Set<string> | null {
  const names = new Set<string>()
  try {
    const opened = opendirSync(directory, { bufferSize: SMALL_NAMES })
    try {
      for (let next = opened.readSync(); next !== null; next = opened.readSync()) {
        if (names.add(next.name).size > SMALL_NAMES) return null
      }
    } finally {
      opened.closeSync()
    }
  } catch (error) {
    if (!isErrno(error, 'ENOENT')) throw error
  }
  return names
}
