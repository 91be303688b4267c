/**
 * The plan of a clean: which images, bases and layers nobody uses, and in which order they go, least recently used first.
 *
 * What depends on something goes before it: an image before its base, a base before its layers. So a layer was last used
 * when the last of those that need it was.
 */
import type { DiffId } from '../digest.js'
import type { Work } from '../linux/slices.js'
import { type BaseId, baseIdOf, unmappedBaseId } from '../store/base-id.js'
import type { CachedImage } from '../store/cached-images.js'
import { objectsOfRecord } from '../store/layer-records.js'
import { isNamed, namesFor, pinFile } from '../store/pins.js'
import type { Roots } from '../store/roots.js'
import type { CleanJob } from './clean-job.js'
import type { Survey, SurveyedBase, SurveyedLayer } from './clean-survey.js'

interface Unused {
  readonly bytes: number
  readonly lastUseMs: number
  /** Of no use to anybody: goes whatever the threshold. */
  readonly isBroken: boolean
}

export type Candidate = Unused &
  (
    | { readonly kind: 'image'; readonly image: CachedImage }
    | { readonly kind: 'base'; readonly base: SurveyedBase }
    | { readonly kind: 'layer'; readonly layer: SurveyedLayer }
  )

const ORDER = { image: 0, base: 1, layer: 2 } as const

/** What must stay, by roots that were just read. */
export interface Uses {
  image(image: CachedImage): boolean
  document(digest: CachedImage['digest']): boolean
  base(id: BaseId): boolean
  layer(diffId: DiffId): boolean
}

/** Tells what must stay. */
export class Judge {
  readonly #images: readonly {
    readonly image: CachedImage
    readonly kept: boolean
    readonly pins: readonly string[]
  }[]
  readonly #readsStore: boolean

  /**
   * @param keep names of images to leave alone
   * @param readsStore whether bundles go on reading bases and objects of the store
   */
  constructor(images: readonly CachedImage[], keep: readonly (readonly string[])[], readsStore: boolean) {
    this.#images = images.map((image) => ({
      image,
      kept: keep.some((names) => isNamed(image, names)),
      pins: namesFor(image).map(pinFile),
    }))
    this.#readsStore = readsStore
  }

  usesBy(roots: Roots): Uses {
    const documents = new Set<string>()
    const layers = new Set<DiffId>()
    const bases = new Set<BaseId>()
    for (const { image, kept, pins } of this.#images) {
      if (!kept && !pins.some((pin) => roots.pins.has(pin))) continue
      for (const { digest } of image.documents) documents.add(digest)
      for (const diffId of image.layers) layers.add(diffId)
      bases.add(baseIdOf(image.layers))
    }
    // Of what cannot be read it is not known what it needs, so nothing that it could need is unused.
    const unknown = roots.damaged.filter(({ needsUnknown }) => needsUnknown)
    const anything = unknown.some(({ what }) => what === 'lease')
    const anyData = anything || (this.#readsStore && unknown.length > 0)
    const isNeeded = (digest: CachedImage['digest']) =>
      anything || documents.has(digest) || roots.documents.has(digest)
    return {
      image: ({ digest }) => isNeeded(digest),
      document: isNeeded,
      base: (id) => {
        const unmapped = unmappedBaseId(id)
        return anyData || bases.has(unmapped) || roots.bases.has(id) || roots.basesAnyMapping.has(unmapped)
      },
      layer: (diffId) => anyData || layers.has(diffId) || roots.layers.has(diffId),
    }
  }
}

/**
 * What is to go, in order.
 *
 * @param target bytes to come down to; null for all that is unused
 */
export function* planEvictions(
  job: CleanJob,
  survey: Survey,
  uses: Uses,
  target: number | null,
): Work<Candidate[]> {
  const candidates = findUnused(survey, uses, Date.now(), job.request.olderThanMs ?? null)
  if (target === null && !job.dryRun) return candidates
  const chosen: Candidate[] = []
  let left = survey.bytes - survey.table.unreferenced().bytes
  for (const candidate of candidates) {
    if (target !== null && left <= target && !candidate.isBroken) continue
    chosen.push(candidate)
    left -= candidate.bytes
    if (candidate.kind === 'layer') left -= yield* bytesOfObjects(job, survey, candidate.layer.diffId)
  }
  return chosen
}

function findUnused(survey: Survey, uses: Uses, now: number, olderThanMs: number | null): Candidate[] {
  const { cache, bases, layers } = survey
  const layerUse = lastUsesOfLayers(survey)
  // A time to come is of a clock that was wrong.
  const at = (lastUseMs: number) => Math.min(lastUseMs, now)
  const found: Candidate[] = []
  for (const image of cache.images) {
    if (uses.image(image)) continue
    const bytes = [...image.documents, ...image.refs].reduce((sum, each) => sum + each.bytes, 0)
    found.push({ kind: 'image', image, bytes, lastUseMs: at(image.lastUseMs), isBroken: false })
  }
  for (const base of bases.values()) {
    if (uses.base(base.id)) continue
    found.push({
      kind: 'base',
      base,
      bytes: base.bytes,
      lastUseMs: at(base.lastUseMs),
      isBroken: isBroken(base, survey),
    })
  }
  for (const layer of layers.values()) {
    if (uses.layer(layer.diffId)) continue
    const lastUseMs = at(layerUse.get(layer.diffId) ?? layer.lastUseMs)
    found.push({ kind: 'layer', layer, bytes: layer.bytes, lastUseMs, isBroken: false })
  }
  return found
    .filter((each) => each.isBroken || olderThanMs === null || now - each.lastUseMs >= olderThanMs)
    .sort((a, b) => rank(a) - rank(b) || ORDER[a.kind] - ORDER[b.kind] || compare(nameOf(a), nameOf(b)))
}

function rank(candidate: Candidate): number {
  return candidate.isBroken ? Number.NEGATIVE_INFINITY : candidate.lastUseMs
}

/** Its record, or that of one of its layers, cannot be read: nobody could make a whole bundle of it. */
function isBroken({ record }: SurveyedBase, { layers, records }: Survey): boolean {
  return record === null || record.layers.some((diffId) => !layers.has(diffId) || records.damaged.has(diffId))
}

function lastUsesOfLayers({ cache, bases, layers }: Survey): ReadonlyMap<DiffId, number> {
  const uses = new Map<DiffId, number>()
  const note = (diffId: DiffId, lastUseMs: number) =>
    uses.set(diffId, Math.max(uses.get(diffId) ?? 0, lastUseMs))
  for (const { diffId, lastUseMs } of layers.values()) note(diffId, lastUseMs)
  for (const image of cache.images) for (const diffId of image.layers) note(diffId, image.lastUseMs)
  for (const base of bases.values()) {
    for (const diffId of base.record?.layers ?? []) note(diffId, base.lastUseMs)
  }
  return uses
}

/** What of a layer nobody else needs; its references are given back. */
function* bytesOfObjects({ store }: CleanJob, { table }: Survey, diffId: DiffId): Work<number> {
  let bytes = 0
  try {
    yield* objectsOfRecord(store.layout.layer(diffId), (digest) => {
      bytes += table.removeReference(digest)
    })
  } catch {
    // Damaged or gone: then it is an estimate of what was readable.
  }
  return bytes
}

export function nameOf(candidate: Candidate): string {
  switch (candidate.kind) {
    case 'image':
      return candidate.image.refs[0]?.reference ?? candidate.image.digest
    case 'base':
      return candidate.base.id
    case 'layer':
      return candidate.layer.diffId
    default:
      return candidate satisfies never
  }
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}
