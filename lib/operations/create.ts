/**
 * create: an image becomes a bundle that runc runs as it is.
 */
import { chmodSync, existsSync, mkdirSync } from 'node:fs'
import { isVerityDigest, type VerityDigest } from '../digest.js'
import type { Mount, Rootfs, VerityMode } from '../driver/contract.js'
import { invalidDriver } from '../driver/invalid.js'
import { ExistsError, IntegrityError, throwIfAborted, UnsupportedError, UsageError } from '../errors.js'
import { neededDirectories, withheldLabels } from '../image/runtime-spec.js'
import { LinkedSignal } from '../linked-signal.js'
import type { ResolvedImage } from '../sources/source.js'
import { type BundleId, parseBundleId } from '../store/bundle-id.js'
import type { BundleRecord } from '../store/bundles.js'
import { checkWritable } from '../store/descriptor.js'
import { DurableBatch } from '../store/durable.js'
import { Lease } from '../store/leases.js'
import type { RecordedLimit } from '../store/recorded-limit.js'
import { removeIfThere } from '../store/records.js'
import type { BundleInfo, CreateRequest } from './api.js'
import { ensureBase, type ReadyBase } from './bases.js'
import { imageUser, writeBundleFiles } from './bundle-files.js'
import { warnOfLeavings } from './call.js'
import { cleanFirst } from './clean-first.js'
import { removeLeavings } from './delete.js'
import {
  checkDriver,
  driverLimit,
  type LimitPlan,
  planLimit,
  recordLimit,
  refuseLargeBlobs,
  unpackError,
  unpackLimits,
} from './disk-limit.js'
import { type FetchedImage, fetchImage, type ImagePlan, planImage } from './fetch-image.js'
import { bundleInfo } from './list.js'
import {
  checkUserMapped,
  containerRoot,
  letPass,
  refuseWithMapping,
  requestedMapping,
  warnOfClosedWay,
} from './mapping.js'
import type { OpenedStore } from './opened-store.js'
import { makeVolumes } from './volumes.js'
import { syncFound } from './writing.js'

/**
 * Creates a bundle. When this returns it is whole and survives a power cut; when it throws, nothing of it is left.
 *
 * @throws {ExistsError} `bundle-exists`
 */
export async function createBundle(store: OpenedStore, request: CreateRequest): Promise<BundleInfo> {
  const plan = checkRequest(store, request)
  checkVerity(store, plan.verity)
  checkWritable(store.layout.descriptor, store.descriptor)
  checkMounts(store, plan)
  checkDriver(store, plan.limit, plan.id)
  refuseExisting(store, plan.id)
  await cleanFirst(store, request)

  await using lease = new Lease(store.layout, store.locks, plan.locking, warnOfLeavings(plan.events))
  const { image, layers, ...seen } = await fetchWithin(store, request, plan, lease)
  throwIfAborted(plan.signal)
  const base = await ensureBase(store, layers, image.config, { ...plan, ...seen })
  checkExpected(plan.expectedDigest, base, image)
  const recordedLimit = await limitOf(plan, image, base)

  await using lock = await store.locks.bundle(plan.id, plan.locking)
  // Again, now that nobody else can make it.
  refuseExisting(store, plan.id)
  using linked = new LinkedSignal([plan.signal, lock.lost])
  return await commitBundle(store, image, base, { ...plan, signal: linked.signal, recordedLimit })
}

/** Brings the image in; one that is larger than the limit is refused as soon as that is known. */
async function fetchWithin(
  store: OpenedStore,
  request: CreateRequest,
  plan: CreatePlan,
  lease: Lease,
): Promise<FetchedImage> {
  const admit = (image: ResolvedImage) => refuseLargeBlobs(image, plan.limit, plan.id)
  const limits = unpackLimits(plan.limits, plan.limit)
  try {
    return await fetchImage(store, request, { ...plan, limits, admit }, lease, plan.id)
  } catch (error) {
    throw unpackError(error, plan.limits, plan.limit, plan.id)
  }
}

