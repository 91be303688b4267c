/**
 * Reading which objects the layers need: from the records in `layers/`, and from those that are being published.
 *
 * A record is read once; it is another record when it is another file. One that cannot be read is remembered as damaged,
 * with what it named before the damage.
 */
import type { DiffId, VerityDigest } from '../digest.js'
import { isErrno } from '../errors.js'
import { scanRecord } from '../layer/record.js'
import { namesIn } from '../linux/names.js'
import type { Work } from '../linux/slices.js'
import { digestOfFileName, type StoreLayout } from './layout.js'
import { listAnnounced } from './publishing.js'
import { DirectoryWatch, identityOf, statOf } from './record-watch.js'

/** A record that was not read yet. */
export interface UnreadRecord {
  readonly diffId: DiffId
  readonly path: string
  readonly identity: string
}

export class LayerRecords {
  readonly #layout: StoreLayout
  readonly #watch: DirectoryWatch
  readonly #read = new Set<string>()
  readonly #damaged = new Map<DiffId, unknown>()

  constructor(layout: StoreLayout) {
    this.#layout = layout
    this.#watch = new DirectoryWatch(layout.layers)
  }

  /** What was wrong with those that could not be read. */
  get damaged(): ReadonlyMap<DiffId, unknown> {
    return this.#damaged
  }

  /** Records that are there now and were not read. Quick, for use under the gc lock. */
  unread(): UnreadRecord[] {
    // In this order: a record moves from the first place to the second, and must not be missed in both.
    const found = listAnnounced(this.#layout).flatMap((name) =>
      this.#ifUnread(`${this.#layout.publishing}/${name}`, name.slice(name.indexOf('.') + 1)),
    )
    if (this.#watch.mayHaveChanged()) {
      for (const name of namesIn(this.#layout.layers))
        found.push(...this.#ifUnread(`${this.#layout.layers}/${name}`, name))
    }
    return found
  }

  /** Reads records, and names their objects; some of them more than once. */
  *read(records: readonly UnreadRecord[], onObject: (digest: VerityDigest) => void): Work<void> {
    for (const { diffId, path, identity } of records) {
      try {
        yield* objectsOfRecord(path, onObject)
        this.#damaged.delete(diffId)
      } catch (error) {
        // Published or removed meanwhile: if it is there, it is found again in its new place.
        if (isErrno(error, 'ENOENT')) continue
        this.#damaged.set(diffId, error)
      }
      this.#read.add(identity)
    }
  }

  #ifUnread(path: string, name: string): UnreadRecord[] {
    const diffId = digestOfFileName(name) as DiffId | null
    if (diffId === null) return []
    const stat = statOf(path)
    if (stat === null || !stat.isFile()) return []
    const identity = identityOf(stat)
    return this.#read.has(identity) ? [] : [{ diffId, path, identity }]
  }
}

/** Names every object of a record, as often as it does. Throws what readRecord throws, after what came before the damage. */
export function* objectsOfRecord(path: string, onObject: (digest: VerityDigest) => void): Work<void> {
  yield* scanRecord(path, {
    raw: () => {},
    content: (content) => {
      if (content.kind === 'object') onObject(content.digest)
    },
  })
}
