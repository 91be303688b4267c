/**
 * The layers of an image: bringing in those that the store lacks, and merging what it has into a tree.
 */
import { existsSync } from 'node:fs'
import type { DiffId } from '../digest.js'
import { AbortedError, BugError, isGrootError } from '../errors.js'
import type { EventSink } from '../events.js'
import { layerCompression } from '../image/media-types.js'
import { DroppedXattrs } from '../layer/dropped-xattrs.js'
import type { IngestResult } from '../layer/ingest.js'
import type { LayerLimits } from '../layer/limits.js'
import { replayLayer } from '../layer/replay.js'
import { LinkedSignal } from '../linked-signal.js'
import { syncDirectory } from '../linux/sync.js'
import { isSyncing } from '../linux/sync-mode.js'
import type { LockRequest } from '../locks/locks.js'
import { SharedHold } from '../locks/shared-hold.js'
import type { BlobContent, ImageLayer, ImageSource, ResolvedImage } from '../sources/source.js'
import type { Lease } from '../store/leases.js'
import { announcedPath, announceRecord, stagedRecord } from '../store/publishing.js'
import { Merger } from '../tree/merge.js'
import type { Tree } from '../tree/model.js'
import type { JobRunner } from '../worker/pool.js'
import type { EarlyMerge } from './early-merge.js'
import type { OpenedStore } from './opened-store.js'

export interface IngestContext {
  readonly lease: Lease
  readonly limits: LayerLimits
  readonly events: EventSink
  readonly signal: AbortSignal
  readonly locking: LockRequest
  /** Told of each layer when it is known or read. */
  readonly early?: EarlyMerge
  /** Whether there is enough to read beside the largest layer to share the work. Default false. */
  readonly isShared?: boolean
  /** The gc lock, for all layers that come at the same time. */
  readonly announcing?: SharedHold
  /** Opened when the first missing layer needs it: a cached image needs no source. */
  source(): Promise<ImageSource>
}

/**
 * Ingests all layers that the store lacks, as many at once as there are threads. The first failure ends the others.
 *
 * @returns whether that was all of them
 */
export async function ingestMissingLayers(
  store: OpenedStore,
  image: ResolvedImage,
  context: IngestContext,
): Promise<boolean> {
  const failed = new AbortController()
  using linked = new LinkedSignal([context.signal, failed.signal])
  const { signal } = linked
  const each = new Map(image.layers.map((layer) => [layer.diffId, layer]))
  const isShared = isWorthSharing(store, [...each.values()])
  const announcing = new SharedHold(() => store.locks.gc({ ...context.locking, signal }))
  const ingests = [...each.values()].map(async (layer) => {
    try {
      return await ingestIfMissing(store, layer, {
        ...context,
        isShared,
        announcing,
        signal,
        locking: { ...context.locking, signal },
      })
    } catch (error) {
      // The first failure is the reason that the others report; theirs would only say that they were aborted.
      failed.abort(error)
      throw error
    }
  })
  const results = await Promise.allSettled(ingests)
  // What comes next needs the memory.
  store.workers.trim()
  if (results.some((result) => result.status === 'rejected')) throw failed.signal.reason
  const wasMissing = results.map((result) => result.status === 'fulfilled' && result.value)
  // One for all layers, with their contents, where that is enough.
  if (store.isOrdered && wasMissing.includes(true)) syncDirectory(store.layout.layers)
  return !wasMissing.includes(false)
}

/**
 * The tree of an image whose layers are all in the store.
 *
 * @throws {ImageError} when the layers do not fit on each other
 * @throws {IntegrityError} `layer-damaged`
 */
export function mergeImage(
  store: OpenedStore,
  diffIds: readonly DiffId[],
  limits: LayerLimits,
  events: EventSink,
): Tree {
  const merger = new Merger(limits)
  const dropped = new DroppedXattrs()
  diffIds.forEach((diffId, number) => {
    const changes = replayLayer(store.layout.layer(diffId), limits, ({ name }) => dropped.add(name))
    merger.apply(changes, number)
  })
  tellOfMerge(merger.entries, dropped, events)
  return { root: merger.root }
}

/** Says what came of a merge. */
export function tellOfMerge(entries: number, dropped: DroppedXattrs, events: EventSink): void {
  const warn = (message: string, facts: { name: string | null; count: number }) =>
    events({ kind: 'warning', code: 'xattr-dropped', message, facts })
  for (const [name, count] of dropped.counts) {
    const files = `${count} file${count === 1 ? '' : 's'}`
    warn(`The extended attribute ${JSON.stringify(name)} of ${files} is not taken over`, { name, count })
  }
  const { others: count } = dropped
  if (count > 0)
    warn(`${count} extended attributes of further names are not taken over`, { name: null, count })
  events({ kind: 'tree-merged', entries })
}

/** @returns whether it was missing */
async function ingestIfMissing(
  store: OpenedStore,
  layer: ImageLayer,
  context: IngestContext,
): Promise<boolean> {
  const { diffId, descriptor } = layer
  const record = store.layout.layer(diffId)
  if (!existsSync(record)) {
    context.events({ kind: 'layer-queued', diffId, digest: descriptor.digest, bytes: descriptor.size })
    await using lock = await store.locks.layer(diffId, context.locking)
    // Again, now that nobody else is reading it: who held the lock may have brought it.
    if (!existsSync(record)) {
      using linked = new LinkedSignal([context.signal, lock.lost])
      await ingest(store, layer, record, { ...context, signal: linked.signal })
      return true
    }
  }
  context.early?.known(diffId, record)
  context.events({ kind: 'layer-known', diffId })
  return false
}

