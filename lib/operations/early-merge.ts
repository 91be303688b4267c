/**
 * Merging the layers of an image while they are still being brought in: each as soon as it is verified and its record is
 * written, in their order. While threads sync and publish what they have read, the tree and the plan of its image are made.
 *
 * It only saves time. Whatever goes wrong here comes up again when the tree is merged from what is in the store, and is told
 * then.
 */
import { closeSync, openSync } from 'node:fs'
import { TreeImage } from '../composefs/tree-image.js'
import type { DiffId } from '../digest.js'
import type { LayerLimits } from '../layer/limits.js'
import type { DroppedXattr } from '../layer/policy.js'
import { replayInSteps } from '../layer/replay.js'
import { runInSlices } from '../linux/slices.js'
import { Merger } from '../tree/merge.js'
import type { Tree } from '../tree/model.js'

/** The tree of an image, and what was seen on the way to it. */
export interface MergedImage {
  readonly tree: Tree
  readonly image: TreeImage
  /** Changes applied over all layers. */
  readonly entries: number
  /** Names of extended attributes that were not taken over, with the number of files that had them. */
  readonly dropped: ReadonlyMap<string, number>
}

export class EarlyMerge implements Disposable {
  readonly #order: readonly DiffId[]
  readonly #limits: LayerLimits
  readonly #signal: AbortSignal
  readonly #ended = new AbortController()
  /** Descriptors of records, open because a record moves when its layer is published. */
  readonly #records = new Map<DiffId, number>()
  readonly #announced = new Set<DiffId>()
  readonly #merging: Promise<MergedImage | null>
  #wake: () => void = () => {}

  /** @param order of the layers, base first */
  constructor(order: readonly DiffId[], limits: LayerLimits, signal: AbortSignal) {
    this.#order = order
    this.#limits = limits
    this.#signal = AbortSignal.any([signal, this.#ended.signal])
    this.#merging = this.#merge().catch(() => null)
  }

  /** A layer is in the store. */
  known(diffId: DiffId, record: string): void {
    this.recorded(diffId, record)
    this.announced(diffId)
  }

  /** The record of a layer is whole, its contents verified. */
  recorded(diffId: DiffId, record: string): void {
    if (this.#ended.signal.aborted || this.#records.has(diffId)) return
    try {
      this.#records.set(diffId, openSync(record, 'r'))
    } catch {
      return // then there is no result
    }
    this.#wake()
  }

  /** Its thread waits for nobody here any more. */
  announced(diffId: DiffId): void {
    this.#announced.add(diffId)
    this.#wake()
  }

  /** All layers are in the store. @returns null when they could not be merged, or one was never told of */
  async result(): Promise<MergedImage | null> {
    if (!this.#order.every((diffId) => this.#records.has(diffId) && this.#announced.has(diffId))) return null
    return await this.#merging
  }

  [Symbol.dispose](): void {
    this.#ended.abort()
    this.#wake()
    for (const fd of this.#records.values()) closeSync(fd)
    this.#records.clear()
  }

  async #merge(): Promise<MergedImage | null> {
    const merger = new Merger(this.#limits)
    const dropped = new Map<string, number>()
    const onDropped = ({ name }: DroppedXattr) => dropped.set(name, (dropped.get(name) ?? 0) + 1)
    for (const [number, diffId] of this.#order.entries()) {
      await this.#until(() => this.#records.has(diffId))
      const path = `/proc/self/fd/${this.#records.get(diffId)}`
      merger.apply(await runInSlices(replayInSteps(path, this.#limits, onDropped), this.#signal), number)
    }
    const tree: Tree = { root: merger.root }
    const image = new TreeImage(tree)
    // Not before: this is done in one go, and whoever wants to announce a record would wait for it.
    await this.#until(() => this.#order.every((diffId) => this.#announced.has(diffId)))
    image.plan()
    return { tree, image, entries: merger.entries, dropped }
  }

  async #until(isSo: () => boolean): Promise<void> {
    while (!isSo()) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
      this.#signal.throwIfAborted()
    }
  }
}
