/**
 * Carrying out the plan: under the gc lock, for a few milliseconds at a time, what is still unused is moved to the trash;
 * without it, what was moved is removed.
 */
import { randomBytes } from 'node:crypto'
import type { DiffId, Digest } from '../digest.js'
import type { Driver } from '../driver/contract.js'
import { throwIfAborted } from '../errors.js'
import { runInSlices } from '../linux/slices.js'
import { syncDirectory } from '../linux/sync.js'
import type { Lock, LockScope } from '../locks/locks.js'
import type { BaseId } from '../store/base-id.js'
import { readBase } from '../store/bases.js'
import { identityOf, RecordWatch, statOf } from '../store/record-watch.js'
import type { RootReader } from '../store/roots.js'
import { leaveRoom } from '../store/sweep.js'
import { condemn, removeTrashed } from '../store/trash.js'
import type { CleanedItem } from './api.js'
import type { CleanJob } from './clean-job.js'
import { driverOf, ifFree } from './clean-leavings.js'
import { type Candidate, type Judge, nameOf, type Uses } from './clean-plan.js'
import { baseOfFile, type Survey } from './clean-survey.js'

const HOLD_MS = 2

export class Eviction {
  readonly #job: CleanJob
  readonly #roots: RootReader
  readonly #judge: Judge
  readonly #bases: RecordWatch<readonly DiffId[]>
  /** What the bases need that are there; null when it has to be looked up. */
  #basedLayers: ReadonlySet<DiffId> | null = null
  /** How many images of the cache need a document. */
  readonly #documents = new Map<Digest, number>()