/** @throws {QuotaError} `quota-exceeded` */
async function limitOf(
  { limit, id }: CreatePlan,
  image: ResolvedImage,
  base: ReadyBase,
): Promise<RecordedLimit | null> {
  return limit === null ? null : recordLimit(limit, image.reference, await base.imageBytes(), id)
}

/** A request that was understood: everything that can be said without looking at an image. */
interface CreatePlan extends ImagePlan {
  readonly id: BundleId
  readonly readOnly: boolean
  readonly ignoreOwnership: boolean
  readonly withoutMount: boolean
  readonly verity: VerityMode | null
  readonly noSync: boolean
  readonly expectedDigest: VerityDigest | null
  readonly limit: LimitPlan | null
}

/** The same when the image is known. */
interface CommitPlan extends CreatePlan {
  readonly recordedLimit: RecordedLimit | null
}

function checkRequest({ descriptor }: OpenedStore, request: CreateRequest): CreatePlan {
  const id = parseBundleId(request.id)
  const mapping = requestedMapping(request.mapping, descriptor.mapping)
  const ignoresOwnership = mapping !== null && request.ignoreOwnership === true
  refuseWithMapping(ignoresOwnership, 'ignore-ownership', 'owners are mapped or ignored, not both')
  return {
    id,
    ...planImage(request),
    mapping,
    readOnly: request.readOnly ?? false,
    limit: planLimit(request),
    ignoreOwnership: request.ignoreOwnership ?? false,
    withoutMount: request.withoutMount ?? false,
    verity: request.verity ?? null,
    noSync: request.noSync ?? descriptor.noSync,
    expectedDigest: request.expectDigest === undefined ? null : parseExpected(request.expectDigest),
  }
}

/** @throws {UsageError} `option-invalid` */
function parseExpected(value: string): VerityDigest {
  const digest = value.toLowerCase()
  if (isVerityDigest(digest)) return digest
  throw new UsageError(
    'option-invalid',
    `Cannot expect digest ${JSON.stringify(value)}: the 64 hex digits of an fs-verity digest by SHA-256 are needed`,
    { facts: { option: 'expect-digest', value } },
  )
}

/** A demand that nobody would see to is refused, not forgotten. */
function checkVerity({ driver }: OpenedStore, verity: VerityMode | null): void {
  if (verity !== 'require' || driver.traits.verity) return
  throw new UnsupportedError(
    'verity-unsupported',
    'Cannot require fs-verity: the driver of this store copies files, and the kernel would not check the copies',
    { facts: { feature: 'fs-verity' } },
  )
}

/** The kernel lets no namespace but the host's mount what such a rootfs is made of. */
function checkMounts({ driver }: OpenedStore, { withoutMount, mapping }: CreatePlan): void {
  const isLeft = withoutMount && mapping !== null && driver.traits.mounts
  refuseWithMapping(isLeft, 'without-mount', 'a runtime may not make these mounts within a user namespace')
}

/** @throws {IntegrityError} `digest-unexpected` */
function checkExpected(expected: VerityDigest | null, { record }: ReadyBase, image: ResolvedImage): void {
  if (expected === null || record.digest === expected) return
  throw new IntegrityError(
    'digest-unexpected',
    `Cannot use image "${image.reference}": its tree has the digest ${record.digest}, ${expected} was expected`,
    { facts: { reference: image.reference, expected, found: record.digest } },
  )
}

function refuseExisting({ layout }: OpenedStore, id: BundleId): void {
  if (!existsSync(layout.record(id))) return
  throw new ExistsError('bundle-exists', `Cannot create bundle "${id}": there is one with this id already`, {
    facts: { id, bundle: layout.bundle(id) },
  })
}

