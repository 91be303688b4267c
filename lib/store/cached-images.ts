/**
 * What the image cache holds: each image with its documents, the names that led to it, its layers and its last use.
 *
 * Documents are verified as they are read. One that is damaged, or that no image needs, stands for itself.
 */
import type { BigIntStats } from 'node:fs'
import type { DiffId, Digest } from '../digest.js'
import { isGrootError } from '../errors.js'
import { parseConfig } from '../image/config.js'
import { MAX_DOCUMENT_BYTES } from '../image/json.js'
import { type Manifest, parseManifest } from '../image/manifest.js'
import type { Platform } from '../image/platform.js'
import { namesIn } from '../linux/names.js'
import type { Work } from '../linux/slices.js'
import * as field from './fields.js'
import { readBlob } from './images.js'
import { digestOfFileName, type StoreLayout } from './layout.js'
import { identityOf, statOf } from './record-watch.js'
import { readRecord } from './records.js'

export interface CachedRef {
  /** File name in `images/refs/`. */
  readonly name: string
  /** What was asked for, in full form. */
  readonly reference: string
  readonly bytes: number
  readonly identity: string
}

export interface CachedImage {
  /** Of the manifest; of the document itself where it is no manifest. */
  readonly digest: Digest
  /** Manifest and config, as far as they are there. */
  readonly documents: readonly { readonly digest: Digest; readonly bytes: number }[]
  /** Base first; none where manifest or config are missing or damaged. */
  readonly layers: readonly DiffId[]
  readonly refs: readonly CachedRef[]
  /** What the config says that it is for; null where manifest or config are missing or damaged. */
  readonly platform: Platform | null
  /** Whether the document is a manifest: a config that no manifest needs is none. */
  readonly isManifest: boolean
  /** Milliseconds since the epoch. */
  readonly lastUseMs: number
  /** Why a document cannot be read; null when all is well. */
  readonly damage: Error | null
}

export interface ImageCache {
  readonly images: readonly CachedImage[]
  /** File names in `images/refs/` that cannot be read, and their bytes. They lead nowhere. */
  readonly damagedRefs: readonly { readonly name: string; readonly bytes: number }[]
  /** Names in `images/` that are no documents. */
  readonly strays: readonly string[]
}

/** Whether a name in `images/refs/` cannot be read, or means an image whose manifest is gone. */
export function leadsNowhere(layout: StoreLayout, name: string): boolean {
  const ref = readRef(`${layout.refs}/${name}`)
  return ref === null || statOf(layout.blob(ref.digest)) === null
}

export function* readImageCache(layout: StoreLayout): Work<ImageCache> {
  const { refs, damagedRefs } = yield* readRefs(layout)
  const documents = new Map<Digest, Document>()
  const strays: string[] = []
  for (const name of namesIn(layout.images)) {
    if (name === 'refs' || name.startsWith('.tmp-')) continue
    const digest = digestOfFileName(name) as Digest | null
    const stat = digest === null ? null : statOf(layout.blob(digest))
    if (digest === null || (stat !== null && !stat.isFile())) strays.push(name)
    else if (stat !== null) {
      const document = readDocument(layout, digest, stat)
      if (document !== null) documents.set(digest, document)
    }
    yield
  }
  const configs = new Set([...documents.values()].map(({ manifest }) => manifest?.config.digest))
  const images: CachedImage[] = []
  for (const document of documents.values()) {
    // A config goes with the images that need it.
    if (document.manifest === null && configs.has(document.digest)) continue
    const config = document.manifest === null ? undefined : documents.get(document.manifest.config.digest)
    images.push(imageOf(layout, document, config, refs.get(document.digest) ?? []))
    yield
  }
  // Names of images whose manifest is gone lead nowhere.
  const lost = [...refs].flatMap(([digest, each]) => (documents.has(digest) ? [] : each))
  return { images, damagedRefs: [...damagedRefs, ...lost], strays }
}

