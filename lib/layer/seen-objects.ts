/**
 * Which contents are in `objects/`, for a reader of a layer that asks of each.
 *
 * A look at a directory costs as much as a few questions after single files, so directories are read as long as they are
 * small. What was seen may be gone by now, and what came since is not seen: whoever relies on it looks again.
 */
import type { VerityDigest } from '../digest.js'
import { isErrno } from '../errors.js'
import { namesIn } from '../linux/names.js'
import { fileSize } from '../linux/stat.js'
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

  /** Whether there is an object of this length: one of another is damaged, and none. */
  has(digest: VerityDigest, size: number): boolean {
    return this.#mayHave(digest) && isOfSize(`${this.#objects}/${objectName(digest)}`, size)
  }

  #mayHave(digest: VerityDigest): boolean {
    if (this.#areLarge) return true
    const prefix = digest.slice(0, 2)
    let names = this.#names.get(prefix)
    if (names === undefined) {
      names = new Set(namesIn(`${this.#objects}/${prefix}`))
      this.#names.set(prefix, names)
      this.#areLarge = names.size > SMALL_NAMES
    }
    return names.has(digest.slice(2))
  }
}

function isOfSize(path: string, size: number): boolean {
  try {
    return fileSize(path) === size
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return false
    throw error
  }
}
