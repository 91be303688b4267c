/**
 * Roots: what must stay because somebody needs it. Live leases, bundle records and pins; what they say, not what they
 * lead to.
 *
 * Read again and again under the gc lock, so only what may have changed is read. A record that cannot be read never makes
 * something look unused: what it might have needed is looked for elsewhere, and else it is said that it is unknown.
 */
import { readFileSync } from 'node:fs'
import type { DiffId, Digest } from '../digest.js'
import { parseConfig } from '../image/config.js'
import { namesIn } from '../linux/names.js'
import type { Work } from '../linux/slices.js'
import { type BaseId, baseIdOf, unmappedBaseId } from './base-id.js'
import { BUNDLE_ID, type BundleId } from './bundle-id.js'
import * as field from './fields.js'
import type { StoreLayout } from './layout.js'
import { isPinFile, readPin } from './pins.js'
import { RecordWatch, type Seen } from './record-watch.js'
import { readRecord } from './records.js'
import { bundleOfTrashed } from './trash.js'

/** What one root asks for. */
export interface Needs {
  /** Manifests and configs. */
  readonly documents: readonly Digest[]
  readonly layers: readonly DiffId[]
  readonly base: BaseId | null
  /** Whether all bases of the same layers are asked for, whatever their id mapping. Default false. */
  readonly anyMapping?: true
}

export interface BundleRoot extends Needs {
  readonly id: BundleId
}

/** A record that could not be read. */
export interface DamagedRoot {
  readonly what: 'bundle' | 'lease' | 'pin'
  readonly name: string
  readonly error: unknown
  /** Whether anything in the store may be needed by it. */
  readonly needsUnknown: boolean
}

export interface Roots {
  readonly documents: ReadonlySet<Digest>
  readonly layers: ReadonlySet<DiffId>
  readonly bases: ReadonlySet<BaseId>
  /** Those that are needed with all that differ from them by their id mapping only, as unmappedBaseId has them. */
  readonly basesAnyMapping: ReadonlySet<BaseId>
  /** Files of pins, see pinFile. */
  readonly pins: ReadonlySet<string>
  readonly bundles: readonly BundleRoot[]
  readonly damaged: readonly DamagedRoot[]
}

export class RootReader {
  readonly #layout: StoreLayout
  readonly #isGone: (what: 'lease' | 'bundle', name: string) => boolean
  readonly #leases: RecordWatch<Needs>
  readonly #bundles: RecordWatch<BundleRoot>
  readonly #trashed: RecordWatch<BundleRoot>
  readonly #pins: RecordWatch<readonly Needs[]>
  readonly #orphans: BundleRoot[] = []

