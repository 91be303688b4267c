/**
 * create: an image becomes a bundle that runc runs as it is.
 */
import { chmodSync, existsSync, mkdirSync } from 'node:fs'
import type { Rootfs } from '../driver/contract.js'
import { ExistsError, throwIfAborted } from '../errors.js'
import { hostPlatform, type Platform, parsePlatform } from '../image/platform.js'
import { withheldLabels } from '../image/runtime-spec.js'
import { DEFAULT_LIMITS, type LayerLimits } from '../layer/limits.js'
import { syncDirectory } from '../linux/sync.js'
import type { LockRequest } from '../locks/locks.js'
import { openSource } from '../sources/open.js'
import type { ImageSource, ResolvedImage } from '../sources/source.js'
import { type BundleId, parseBundleId } from '../store/bundle-id.js'
import type { BundleRecord } from '../store/bundles.js'
import { checkWritable } from '../store/descriptor.js'
import { cachedImage, keepImage } from '../store/images.js'
import { Lease } from '../store/leases.js'
import { writeRecord } from '../store/records.js'
import type { Tree } from '../tree/model.js'
import type { BundleInfo, CreateRequest } from './api.js'
import { imageUser, writeBundleFiles } from './bundle-files.js'
import { eventSink, lockRequest, signalOf } from './call.js'
import { removeLeavings } from './delete.js'
import { ingestMissingLayers, mergeImage } from './layers.js'
import { bundleInfo } from './list.js'
import type { OpenedStore } from './opened-store.js'
import { makeVolumes } from './volumes.js'

/**
 * Creates a bundle. When this returns it is whole and survives a power cut; when it throws, nothing of it is left.
 *
 * @throws {ExistsError} `bundle-exists`
 */
export async function createBundle(store: OpenedStore, request: CreateRequest): Promise<BundleInfo> {
  const plan = checkRequest(request)
  checkWritable(store.layout.descriptor, store.descriptor)
  refuseExisting(store, plan.id)

  await using lease = await Lease.take(
    store.layout,
    store.locks,
    { bundle: plan.id, image: request.image },
    plan.locking,
  )
  await using source = await openSource(
    request.image,
    { events: plan.events, scratch: async () => lease.staging() },
    sourceOptions(request),
  )
  const image = await resolveImage(store, source, plan)
  plan.events({
    kind: 'image-resolved',
    reference: image.reference,
    digest: image.digest,
    layers: image.layers.length,
  })
  lease.record({ bundle: plan.id, image: image.digest, layers: image.layers.map((layer) => layer.diffId) })
  keepImage(store.layout, image, plan.platform)

  await ingestMissingLayers(store, image, { ...plan, lease, source: async () => source })
  throwIfAborted(plan.signal)

  await using lock = await store.locks.bundle(plan.id, plan.locking)
  // Again, now that nobody else can make it.
  refuseExisting(store, plan.id)
  return await commitBundle(store, image, { ...plan, signal: AbortSignal.any([plan.signal, lock.lost]) })
}

/** A name with a digest means the same for ever: once its image is known, nobody is asked again. */
async function resolveImage(
  store: OpenedStore,
  source: ImageSource,
  plan: CreatePlan,
): Promise<ResolvedImage> {
  const cached = source.pinned === undefined ? null : cachedImage(store.layout, source.pinned, plan.platform)
  return cached ?? (await source.resolve({ platform: plan.platform, signal: plan.signal }))
}

/** A request that was understood: everything that can be said without looking at an image. */
interface CreatePlan {
  readonly id: BundleId
  readonly platform: Platform
  readonly limits: LayerLimits
  readonly readOnly: boolean
  readonly ignoreOwnership: boolean
  readonly events: ReturnType<typeof eventSink>
  readonly signal: AbortSignal
  readonly locking: LockRequest
}

function checkRequest(request: CreateRequest): CreatePlan {
  return {
    id: parseBundleId(request.id),
    platform: request.platform === undefined ? hostPlatform(process.arch) : parsePlatform(request.platform),
    limits: { ...DEFAULT_LIMITS, ...request.limits },
    readOnly: request.readOnly ?? false,
    ignoreOwnership: request.ignoreOwnership ?? false,
    events: eventSink(request),
    signal: signalOf(request),
    locking: lockRequest(request),
  }
}

