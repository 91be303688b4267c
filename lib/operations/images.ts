/**
 * images: which images the store has, what they take, and who uses them. Waits for nobody and changes nothing.
 *
 * Something damaged is told as a warning and does not hide the rest.
 */
import { formatPlatform } from '../image/platform.js'
import { runInSlices, type Work } from '../linux/slices.js'
import { type BaseId, baseIdOf, unmappedBaseId } from '../store/base-id.js'
import { listBaseIds, readBase } from '../store/bases.js'
import { listBundleIds, readBundle } from '../store/bundles.js'
import { type CachedImage, type ImageCache, readImageCache } from '../store/cached-images.js'
import { type Extra, measureImages } from '../store/image-bytes.js'
import type { StoreLayout } from '../store/layout.js'
import { listPins, namesFor, pinFile, readPin } from '../store/pins.js'
import { statOf } from '../store/record-watch.js'
import type { CallOptions, ImageSummary } from './api.js'
import { eventSink, signalOf } from './call.js'
import type { OpenedStore } from './opened-store.js'

const LATEST_MS = 8.64e15 // of what Date holds; filesystems have later times

/** Tells of something that cannot be read. */
type OnDamage = (what: 'image' | 'layer' | 'base' | 'bundle' | 'pin', name: string, error: unknown) => void

/** All whole images, by name in byte order; those without a name last, by digest. */
export async function listImages(store: OpenedStore, options: CallOptions): Promise<ImageSummary[]> {
  const { layout } = store
  const signal = signalOf(options)
  const events = eventSink(options)
  const onDamage: OnDamage = (what, name, error) => {
    const message = `The ${what} "${name}" is left out: ${error instanceof Error ? error.message : String(error)}`
    events({ kind: 'warning', code: 'record-damaged', message, facts: { what, name } })
  }
  const cache = await runInSlices(readImageCache(layout), signal)
  const images = wholeImages(cache, onDamage)
  const bases = await runInSlices(basesOf(layout, images, onDamage), signal)
  const sizesOfBases = new Map([...bases].map(([id, { sizes }]) => [id, sizes]))
  const measured = await runInSlices(measureImages(layout, images, sizesOfBases), signal)
  for (const [diffId, error] of measured.damaged) onDamage('layer', diffId, error)
  const bundles = await runInSlices(countBundles(layout, onDamage), signal)
  const isPinned = pinTest(layout, onDamage)

  const summaries = images.map((image, index): ImageSummary => {
    const { total, own } = measured.images[index]!
    return {
      digest: image.digest,
      references: [...new Set(image.refs.map(({ reference }) => reference))].sort(),
      platform: image.platform === null ? null : formatPlatform(image.platform),
      tree: bases.get(baseIdOf(image.layers))?.digest ?? null,
      complete: image.layers.every((diffId) => measured.layers.has(diffId)),
      totalBytes: total,
      sharedBytes: total - own,
      ownBytes: own,
      lastUsedAt: new Date(Math.min(image.lastUseMs, LATEST_MS)).toISOString(),
      pinned: isPinned(image),
      bundles: bundles.get(image.digest) ?? 0,
    }
  })
  return summaries.sort((a, b) => compare(sortKey(a), sortKey(b)))
}

function wholeImages(cache: ImageCache, onDamage: OnDamage): CachedImage[] {
  for (const { name } of cache.damagedRefs) onDamage('image', name, new Error('its name leads to no image'))
  const whole: CachedImage[] = []
  for (const image of cache.images) {
    if (image.damage !== null) onDamage('image', image.digest, image.damage)
    else if (image.platform !== null) whole.push(image)
    else if (image.isManifest) onDamage('image', image.digest, new Error('its config is missing'))
  }
  return whole
}

interface BasesOfImage {
  /** One for each mapping of owners. */
  readonly sizes: Extra[]
  /** Of the image's own tree. */
  digest: string | null
}

/** Bases of images, by the id without a mapping. */
function* basesOf(
  layout: StoreLayout,
  images: readonly CachedImage[],
  onDamage: OnDamage,
): Work<ReadonlyMap<BaseId, BasesOfImage>> {
  const found = new Map<BaseId, BasesOfImage>()
  for (const { layers } of images) found.set(baseIdOf(layers), { sizes: [], digest: null })
  for (const id of listBaseIds(layout)) {
    const bases = found.get(unmappedBaseId(id))
    if (bases === undefined) continue
    try {
      const stat = statOf(layout.base(id))
      const record = stat === null ? null : readBase(layout, id)
      if (stat !== null && record !== null) {
        bases.sizes.push({ name: id, bytes: Number(stat.blocks) * 512 + record.bytes })
        bases.digest = record.digest
      }
    } catch (error) {
      onDamage('base', id, error)
    }
    yield
  }
  return found
}

/** How many bundles were made from each image. */
function* countBundles(layout: StoreLayout, onDamage: OnDamage): Work<ReadonlyMap<string, number>> {
  const found = new Map<string, number>()
  for (const id of listBundleIds(layout)) {
    try {
      const digest = readBundle(layout, id)?.image.digest
      if (digest !== undefined) found.set(digest, (found.get(digest) ?? 0) + 1)
    } catch (error) {
      onDamage('bundle', id, error)
    }
    yield
  }
  return found
}

/** A pin holds what its name means now, and what it meant when it was pinned. */
function pinTest(layout: StoreLayout, onDamage: OnDamage): (image: CachedImage) => boolean {
  const files = new Set(listPins(layout))
  const documents = new Set<string>()
  for (const file of files) {
    try {
      for (const image of readPin(layout, file)?.images ?? [])
        for (const digest of image.documents) documents.add(digest)
    } catch (error) {
      // By its file name it holds all the same.
      onDamage('pin', file, error)
    }
  }
  return (image) => documents.has(image.digest) || namesFor(image).some((name) => files.has(pinFile(name)))
}

function sortKey({ references, digest }: ImageSummary): string {
  return references[0] ?? `\u{10ffff}${digest}`
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}