  /** @param isGone whether a lease is dead, and whether a bundle that is being deleted counts as deleted */
  constructor(
    layout: StoreLayout,
    isGone: (what: 'lease' | 'bundle', name: string) => boolean = () => false,
  ) {
    this.#layout = layout
    this.#isGone = isGone
    this.#leases = new RecordWatch(layout.leases, isRecord, (name) =>
      readRecord(`${layout.leases}/${name}`, parseLease),
    )
    this.#bundles = new RecordWatch(
      layout.records,
      (name) => isRecord(name) && BUNDLE_ID.test(idOf(name)),
      (name) => readRecord(`${layout.records}/${name}`, (value) => parseBundle(value, idOf(name))),
    )
    this.#trashed = new RecordWatch(
      layout.trash,
      (name) => bundleOfTrashed(name) !== null,
      (name) =>
        readRecord(`${layout.trash}/${name}`, (value) => parseBundle(value, bundleOfTrashed(name) ?? '')),
    )
    this.#pins = new RecordWatch(layout.pins, isPinFile, (name) => {
      const pin = readPin(layout, name)
      return pin === null ? null : pin.images.map(pinned)
    })
  }

  /**
   * Counts a bundle that has lost its record as one: it could not be removed, so something may be using it. What it needs
   * its files say, if they say anything.
   */
  addOrphan(id: BundleId): void {
    const needs = needsOfFiles(this.#layout, id)
    if (needs !== null) this.#orphans.push(needs)
  }

  /** Reads all records for the first time, as work that may be interrupted. */
  *prime(): Work<void> {
    for (const watch of [this.#leases, this.#bundles, this.#trashed, this.#pins]) yield* watch.prime()
  }

  /** All roots as they are now. Under the gc lock nothing that is found to be unused comes into use: see Lease.need. */
  read(): Roots {
    const roots = new Gathered()
    // Leases first: an operation lets go of its lease after its bundle has its record.
    for (const [name, { seen }] of this.#leases.refresh()) {
      if (this.#isGone('lease', idOf(name))) continue
      if (seen.kind === 'read') roots.add(seen.value)
      else roots.damaged.push({ what: 'lease', name: idOf(name), error: seen.error, needsUnknown: true })
    }
    for (const [name, { seen }] of this.#bundles.refresh()) this.#addBundle(roots, idOf(name), seen)
    this.#addTrashed(roots)
    for (const orphan of this.#orphans) roots.addBundle(orphan)
    for (const [name, { seen }] of this.#pins.refresh()) {
      roots.pins.add(name)
      if (seen.kind === 'read') for (const image of seen.value) roots.add(image)
      else roots.damaged.push({ what: 'pin', name, error: seen.error, needsUnknown: false })
    }
    return roots
  }

  /** Bundles that are being deleted, and still there: their rootfs may be in use. */
  #addTrashed(roots: Gathered): void {
    const trashed = this.#trashed.refresh()
    if (trashed.size === 0) return
    const present = new Set(namesIn(this.#layout.bundles))
    for (const { seen } of trashed.values()) {
      if (seen.kind !== 'read' || this.#isGone('bundle', seen.value.id)) continue
      if (present.has(seen.value.id)) roots.addBundle(seen.value)
    }
  }

  #addBundle(roots: Gathered, id: string, seen: Seen<BundleRoot>): void {
    if (seen.kind === 'read') return roots.addBundle(seen.value)
    const needs = needsOfFiles(this.#layout, id as BundleId)
    if (needs !== null) roots.addBundle(needs)
    roots.damaged.push({ what: 'bundle', name: id, error: seen.error, needsUnknown: needs === null })
  }
}

class Gathered implements Roots {
  readonly documents = new Set<Digest>()
  readonly layers = new Set<DiffId>()
  readonly bases = new Set<BaseId>()
  readonly basesAnyMapping = new Set<BaseId>()
  readonly pins = new Set<string>()
  readonly bundles: BundleRoot[] = []
  readonly damaged: DamagedRoot[] = []

  add({ documents, layers, base, anyMapping }: Needs): void {
    for (const digest of documents) this.documents.add(digest)
    for (const diffId of layers) this.layers.add(diffId)
    if (base === null) return
    this.bases.add(base)
    if (anyMapping === true) this.basesAnyMapping.add(unmappedBaseId(base))
  }

  addBundle(bundle: BundleRoot): void {
    this.add(bundle)
    this.bundles.push(bundle)
  }
}

/** A pin says nothing of id mappings, so none of the image's bases goes. */
function pinned(image: Pick<Needs, 'documents' | 'layers'>): Needs {
  return { ...image, base: baseIdOf(image.layers), anyMapping: true }
}

/**
 * What a bundle needs, by its image.json: the copy of the image's config. It may have been altered, so it can make things
 * stay and nothing else.
 */
function needsOfFiles(layout: StoreLayout, id: BundleId): BundleRoot | null {
  try {
    const layers = parseConfig(readFileSync(`${layout.bundle(id)}/image.json`)).diffIds
    return { id, documents: [], layers, base: baseIdOf(layers), anyMapping: true }
  } catch {
    // Whatever is wrong with it: then it is not known.
    return null
  }
}

/** Fields of leases, as far as they matter here: a newer version may write more. */
function parseLease(value: unknown): Needs {
  const raw = field.object(value, 'lease')
  field.format(raw)
  const needs = field.object(raw.needs, 'needs')
  const documents = [needs.image, needs.config].filter((each) => each !== undefined)
  return {
    documents: documents.map((each) => field.digest(each, 'needs.image')),
    layers: needs.layers === undefined ? [] : field.list(needs.layers, 'needs.layers', diffId),
    base: field.optional(needs.base, (each) => field.string(each, 'needs.base') as BaseId),
  }
}

/** Fields of bundle records, as far as they matter here. */
function parseBundle(value: unknown, id: string): BundleRoot {
  const raw = field.object(value, 'bundle')
  const image = field.object(raw.image, 'image')
  const layers = field.list(raw.layers, 'layers', diffId)
  return {
    id: id as BundleId,
    documents: [field.digest(image.digest, 'image.digest'), field.digest(image.config, 'image.config')],
    layers,
    base: field.optional(raw.base, (each) => field.string(each, 'base') as BaseId),
  }
}

function diffId(value: unknown, name: string): DiffId {
  return field.digest(value, name) as DiffId
}

function isRecord(name: string): boolean {
  return name.endsWith('.json') && !name.startsWith('.tmp-')
}

function idOf(name: string): string {
  return name.slice(0, -'.json'.length)
}