/** Reads a layer again that the store has: its record and all its contents are replaced, none is taken for good. */
export async function fetchLayerAgain(
  store: OpenedStore,
  layer: ImageLayer,
  context: IngestContext,
): Promise<void> {
  await using lock = await store.locks.layer(layer.diffId, context.locking)
  using linked = new LinkedSignal([context.signal, lock.lost])
  const record = store.layout.layer(layer.diffId)
  const result = await readLayer(store, layer, record, false, {
    ...context,
    signal: linked.signal,
  })
  if (result === null) throw new BugError('Cannot bring in a layer: contents of its own were taken away')
  if (store.isOrdered) syncDirectory(store.layout.layers)
  context.events({ kind: 'layer-done', diffId: layer.diffId, ...result })
}

async function ingest(
  store: OpenedStore,
  layer: ImageLayer,
  record: string,
  context: IngestContext,
): Promise<void> {
  // Contents that the store has are used as they are; if clean takes one of them meanwhile, all are written.
  const result =
    (await readLayer(store, layer, record, true, context)) ??
    (await readLayer(store, layer, record, false, context))
  if (result === null) throw new BugError('Cannot bring in a layer: contents of its own were taken away')
  context.events({ kind: 'layer-done', diffId: layer.diffId, ...result })
}

/** Reads a layer from wherever its source has it: bytes that are not what they should be are asked for elsewhere. */
async function readLayer(
  store: OpenedStore,
  layer: ImageLayer,
  record: string,
  reuse: boolean,
  context: IngestContext,
): Promise<IngestResult | null> {
  const source = await context.source()
  const name = `${layer.diffId.replace(':', '-')}${reuse ? '' : '-again'}`
  for (let number = 1; ; number++) {
    const over = new AbortController()
    const blob = await source.openBlob(layer, AbortSignal.any([context.signal, over.signal]))
    const staging = `${context.lease.staging()}/${number === 1 ? name : `${name}-${number}`}`
    try {
      return await readBlob(store, layer, blob, { record, staging, reuse, over }, context)
    } catch (error) {
      const isOther =
        isGrootError(error) && (error.code === 'digest-mismatch' || error.code === 'size-mismatch')
      if (!isOther || blob.kind === 'file' || blob.refuse === undefined) throw error
      const final = blob.refuse(error)
      if (final !== null) throw final
    }
  }
}

/** Why a blob that was read is let go of; made once, as an error costs more than all else that this does. */
const OVER = new AbortedError()

/** What is read in the time that handing it to a thread takes; and what it may expand to keeps nobody waiting for long. */
const SMALL_LAYER_BYTES = 64 * 1024
const WRITERS_OF_THREAD = 1 // beside other threads
const WRITERS_ALONE = 4

/** Whether what is missing beside the largest layer is more than half of that. */
function isWorthSharing({ layout }: OpenedStore, layers: readonly ImageLayer[]): boolean {
  const missing = layers.filter(({ diffId }) => !existsSync(layout.layer(diffId)))
  const sizes = missing.map(({ descriptor }) => descriptor.size)
  const largest = Math.max(0, ...sizes)
  return sizes.reduce((sum, size) => sum + size, -largest) > largest / 2
}

/** Who reads a layer: where there are several large ones, threads do, beside each other. */
async function readerOf(
  store: OpenedStore,
  { descriptor }: ImageLayer,
  { isShared = false }: IngestContext,
): Promise<{ runner: JobRunner; writers: number }> {
  const { pool, here } = await store.workers.crew()
  const isHere = descriptor.size <= SMALL_LAYER_BYTES || (store.isAlone && !isShared)
  return isHere ? { runner: here, writers: WRITERS_ALONE } : { runner: pool, writers: WRITERS_OF_THREAD }
}

async function readBlob(
  store: OpenedStore,
  layer: ImageLayer,
  blob: BlobContent,
  {
    record,
    staging,
    reuse,
    over,
  }: { record: string; staging: string; reuse: boolean; over: AbortController },
  context: IngestContext,
): Promise<IngestResult | null> {
  const { layout } = store
  const { diffId, descriptor } = layer
  const { early, announcing = new SharedHold(() => store.locks.gc(context.locking)) } = context
  context.events({ kind: 'layer-start', diffId, bytes: descriptor.size })
  const announced = announcedPath(layout, context.lease.id, diffId)
  const { runner, writers } = await readerOf(store, layer, context)
  return await runner.run(
    {
      kind: 'ingest',
      blob: blob.kind === 'file' ? blob : { kind: 'stream' },
      request: {
        digest: descriptor.digest,
        size: descriptor.size,
        compression: layerCompression(descriptor.mediaType),
        diffId,
        objects: layout.objects,
        record,
        staging,
        announced,
        generation: layout.generation,
        reuse,
        writers,
        limits: context.limits,
        sync: isSyncing(),
        isOrdered: store.isOrdered,
      },
    },
    {
      signal: context.signal,
      onProgress: (bytes) => context.events({ kind: 'layer-progress', diffId, bytes, of: descriptor.size }),
      onRecording: () => early?.recording(diffId, stagedRecord(staging)),
      onRecorded: () => early?.recorded(diffId, stagedRecord(staging)),
      onChanges: early && ((changes, dropped) => early.read(diffId, changes, dropped)),
      // Who has the gc lock never waits for another, so it may be taken while the layer's is held.
      announce: () =>
        announcing.run(() => {
          const generation = announceRecord(layout, stagedRecord(staging), announced)
          early?.announced(diffId)
          return generation
        }),
      onStreamOver: () => over.abort(OVER),
      ...(blob.kind === 'stream' ? { stream: blob.chunks } : {}),
    },
  )
}
