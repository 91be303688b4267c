/**
 * create: an image becomes a bundle that runc runs as it is.
 */
import { chmodSync, existsSync, mkdirSync } from 'node:fs'
import { isVerityDigest, type VerityDigest } from '../digest.js'
import type { Rootfs, VerityMode } from '../driver/contract.js'
import { ExistsError, IntegrityError, throwIfAborted, UnsupportedError, UsageError } from '../errors.js'
import { neededDirectories, withheldLabels } from '../image/runtime-spec.js'
import type { ResolvedImage } from '../sources/source.js'
import { type BundleId, parseBundleId } from '../store/bundle-id.js'
import type { BundleRecord } from '../store/bundles.js'
import { checkWritable } from '../store/descriptor.js'
import { DurableBatch } from '../store/durable.js'
import { Lease } from '../store/leases.js'
import { commitRecord } from '../store/records.js'
import type { BundleInfo, CreateRequest } from './api.js'
import { ensureBase, type ReadyBase } from './bases.js'
import { imageUser, writeBundleFiles } from './bundle-files.js'
import { removeLeavings } from './delete.js'
import { fetchImage, type ImagePlan, planImage } from './fetch-image.js'
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
  checkVerity(store, plan.verity)
  checkWritable(store.layout.descriptor, store.descriptor)
  refuseExisting(store, plan.id)

  await using lease = await Lease.take(store.layout, store.locks, plan.locking)
  const { image, layers } = await fetchImage(store, request, plan, lease, plan.id)
  throwIfAborted(plan.signal)
  const base = await ensureBase(store, layers, image.config, plan)
  checkExpected(plan.expectedDigest, base, image)

  await using lock = await store.locks.bundle(plan.id, plan.locking)
  // Again, now that nobody else can make it.
  refuseExisting(store, plan.id)
  const signal = AbortSignal.any([plan.signal, lock.lost])
  return await commitBundle(store, image, base, { ...plan, signal })
}

/** A request that was understood: everything that can be said without looking at an image. */
interface CreatePlan extends ImagePlan {
  readonly id: BundleId
  readonly readOnly: boolean
  readonly ignoreOwnership: boolean
  readonly withoutMount: boolean
  readonly verity: VerityMode | null
  readonly expectedDigest: VerityDigest | null
}

function checkRequest(request: CreateRequest): CreatePlan {
  return {
    id: parseBundleId(request.id),
    ...planImage(request),
    readOnly: request.readOnly ?? false,
    ignoreOwnership: request.ignoreOwnership ?? false,
    withoutMount: request.withoutMount ?? false,
    verity: request.verity ?? null,
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
  plan: CreatePlan,
): Promise<BundleInfo> {
  const { layout } = store
  const directory = layout.bundle(plan.id)
  using batch = new DurableBatch()
  // A create that was killed before its record left a directory: it was never a bundle.
  await removeLeavings(store, plan.id)
  try {
    mkdirSync(directory, { mode: 0o700 })
    chmodSync(directory, 0o700)
    // Before the rootfs is made: an image whose user does not exist is refused without writing it.
    warnOfWithheld(image, plan)
    const user = imageUser(image, base.record, store.objects)
    await makeVolumes(image.config, base.volume, store.objects, directory, { ...plan, batch })
    const rootfs = await makeRootfs(store, image, plan, directory, base, batch)
    const { mounts } = rootfs
    writeBundleFiles(batch, { id: plan.id, directory, image, user, readOnly: plan.readOnly, mounts })
    batch.directory(layout.bundles)
    throwIfAborted(plan.signal)
    const record = bundleRecord(store, image, base, plan, rootfs)
    // commit point: the bundle record
    commitRecord(batch, layout.record(plan.id), record)
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
  image: ResolvedImage,
  plan: CreatePlan,
  directory: string,
  base: ReadyBase,
  batch: DurableBatch,
): Promise<Rootfs> {
  return await store.driver.create({
    id: plan.id,
    at: `${directory}/rootfs`,
    base: store.driver.traits.bases ? base.record.id : null,
    digest: base.record.digest,
    tree: async () => base.tree(),
    objects: store.objects,
    ignoreOwnership: plan.ignoreOwnership,
    readOnly: plan.readOnly,
    mountPoints: neededDirectories(image.config),
    withoutMount: plan.withoutMount,
    verity: plan.verity,
    limit: null,
    syncLater: (path) => batch.directory(path),
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
  { record: base }: ReadyBase,
  plan: CreatePlan,
  rootfs: Rootfs,
): BundleRecord {
  return {
    format: 1,
    id: plan.id,
    createdAt: new Date().toISOString(),
    image: { reference: image.reference, digest: image.digest, config: image.manifest.config.digest },
    layers: base.layers,
    base: base.id,
    digest: base.digest,
    driver: store.descriptor.driver,
    readOnly: plan.readOnly,
    ignoreOwnership: plan.ignoreOwnership,
    verity: plan.verity,
    mounts: rootfs.mounts,
  }
}