  constructor(job: CleanJob, survey: Survey, roots: RootReader, judge: Judge) {
    const { layout } = job.store
    this.#job = job
    this.#roots = roots
    this.#judge = judge
    this.#bases = new RecordWatch(
      layout.bases,
      (name) => baseOfFile(name) !== null,
      (name) => readBase(layout, baseOfFile(name) as BaseId)?.layers ?? null,
    )
    for (const { documents } of survey.cache.images) {
      for (const { digest } of documents) this.#documents.set(digest, (this.#documents.get(digest) ?? 0) + 1)
    }
  }

  /** Removes what of the candidates is still unused, in their order. */
  async run(candidates: readonly Candidate[]): Promise<void> {
    const { layout } = this.#job.store
    // Read once without the lock, so that under it only what changed is read.
    await runInSlices(this.#bases.prime(), this.#job.signal)
    for (let at = 0; at < candidates.length; ) {
      throwIfAborted(this.#job.signal)
      if (this.#job.isOver()) break
      const batch = new Batch(this.#job)
      const isWanted = await batch.hold(async (scope) => {
        const until = performance.now() + HOLD_MS
        const uses = this.#judge.usesBy(this.#roots.read())
        // After the roots: who makes a base now has a lease that was just read.
        this.#basedLayers = null
        do {
          await this.#takeOut(candidates[at++]!, uses, scope, batch)
        } while (at < candidates.length && performance.now() < until)
      })
      await batch.finish()
      await leaveRoom(isWanted)
    }
    // Before objects go: after a power cut there must be no record whose objects are gone.
    if (candidates.length > 0) syncDirectory(layout.layers)
  }

  async #takeOut(candidate: Candidate, uses: Uses, scope: LockScope, batch: Batch): Promise<void> {
    try {
      switch (candidate.kind) {
        case 'image':
          return this.#takeImage(candidate, uses, batch)
        case 'base':
          return await this.#takeBase(candidate, uses, scope, batch)
        case 'layer':
          return this.#takeLayer(candidate, uses, batch)
        default:
          candidate satisfies never
      }
    } catch (error) {
      this.#job.failed(candidate.kind, nameOf(candidate), error)
    }
  }

  #takeImage({ image, ...candidate }: Candidate & { kind: 'image' }, uses: Uses, batch: Batch): void {
    if (uses.image(image)) return
    const { layout } = this.#job.store
    const item = batch.item('image', nameOf({ ...candidate, image }))
    for (const ref of image.refs) {
      const path = `${layout.refs}/${ref.name}`
      const stat = statOf(path)
      // The name may mean another image by now.
      if (stat !== null && identityOf(stat) === ref.identity) item.condemn(path, ref.bytes)
    }
    for (const { digest, bytes } of image.documents) {
      const needed = (this.#documents.get(digest) ?? 1) - 1
      this.#documents.set(digest, needed)
      if (needed === 0 && !uses.document(digest)) item.condemn(layout.blob(digest), bytes)
    }
  }

  async #takeBase(
    { base }: Candidate & { kind: 'base' },
    uses: Uses,
    scope: LockScope,
    batch: Batch,
  ): Promise<void> {
    if (uses.base(base.id)) return
    const driver = driverOf(this.#job)
    if (driver === null) return
    // Until the driver is done with it: nobody shall make it again meanwhile. In a branch, as several are held at once; none
    // is waited for, so nobody can be waited for in a circle.
    const lock = await ifFree(scope.branch().base(base.id, { timeoutMs: 0, signal: this.#job.signal }))
    if (lock === null) return
    batch.keep(lock)
    const { layout } = this.#job.store
    const item = batch.item('base', base.id)
    if (item.condemn(layout.base(base.id), base.bytes)) item.goesWith(driver, base.id)
    this.#basedLayers = null
  }

  #layersOfBases(): ReadonlySet<DiffId> {
    if (this.#basedLayers === null) {
      const values = [...this.#bases.refresh().values()]
      this.#basedLayers = new Set(values.flatMap(({ seen }) => (seen.kind === 'read' ? seen.value : [])))
    }
    return this.#basedLayers
  }

  #takeLayer({ layer, bytes }: Candidate & { kind: 'layer' }, uses: Uses, batch: Batch): void {
    if (uses.layer(layer.diffId)) return
    // A base may have come since the survey, or be still there: without its layers it would be of no use.
    if (this.#layersOfBases().has(layer.diffId)) return
    batch.item('layer', layer.diffId).condemn(this.#job.store.layout.layer(layer.diffId), bytes)
  }
}

/** What goes under one holding of the lock. */
class Batch {
  readonly #job: CleanJob
  readonly #items: Item[] = []
  readonly #locks: Lock[] = []

  constructor(job: CleanJob) {
    this.#job = job
  }

  item(what: CleanedItem['what'], name: string): Item {
    const item = new Item(this.#job, what, name)
    this.#items.push(item)
    return item
  }

  /** Keeps a lock until the batch is finished. */
  keep(lock: Lock): void {
    this.#locks.push(lock)
  }

  /** Works under the gc lock. @returns whether somebody waited for it */
  async hold(work: (scope: LockScope) => Promise<void>): Promise<boolean> {
    const scope = this.#job.store.locks.scope()
    await using gc = await scope.gc(this.#job.locking)
    try {
      await work(scope)
    } catch (error) {
      await this.#release()
      throw error
    }
    return gc.isWanted()
  }

  async finish(): Promise<void> {
    try {
      // Before their data go: a record that comes back after a power cut must not lead to nothing.
      if (this.#locks.length > 0) syncDirectory(this.#job.store.layout.bases)
      for (const item of this.#items) await item.finish()
    } finally {
      await this.#release()
    }
  }

  async #release(): Promise<void> {
    for (const lock of this.#locks.splice(0)) await lock.release()
  }
}

/** One thing that goes: its files, and what the driver has of it. What another clean has taken away is told by that one. */
export class Item {
  readonly #job: CleanJob
  readonly #what: CleanedItem['what']
  readonly #name: string
  readonly #trashed: string[] = []
  #bytes = 0
  #isGone = false
  #base: { readonly driver: Driver; readonly id: BaseId } | null = null

  constructor(job: CleanJob, what: CleanedItem['what'], name: string) {
    this.#job = job
    this.#what = what
    this.#name = name
  }

  /** @returns whether it was there */
  condemn(path: string, bytes: number): boolean {
    const name = `${this.#what}-${randomBytes(8).toString('hex')}`
    const condemned = condemn(this.#job.store.layout, path, name)
    if (condemned.kind === 'missing') return false
    if (condemned.kind === 'trashed') this.#trashed.push(condemned.path)
    this.#bytes += bytes
    this.#isGone = true
    return true
  }

  /** What the driver has of a base goes too. */
  goesWith(driver: Driver, id: BaseId): void {
    this.#base = { driver, id }
  }

  async finish(): Promise<void> {
    if (!this.#isGone) return
    try {
      await this.#base?.driver.removeBase(this.#base.id)
      for (const path of this.#trashed) await removeTrashed(path, this.#job.signal)
      this.#job.removed({ what: this.#what, name: this.#name, bytes: this.#bytes })
    } catch (error) {
      this.#job.failed(this.#what, this.#name, error)
    }
  }
}
