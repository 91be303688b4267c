/**
 * Sweeping: objects that no layer needs are taken away, while others create.
 *
 * The lock is held for a few milliseconds at a time, and let go for longer when somebody waits for it. Under it, in this
 * order: layers that came since the mark are looked for, and if there are any they are marked without the lock first; the
 * generation is raised; objects that are still not marked are removed, large ones by way of the trash. generation.ts and
 * publishing.ts say why no layer loses an object that way.
 */
import { setImmediate, setTimeout } from 'node:timers/promises'
import type { VerityDigest } from '../digest.js'
import { throwIfAborted } from '../errors.js'
import { runInSlices } from '../linux/slices.js'
import type { Lock } from '../locks/locks.js'
import { raiseGeneration } from './generation.js'
import type { LayerRecords } from './layer-records.js'
import type { StoreLayout } from './layout.js'
import type { ObjectTable } from './object-table.js'
import { objectName } from './objects.js'
import { condemn, removeTrashed } from './trash.js'

const HOLD_MS = 2
const YIELD_MS = 15 // who waits for a lock looks again after at most twice the time that it has waited

export interface Sweep {
  readonly layout: StoreLayout
  /** Objects on disk; what is needed is marked. */
  readonly table: ObjectTable
  /** Those that the marks were made from. */
  readonly records: LayerRecords
  readonly signal: AbortSignal
  lockGc(): Promise<Lock>
  /** Whether the time is up: asked between batches. */
  isOver(): boolean
  onRemoved(count: number, bytes: number): void
  /** One object that cannot be removed does not keep the others. */
  onFailed(digest: VerityDigest, error: unknown): void
}

/** @returns false when it stopped because the time was up */
export async function sweepObjects(sweep: Sweep): Promise<boolean> {
  const candidates = sweep.table.unmarked()
  // Outside of the lock: the first one takes longest.
  let next = candidates.next()
  while (next.done !== true) {
    throwIfAborted(sweep.signal)
    if (sweep.isOver()) return false
    const batch = new Batch(sweep)
    let isWanted: boolean
    {
      await using gc = await sweep.lockGc()
      const unread = sweep.records.unread()
      if (unread.length === 0) {
        raiseGeneration(sweep.layout.generation)
        const until = performance.now() + HOLD_MS
        do {
          batch.take(next.value)
          next = candidates.next()
        } while (next.done !== true && performance.now() < until)
      } else {
        batch.unread = unread
      }
      isWanted = gc.isWanted()
    }
    await batch.finish()
    await leaveRoom(isWanted)
  }
  return true
}

/** Lets those take a lock who want it. */
export async function leaveRoom(isWanted: boolean): Promise<void> {
  if (isWanted) await setTimeout(YIELD_MS)
  else await setImmediate()
}

/** What was done under the lock, and is finished without it. */
class Batch {
  unread: ReturnType<LayerRecords['unread']> = []
  readonly #sweep: Sweep
  readonly #trashed: { readonly digest: VerityDigest; readonly path: string; readonly bytes: number }[] = []

  constructor(sweep: Sweep) {
    this.#sweep = sweep
  }

  take({ digest, bytes }: { readonly digest: VerityDigest; readonly bytes: number }): void {
    const { layout, table, onRemoved, onFailed } = this.#sweep
    if (table.isMarked(digest)) return
    try {
      const path = `${layout.objects}/${objectName(digest)}`
      const condemned = condemn(layout, path, `object-${digest}`, bytes)
      if (condemned.kind === 'removed') onRemoved(1, bytes)
      if (condemned.kind === 'trashed') this.#trashed.push({ digest, path: condemned.path, bytes })
    } catch (error) {
      onFailed(digest, error)
    }
  }

  async finish(): Promise<void> {
    const { table, records, signal, onRemoved, onFailed } = this.#sweep
    if (this.unread.length > 0) {
      await runInSlices(
        records.read(this.unread, (digest) => table.mark(digest)),
        signal,
      )
    }
    for (const { digest, path, bytes } of this.#trashed) {
      try {
        await removeTrashed(path)
        onRemoved(1, bytes)
      } catch (error) {
        onFailed(digest, error)
      }
    }
  }
}
