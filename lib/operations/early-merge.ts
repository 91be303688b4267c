/**
 * Merging the layers of an image while they are still being brought in: their records are read as they grow, in the order of
 * the layers. While threads sync and publish what they have read, the tree and the plan of its image are made. Of a layer
 * that is not verified in the end there is no result.
 *
 * It only saves time. Whatever goes wrong here comes up again when the tree is merged from what is in the store, and is told
 * then.
 */
import { closeSync, openSync } from 'node:fs'
import { setImmediate } from 'node:timers/promises'
import { TreeImage } from '../composefs/tree-image.js'
import type { DiffId } from '../digest.js'
import { DroppedXattrs } from '../layer/dropped-xattrs.js'
import type { LayerLimits } from '../layer/limits.js'
import { replayInSteps } from '../layer/replay.js'
import { LinkedSignal } from '../linked-signal.js'
import { runInSlices, type Work } from '../linux/slices.js'
import type { LayerChange } from '../tree/change.js'
import { Merger } from '../tree/merge.js'
import type { Tree } from '../tree/model.js'

/** The tree of an image, and what was seen on the way to it. */
export interface MergedImage {
  readonly tree: Tree
  readonly image: TreeImage
  /** Changes applied over all layers. */
  readonly entries: number
  readonly dropped: DroppedXattrs
}

/** A record that is being written, or is whole. */
interface Growing {
  readonly path: string
  /** Stays open because a record moves when its layer is published. */
  readonly fd: number
  /** That can be read. */
  blocks: number
  isWhole: boolean
}

/** What a layer does to the tree, and what is not taken over of it. */
interface LayerWork {
  readonly changes: readonly LayerChange[]
  readonly dropped: DroppedXattrs
}

export class EarlyMerge implements Disposable {
  readonly #order: readonly DiffId[]
  readonly #limits: LayerLimits
  readonly #linked: LinkedSignal
  readonly #ended = new AbortController()
  readonly #records = new Map<DiffId, Growing>()
  readonly #announced = new Set<DiffId>()
  /** Of layers that were read on this thread. */
  readonly #changes = new Map<DiffId, LayerWork>()
  readonly #merging: Promise<MergedImage | null>
  #wake: () => void = () => {}

  /** @param order of the layers, base first */
  constructor(order: readonly DiffId[], limits: LayerLimits, signal: AbortSignal) {
    this.#order = order
    this.#limits = limits
    this.#linked = new LinkedSignal([signal, this.#ended.signal])
    this.#merging = this.#merge().catch(() => null)
  }

  /** A layer is in the store. */
  known(diffId: DiffId, record: string): void {
    this.recorded(diffId, record)
    this.announced(diffId)
  }

  /** The record of a layer has a further block. */
  recording(diffId: DiffId, record: string): void {
    const growing = this.#growing(diffId, record)
    if (growing === null) return
    growing.blocks++
    this.#wake()
  }

  /** The record of a layer is whole, its contents verified. */
  recorded(diffId: DiffId, record: string): void {
    const growing = this.#growing(diffId, record)
    if (growing === null) return
    growing.isWhole = true
    this.#wake()
  }

  /** A layer was read on this thread, and is verified. */
  read(diffId: DiffId, changes: readonly LayerChange[], dropped: DroppedXattrs): void {
    this.#changes.set(diffId, { changes, dropped })
    this.#wake()
  }

  /** Its thread waits for nobody here any more. */
  announced(diffId: DiffId): void {
    this.#announced.add(diffId)
    this.#wake()
  }

  /** All layers are in the store. @returns null when they could not be merged, or one was never told of */
  async result(): Promise<MergedImage | null> {
    const isTold = (diffId: DiffId) =>
      this.#changes.has(diffId) ||
      (this.#records.get(diffId)?.isWhole === true && this.#announced.has(diffId))
    if (!this.#order.every(isTold)) return null
    return await this.#merging
  }

  [Symbol.dispose](): void {
    this.#ended.abort()
    this.#linked[Symbol.dispose]()
    this.#wake()
    for (const { fd } of this.#records.values()) closeSync(fd)
    this.#records.clear()
  }

  /** Null when there will be no result. */
  #growing(diffId: DiffId, path: string): Growing | null {
    if (this.#ended.signal.aborted) return null
    const known = this.#records.get(diffId)
    if (known?.path === path) return known
    // A layer that is read again, from elsewhere: what was merged of the first record is worth nothing.
    const fd = known === undefined ? openOrNull(path) : null
    if (fd === null) {
      this.#ended.abort()
      this.#wake()
      return null
    }
    const growing = { path, fd, blocks: 0, isWhole: false }
    this.#records.set(diffId, growing)
    return growing
  }

  async #merge(): Promise<MergedImage | null> {
    const merger = new Merger(this.#limits)
    const dropped = new DroppedXattrs()
    const apply = (changes: readonly LayerChange[], number: number) =>
      runInSlices(merger.applyInSteps(changes, number), this.#linked.signal)
    for (const [number, diffId] of this.#order.entries()) {
      await this.#until(() => this.#records.has(diffId) || this.#changes.has(diffId))
      const read = this.#changes.get(diffId)
      if (read !== undefined) {
        dropped.addAll(read.dropped)
        await apply(read.changes, number)
        continue
      }
      const growing = this.#records.get(diffId)!
      const onDropped = ({ name }: { name: string }) => dropped.add(name)
      const replay = replayInSteps(`/proc/self/fd/${growing.fd}`, this.#limits, onDropped)
      await apply(await this.#runAsItGrows(replay, growing), number)
    }
    const tree: Tree = { root: merger.root }
    const image = new TreeImage(tree)
    // Not before: this is done in one go, and whoever wants to announce a record would wait for it. Layers that are read here
    // are being synced now, for which nobody is needed.
    const waitsForNobody = (diffId: DiffId) => this.#announced.has(diffId) || this.#changes.has(diffId)
    await this.#until(() => this.#order.every(waitsForNobody))
    image.plan()
    return { tree, image, entries: merger.entries, dropped }
  }

  async #runAsItGrows<T>(replay: Work<T>, growing: Growing): Promise<T> {
    try {
      for (let read = 0; ; read++) {
        await this.#until(() => growing.isWhole || growing.blocks > read)
        if (growing.isWhole) return await runInSlices(replay, this.#linked.signal)
        replay.next()
        await setImmediate()
      }
    } finally {
      replay.return(undefined as T)
    }
  }

  async #until(isSo: () => boolean): Promise<void> {
    while (!isSo()) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
      this.#linked.signal.throwIfAborted()
    }
  }
}

function openOrNull(path: string): number | null {
  try {
    return openSync(path, 'r')
  } catch {
    return null
  }
}
