/**
 * Bringing an image into the store: what create, digest and pull begin with.
 */
import { existsSync } from 'node:fs'
import type { DiffId, Digest } from '../digest.js'
import { isGrootError, NotFoundError } from '../errors.js'
import type { EventSink } from '../events.js'
import type { IdMapping } from '../ids/mapping.js'
import { hostPlatform, type Platform, parsePlatform } from '../image/platform.js'
import { DEFAULT_LIMITS, type LayerLimits } from '../layer/limits.js'
import type { LockRequest } from '../locks/locks.js'
import { openSource } from '../sources/open.js'
import type { ImageSource, ResolvedImage } from '../sources/source.js'
import { baseIdOf } from '../store/base-id.js'
import { cachedImage, keepImage, wasResolved } from '../store/images.js'
import type { Lease } from '../store/leases.js'
import type { CallOptions, CreateRequest, PullPolicy } from './api.js'
import { eventSink, lockRequest, signalOf } from './call.js'
import type { MergedImage } from './early-merge.js'
import type { OpenedStore } from './opened-store.js'
import { type RegistryOptions, registryHosts } from './registry-hosts.js'

/** What of a request says which image is meant and how to get it. */
export type ImageRequest = CallOptions &
  RegistryOptions &
  Pick<CreateRequest, 'image' | 'platform' | 'limits' | 'pull'>

/** The same, understood. */
export interface ImagePlan {
  readonly platform: Platform
  readonly limits: LayerLimits
  readonly pull: PullPolicy
  readonly events: EventSink
  readonly signal: AbortSignal
  readonly locking: LockRequest
  /** Which of the image's bases is needed; null for that with owners as the image has them. */
  readonly mapping: IdMapping | null
  /** Looks at the image before anything else of it is fetched; throws when it will not do. */
  readonly admit?: (image: ResolvedImage) => void
}

/** Without a mapping: whose needs one looks it up. @throws {UsageError} `platform-invalid`, `option-invalid` */
export function planImage(request: ImageRequest): ImagePlan {
  return {
    platform: request.platform === undefined ? hostPlatform(process.arch) : parsePlatform(request.platform),
    limits: { ...DEFAULT_LIMITS, ...request.limits },
    pull: request.pull ?? 'missing',
    events: eventSink(request),
    signal: signalOf(request),
    locking: lockRequest(request),
    mapping: null,
  }
}

export interface FetchedImage {
  readonly image: ResolvedImage
  readonly layers: readonly DiffId[]
  /** Merged while the layers came; null when that was not needed, or did not work. */
  readonly merged: MergedImage | null
  /** Whether all layers came just now, and with them a look at each content. */
  readonly areContentsSeen: boolean
}

/**
 * Resolves an image and brings in the layers that the store lacks. The lease says that the image is needed, so that nothing
 * of it goes away while it lives.
 *
 * @param bundle that the image is for, if it is for one
 */
export async function fetchImage(
  store: OpenedStore,
  request: ImageRequest,
  plan: ImagePlan,
  lease: Lease,
  bundle?: string,
): Promise<FetchedImage> {
  await using source = await openSource(
    request.image,
    { events: plan.events, limits: plan.limits, scratch: async () => lease.staging() },
    sourceOptions(request),
  )
  // A thread that was started for layers which never came.
  using _threads = { [Symbol.dispose]: () => store.workers.trim() }
  const image = await resolveImage(store, source, plan)
  plan.admit?.(image)
  const { reference, digest } = image
  store.images.put(image)
  const layers = image.config.diffIds
  plan.events({ kind: 'image-resolved', reference, digest, layers: layers.length })
  const base = baseIdOf(layers, plan.mapping)
  await lease.need({
    ...(bundle === undefined ? {} : { bundle }),
    image: digest,
    config: image.manifest.config.digest,
    layers,
    base,
  })
  keepImage(store.layout, image, plan.platform)
  let merged: MergedImage | null = null
  let areContentsSeen = false
  await store.layers.ensure(base, async () => {
    const context = { ...plan, lease, source: async () => source }
    const hasBase = existsSync(store.layout.base(base))
    if (hasBase && hasLayers(store, layers)) {
      for (const diffId of new Set(layers)) plan.events({ kind: 'layer-known', diffId })
      return
    }
    const { ingestMissingLayers } = await import('./layers.js')
    if (hasBase) return void (await ingestMissingLayers(store, image, context))
    const { EarlyMerge } = await import('./early-merge.js')
    using early = new EarlyMerge(layers, plan.limits, plan.signal)
    areContentsSeen = await ingestMissingLayers(store, image, { ...context, early })
    merged = await early.result()
  })
  return { image, layers, merged, areContentsSeen }
}

function hasLayers({ layout }: OpenedStore, layers: readonly DiffId[]): boolean {
  return layers.every((diffId) => existsSync(layout.layer(diffId)))
}

/**
 * What a name means. A name with a digest means the same for ever: once its image is known, nobody is asked again unless
 * that is wished for.
 *
 * @throws {NotFoundError} `image-missing` when nobody may be asked and the store does not know the name
 */
async function resolveImage(
  store: OpenedStore,
  source: ImageSource,
  { platform, signal, pull, events }: ImagePlan,
): Promise<ResolvedImage> {
  const known = (digest: Digest, size: number) => store.images.get(digest, size, platform)
  const cached = (name: string | undefined): ResolvedImage | null =>
    name === undefined ? null : cachedImage(store.layout, name, platform, known)
  const kept = pull === 'always' ? null : cached(pull === 'never' ? source.name : source.pinned)
  if (kept !== null) return kept
  // Local sources have no name to be known by, and nobody needs to be asked for them.
  if (pull === 'never' && source.name !== undefined) throw notCached(source.name)
  // A new name, so layers are likely to come; what reads them is loaded, and a thread started, while the registry is asked.
  const isNew = source.name !== undefined && !wasResolved(store.layout, source.name, platform)
  if (isNew) loadAhead(store)
  try {
    return await source.resolve({ platform, signal, known })
  } catch (error) {
    const mayUseCache =
      pull === 'missing' && isGrootError(error) && error.kind === 'registry' && error.temporary
    const found = mayUseCache ? cached(source.name) : null
    if (found === null) throw error
    events({
      kind: 'warning',
      code: 'image-from-cache',
      message: `The registry cannot be asked what "${found.reference}" is, so what it was last is used; ${(error as Error).message}`,
      facts: { reference: found.reference, digest: found.digest },
    })
    return found
  }
}

function loadAhead({ workers, isAlone }: OpenedStore): void {
  if (!isAlone) workers.warm()
  // What fails here fails again where it is needed.
  Promise.all([import('./layers.js'), import('./early-merge.js'), import('./make-base.js')]).catch(() => {})
}

export function sourceOptions(request: RegistryOptions): Parameters<typeof openSource>[2] {
  return {
    hosts: () => registryHosts(request),
    insecureRegistries: request.insecureRegistries ?? [],
    ...(request.credentials === undefined ? {} : { credentials: request.credentials }),
  }
}

function notCached(reference: string): NotFoundError {
  return new NotFoundError(
    'image-missing',
    `Cannot use image "${reference}": it is not in the store, and registries are not to be asked`,
    { facts: { reference } },
  )
}
