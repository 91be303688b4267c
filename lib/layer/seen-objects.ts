/**
 * Which contents are in `objects/`, for a reader of a layer that asks of each.
 *
 * A look at a directory costs as much as some questions after single files, so directories are read as long as they are
 * small, and not for the first few contents. What was seen may be gone by now, and what came since is not seen: whoever
 * relies on it looks again.
 */
import type { ByteString } from '../bytes.js'
import type { VerityDigest } from '../digest.js'
import { type CString, cString, pathString } from '../linux/c-string.js'
import { close, openDirectory } from '../linux/files.js'
import { namesIn } from '../linux/names.js'
import { fileSizeAt } from '../linux/stat.js'
import { objectName } from '../store/objects.js'

const SMALL_NAMES = 256
const FEW_QUESTIONS = 64

export class SeenObjects implements Disposable {
  readonly #objects: string
  /** Opened when the first length is asked for. */
  #directory: number | null = null
  /** The name that is asked for, made once: there are thousands. */
  #name: CString | null = null
  /** By the two digits that a directory is named by. */
  readonly #names = new Map<string, ReadonlySet<string>>()
  /** Digests are spread evenly: where one directory is large, all are. */
  #areLarge = false
  #questions = 0

  /** @param objects the store's `objects/` */
  constructor(objects: string) {
    this.#objects = objects
  }

  /** Whether there is an object of this length: one of another is damaged, and none. */
  has(digest: VerityDigest, size: number): boolean {
    return this.#mayHave(digest) && this.#size(digest) === size
  }

  [Symbol.dispose](): void {
    if (this.#directory !== null) close(this.#directory)
    this.#directory = null
  }

  /** Null where there is none. */
  #size(digest: VerityDigest): number | null {
    this.#directory ??= openDirectory(pathString(this.#objects))
    const name = objectName(digest) as ByteString
    this.#name ??= cString(name)
    this.#name.write(name, 0, 'latin1')
    return fileSizeAt(this.#directory, this.#name)
  }

  #mayHave(digest: VerityDigest): boolean {
    if (this.#areLarge || this.#questions++ < FEW_QUESTIONS) return true
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
