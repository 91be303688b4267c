/**
 * One clean while it runs: what it has to do with, and what it has done so far.
 */
import { type GrootError, toGrootError } from '../errors.js'
import type { EventSink } from '../events.js'
import type { LockRequest } from '../locks/locks.js'
import type { CleanedItem, CleanReport, CleanRequest, SkippedItem } from './api.js'
import { eventSink, lockRequest, signalOf } from './call.js'
import type { OpenedStore } from './opened-store.js'

const MAX_SKIPPED_OBJECTS = 100 // a disk that fails fails for all of them

export class CleanJob {
  readonly store: OpenedStore
  readonly request: CleanRequest
  readonly locking: LockRequest
  readonly signal: AbortSignal
  readonly events: EventSink
  readonly dryRun: boolean
  complete = true
  readonly #until: number
  readonly #removed: CleanedItem[] = []
  readonly #skipped: SkippedItem[] = []
  #freedBytes = 0
  #objects = 0
  #skippedObjects = 0

  constructor(store: OpenedStore, request: CleanRequest) {
    this.store = store
    this.request = request
    this.locking = lockRequest(request)
    this.signal = signalOf(request)
    this.events = eventSink(request)
    this.dryRun = request.dryRun ?? false
    this.#until = performance.now() + (request.maxDurationMs ?? Number.POSITIVE_INFINITY)
  }

  /** Whether the time is up; the report says so from then on. */
  isOver(): boolean {
    if (performance.now() < this.#until) return false
    this.complete = false
    return true
  }

  removed(item: CleanedItem): void {
    this.#removed.push(item)
    this.#freedBytes += item.bytes
    this.events({ kind: 'clean-removed', ...item })
  }

  removedObjects(count: number, bytes: number): void {
    this.#objects += count
    this.#freedBytes += bytes
  }

  /** @throws the error itself when it says that the work was stopped */
  failed(what: SkippedItem['what'], name: string, thrown: unknown): void {
    const error = toGrootError(thrown, `Cannot remove ${what} "${name}"`)
    if (error.kind === 'aborted') throw error
    if (what === 'object' && ++this.#skippedObjects > MAX_SKIPPED_OBJECTS) return
    this.skipped(what, name, error.code, error.message)
  }

  skipped(
    what: SkippedItem['what'],
    name: string,
    code: GrootError['code'] | 'stray-file',
    message: string,
  ): void {
    if (this.#skipped.some((item) => item.what === what && item.name === name && item.code === code)) return
    this.#skipped.push({ what, name, code, message })
  }

  report(rest: Pick<CleanReport, 'bytes' | 'thresholdBytes' | 'belowThreshold' | 'pinned'>): CleanReport {
    return {
      dryRun: this.dryRun,
      ...rest,
      freedBytes: this.#freedBytes,
      objects: this.#objects,
      removed: this.#removed,
      skipped: this.#skipped,
      complete: this.complete,
    }
  }
}