/** Makes the rootfs and the bundle's files, then its record. The bundle's lock is held; a failure leaves nothing. */
async function commitBundle(
  store: OpenedStore,
  image: ResolvedImage,
  base: ReadyBase,
  plan: CommitPlan,
): Promise<BundleInfo> {
  const { layout } = store
  const directory = layout.bundle(plan.id)
  using batch = new DurableBatch(store.isOrdered)
  // A create that was killed before its record left something: it was never a bundle.
  await removeLeavings(store, plan.id)
  try {
    mkdirSync(directory, { mode: 0o700 })
    chmodSync(directory, 0o700)
    // Before the rootfs is made: an image whose user does not exist is refused without writing it.
    warnOfWithheld(image, plan)
    const user = imageUser(image, base.record, store.objects)
    if (plan.mapping !== null) {
      checkUserMapped(user, plan.mapping)
      letPass(directory, plan.mapping)
      warnOfClosedWay(layout.root, plan.mapping, plan.events)
    }
    await makeVolumes(image.config, base.volume, store.objects, directory, { ...plan, batch })
    const describe = (mounts: readonly Mount[]) => {
      writeBundleFiles(batch, { ...plan, directory, image, user, mounts })
      batch.directory(layout.bundles)
      return batch.record(layout.record(plan.id), bundleRecord(store, image, base, plan, mounts))
    }
    // Mounts are known when they are made. Any other rootfs is made last: some filesystems write all that is there with it.
    const early = store.driver.traits.mounts ? null : describe([])
    if (early !== null) await batch.writeContents()
    const { mounts } = await makeRootfs(store, image, plan, directory, base, batch)
    if (early !== null && mounts.length > 0)
      throw invalidDriver(store.descriptor.driver, 'it asks for mounts, and its traits say that it has none')
    const record = early ?? describe(mounts)
    throwIfAborted(plan.signal)
    syncFound(store)
    // commit point: the bundle record
    await record.commit()
    plan.events({ kind: 'rootfs-ready', id: plan.id })
    return bundleInfo(layout, record.value)
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
  image: ResolvedImage,
  plan: CommitPlan,
  directory: string,
  base: ReadyBase,
  batch: DurableBatch,
): Promise<Rootfs> {
  return await store.driver.create({
    id: plan.id,
    at: `${directory}/rootfs`,
    base: store.driver.traits.bases ? base.record.id : null,
    digest: base.record.rootfsDigest,
    tree: () => base.tree(),
    objects: store.objects,
    ignoreOwnership: plan.ignoreOwnership,
    readOnly: plan.readOnly,
    mountPoints: neededDirectories(image.config),
    containerRoot: containerRoot(plan.mapping),
    withoutMount: plan.withoutMount,
    isDigestDemanded: plan.expectedDigest !== null,
    verity: plan.verity,
    noSync: plan.noSync,
    limit: driverLimit(plan.recordedLimit),
    syncLater: (path) => batch.directory(path),
    events: plan.events,
    signal: plan.signal,
  })
}

/** What went wrong matters more than what cannot be removed after it; delete and clean know these leavings. */
async function removeAfterFailure(store: OpenedStore, plan: CreatePlan): Promise<void> {
  try {
    // It is there when only the sync after it failed. First, as a bundle without it is none; the other way round is half.
    removeIfThere(store.layout.record(plan.id))
    await removeLeavings(store, plan.id)
  } catch (error) {
    warnOfLeavings(plan.events, { id: plan.id })(error)
  }
}

function bundleRecord(
  store: OpenedStore,
  image: ResolvedImage,
  { record: base }: ReadyBase,
  plan: CommitPlan,
  mounts: readonly Mount[],
): BundleRecord {
  return {
    format: 1,
    id: plan.id,
    createdAt: new Date().toISOString(),
    image: { reference: image.reference, digest: image.digest, config: image.manifest.config.digest },
    layers: base.layers,
    base: base.id,
    digest: base.digest,
    rootfsDigest: base.rootfsDigest,
    mapping: plan.mapping,
    driver: store.descriptor.driver,
    readOnly: plan.readOnly,
    ignoreOwnership: plan.ignoreOwnership,
    verity: plan.verity,
    isDigestDemanded: plan.expectedDigest !== null,
    noSync: plan.noSync,
    limit: plan.recordedLimit,
    mounts,
  }
}