interface Document {
  readonly digest: Digest
  readonly bytes: number
  readonly mtimeMs: number
  readonly manifest: Manifest | null
  readonly damage: Error | null
}

/** Null for what was removed meanwhile. */
function readDocument(layout: StoreLayout, digest: Digest, stat: BigIntStats): Document | null {
  const document = { digest, bytes: Number(stat.blocks) * 512, mtimeMs: Number(stat.mtimeMs) }
  if (stat.size > BigInt(MAX_DOCUMENT_BYTES)) {
    const damage = new Error(`it has ${stat.size} bytes, no document has more than ${MAX_DOCUMENT_BYTES}`)
    return { ...document, manifest: null, damage }
  }
  try {
    const bytes = readBlob(layout, digest)
    if (bytes === null) return null
    return { ...document, manifest: manifestOf(bytes), damage: null }
  } catch (error) {
    return { ...document, manifest: null, damage: error as Error }
  }
}

/** Configs stand in the same place: what does not parse as a manifest is none. */
function manifestOf(bytes: Uint8Array): Manifest | null {
  try {
    return parseManifest(bytes)
  } catch (error) {
    if (isGrootError(error)) return null
    throw error
  }
}

function imageOf(
  layout: StoreLayout,
  manifest: Document,
  config: Document | undefined,
  refs: readonly ReadRef[],
): CachedImage {
  const documents = [manifest, ...(config === undefined ? [] : [config])]
  let layers: readonly DiffId[] = []
  let platform: Platform | null = null
  let damage = manifest.damage ?? config?.damage ?? null
  try {
    const bytes = config === undefined || damage !== null ? null : readBlob(layout, config.digest)
    if (bytes !== null) {
      const { diffIds, os, architecture, variant } = parseConfig(bytes)
      layers = diffIds
      platform = { os, architecture, ...(variant === undefined ? {} : { variant }) }
    }
  } catch (error) {
    damage = error as Error
  }
  return {
    digest: manifest.digest,
    documents: documents.map(({ digest, bytes }) => ({ digest, bytes })),
    layers,
    refs: refs.map(({ name, reference, bytes, identity }) => ({ name, reference, bytes, identity })),
    platform,
    isManifest: manifest.manifest !== null,
    lastUseMs: Math.max(manifest.mtimeMs, ...refs.map(({ mtimeMs }) => mtimeMs)),
    damage,
  }
}

interface ReadRef extends CachedRef {
  readonly mtimeMs: number
}

interface Refs {
  readonly refs: ReadonlyMap<Digest, readonly ReadRef[]>
  readonly damagedRefs: readonly { readonly name: string; readonly bytes: number }[]
}

function* readRefs(layout: StoreLayout): Work<Refs> {
  const refs = new Map<Digest, ReadRef[]>()
  const damagedRefs: { name: string; bytes: number }[] = []
  for (const name of namesIn(layout.refs)) {
    if (name.startsWith('.tmp-')) continue
    const path = `${layout.refs}/${name}`
    const stat = statOf(path)
    if (stat === null) continue
    const bytes = Number(stat.blocks) * 512
    const ref = stat.isFile() ? readRef(path) : null
    if (ref === null) damagedRefs.push({ name, bytes })
    else {
      const { digest, reference } = ref
      const read = { name, reference, bytes, identity: identityOf(stat), mtimeMs: Number(stat.mtimeMs) }
      refs.set(digest, [...(refs.get(digest) ?? []), read])
    }
    yield
  }
  return { refs, damagedRefs }
}

function readRef(path: string): { readonly digest: Digest; readonly reference: string } | null {
  try {
    return readRecord(path, (value) => {
      const raw = field.object(value, 'ref')
      return {
        digest: field.digest(raw.digest, 'digest'),
        reference: field.string(raw.reference, 'reference'),
      }
    })
  } catch (error) {
    if (isGrootError(error)) return null
    throw error
  }
}