function sourceOptions(request: CreateRequest): Parameters<typeof openSource>[2] {
  return {
    insecureRegistries: request.insecureRegistries ?? [],
    ...(request.credentials === undefined ? {} : { credentials: request.credentials }),
  }
}

function refuseExisting({ layout }: OpenedStore, id: BundleId): void {
  if (!existsSync(layout.record(id))) return
  throw new ExistsError('bundle-exists', `Cannot create bundle "${id}": there is one with this id already`, {
    facts: { id, bundle: layout.bundle(id) },
  })
}

/** Makes the rootfs and the bundle's files, then its record. The bundle's lock is held; a failure leaves nothing. */
async function commitBundle(store: OpenedStore, image: ResolvedImage, plan: CreatePlan): Promise<BundleInfo> {
  const { layout } = store
  const directory = layout.bundle(plan.id)
  // A create that was killed before its record left a directory: it was never a bundle.
  await removeLeavings(store, plan.id)
  try {
    mkdirSync(directory, { mode: 0o700 })
    chmodSync(directory, 0o700)
    const tree = once(() =>
      mergeImage(
        store,
        image.layers.map((layer) => layer.diffId),
        plan.limits,
        plan.events,
      ),
    )
    // Before the rootfs is made: an image whose user does not exist is refused without writing it.
    warnOfWithheld(image, plan)
    const user = imageUser(image, tree(), store.objects)
    await makeVolumes(image.config, tree, store.objects, directory, plan)
    const rootfs = await makeRootfs(store, plan, directory, tree)
    writeBundleFiles({ id: plan.id, directory, image, user, readOnly: plan.readOnly, mounts: rootfs.mounts })
    syncDirectory(layout.bundles)
    throwIfAborted(plan.signal)
    const record = bundleRecord(store, image, plan, rootfs)
    // commit point: the bundle record
    writeRecord(layout.record(plan.id), record)
    plan.events({ kind: 'rootfs-ready', id: plan.id })
    return bundleInfo(layout, record)
  } catch (error) {
    await removeAfterFailure(store, plan)
    throw error
  }
}

function warnOfWithheld(image: ResolvedImage, plan: CreatePlan): void {
  const labels = withheldLabels(image.config)
  if (labels.length === 0) return
  plan.events({
    kind: 'warning',
    code: 'label-withheld',
    message: `Labels of the image that runtimes would act on do not become annotations: ${labels.map((label) => JSON.stringify(label)).join(', ')}`,
    facts: { id: plan.id, labels },
  })
}

async function makeRootfs(
  store: OpenedStore,
  plan: CreatePlan,
  directory: string,
  tree: () => Tree,
): Promise<Rootfs> {
  return await store.driver.create({
    id: plan.id,
    at: `${directory}/rootfs`,
    base: null,
    tree: async () => tree(),
    objects: store.objects,
    ignoreOwnership: plan.ignoreOwnership,
    readOnly: plan.readOnly,
    events: plan.events,
    signal: plan.signal,
  })
}

/** What went wrong matters more than what cannot be removed after it; delete and clean know these leavings. */
async function removeAfterFailure(store: OpenedStore, plan: CreatePlan): Promise<void> {
  try {
    await removeLeavings(store, plan.id)
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error)
    plan.events({ kind: 'warning', code: 'leavings', message, facts: { id: plan.id } })
  }
}

function bundleRecord(
  store: OpenedStore,
  image: ResolvedImage,
  plan: CreatePlan,
  rootfs: Rootfs,
): BundleRecord {
  return {
    format: 1,
    id: plan.id,
    createdAt: new Date().toISOString(),
    image: { reference: image.reference, digest: image.digest, config: image.manifest.config.digest },
    layers: image.layers.map((layer) => layer.diffId),
    base: null,
    driver: store.descriptor.driver,
    readOnly: plan.readOnly,
    ignoreOwnership: plan.ignoreOwnership,
    mounts: rootfs.mounts,
  }
}

function once<T>(make: () => T): () => T {
  let made: { readonly value: T } | null = null
  return () => {
    made ??= { value: make() }
    return made.value
  }
}
