/**
 * Disk limits as they are asked for, and what of them is left for a container to write. Who holds them is the driver's
 * business; here is only arithmetic, and the word of the image.
 */
import type { DiskLimit } from '../driver/contract.js'
import { isGrootError, QuotaError, UnsupportedError, UsageError } from '../errors.js'
import { layerCompression } from '../image/media-types.js'
import type { LayerLimits } from '../layer/limits.js'
import type { ResolvedImage } from '../sources/source.js'
import type { BundleId } from '../store/bundle-id.js'
import type { RecordedLimit } from '../store/recorded-limit.js'
import type { CreateRequest, DiskLimitInfo } from './api.js'
import type { OpenedStore } from './opened-store.js'

/** A limit that was asked for and understood. */
export interface LimitPlan {
  readonly bytes: number
  /** Whether the image's own bytes are left out of account. */
  readonly excludesImage: boolean
  readonly backend: 'native' | 'loop'
}

/** So much of a blob may be headers and padding: the smallest archive has 10,240 bytes. */
const BLOB_GRACE_BYTES = 16 * 1024

/** @throws {UsageError} `option-invalid` */
export function planLimit(request: CreateRequest): LimitPlan | null {
  const { diskLimitSizeBytes, excludeImageFromQuota = false, quotaBackend } = request
  if (quotaBackend !== undefined && quotaBackend !== 'native' && quotaBackend !== 'loop') {
    const value = String(quotaBackend)
    throw new UsageError(
      'option-invalid',
      `Cannot use quota backend ${JSON.stringify(value)}: native and loop are known`,
      { facts: { option: 'quota-backend', value } },
    )
  }
  if (diskLimitSizeBytes === undefined) {
    if (quotaBackend === undefined) return null
    throw new UsageError('usage-invalid', 'Cannot use a quota backend without a disk limit: none was given', {
      facts: { option: 'quota-backend', value: quotaBackend },
    })
  }
  const backend = quotaBackend ?? 'native'
  if (backend === 'loop' && request.withoutMount === true) {
    throw new UsageError(
      'usage-invalid',
      'Cannot use the quota backend "loop" without mounting: the file that holds the limit has to be mounted',
      { facts: { option: 'quota-backend', value: backend } },
    )
  }
  return { bytes: checkLimit(diskLimitSizeBytes), excludesImage: excludeImageFromQuota, backend }
}

/** @throws {UsageError} `option-invalid` */
export function checkLimit(bytes: number): number {
  if (Number.isSafeInteger(bytes) && bytes > 0) return bytes
  throw new UsageError(
    'option-invalid',
    `Cannot use a disk limit of ${String(bytes)} bytes: a whole number from 1 is needed`,
    { facts: { option: 'disk-limit-size-bytes', value: String(bytes) } },
  )
}

/** A limit is held or refused, never forgotten. @throws {UnsupportedError} `quota-unsupported` */
export function checkDriver({ driver, descriptor }: OpenedStore, limit: LimitPlan | null, id: string): void {
  if (limit === null || driver.traits.diskLimits) return
  const facts = { id, feature: 'disk limits', found: `driver ${descriptor.driver}`, needed: 'another driver' }
  throw new UnsupportedError(
    'quota-unsupported',
    `Cannot limit what "${id}" writes: the driver "${descriptor.driver}" of this store holds no limits; a store with the driver overlay, btrfs or vfs does`,
    { facts },
  )
}

/**
 * What the manifest tells, before anything is fetched: blobs that are larger than the limit already.
 *
 * @throws {QuotaError} `quota-exceeded`
 */
export function refuseLargeBlobs(image: ResolvedImage, limit: LimitPlan | null, id: BundleId): void {
  if (limit === null || limit.excludesImage) return
  let bytes = 0
  for (const { descriptor } of image.layers) {
    // Of a plain archive headers may be any part; what it holds is known when it is read.
    if (layerCompression(descriptor.mediaType) === 'none' && descriptor.size <= 2 * limit.bytes) continue
    bytes += Math.max(0, descriptor.size - BLOB_GRACE_BYTES)
  }
  if (bytes > limit.bytes) throw tooLarge(id, image.reference, bytes, limit.bytes, 'its layers alone have')
}

/** Caps for reading layers: none may hold more than the image is allowed to. */
export function unpackLimits(limits: LayerLimits, limit: LimitPlan | null): LayerLimits {
  if (limit === null || limit.excludesImage) return limits
  return {
    ...limits,
    maxFileBytes: Math.min(limits.maxFileBytes, limit.bytes),
    maxTotalBytes: Math.min(limits.maxTotalBytes, limit.bytes),
  }
}

/** Tells a layer that is larger than a disk limit as what it is; all else passes unchanged. */
export function unpackError(
  error: unknown,
  limits: LayerLimits,
  limit: LimitPlan | null,
  id: BundleId,
): unknown {
  if (limit === null || limit.excludesImage || !isGrootError(error) || error.code !== 'limit-exceeded')
    return error
  const { limit: name } = error.facts
  if (name !== 'maxFileBytes' && name !== 'maxTotalBytes') return error
  // The cap that was asked for by itself is lower.
  if (limits[name] <= limit.bytes) return error
  return new QuotaError(
    'quota-exceeded',
    `Cannot create bundle "${id}": a layer of the image holds more than the limit of ${limit.bytes} bytes`,
    { facts: { id, limitBytes: limit.bytes }, cause: error },
  )
}

/**
 * The limit as a record keeps it.
 *
 * @param imageBytes asked for when it counts
 * @throws {QuotaError} `quota-exceeded` when the image alone is larger
 */
export function recordLimit(
  { bytes, excludesImage, backend }: LimitPlan,
  reference: string,
  imageBytes: number,
  id: BundleId,
): RecordedLimit {
  const limit = { bytes, excludesImage, backend, imageBytes }
  if (!excludesImage && imageBytes > bytes) throw tooLarge(id, reference, imageBytes, bytes, 'it has')
  return limit
}

/** What a driver is to hold. */
export function driverLimit(limit: RecordedLimit | null): DiskLimit | null {
  if (limit === null) return null
  const { bytes, excludesImage, imageBytes, backend } = limit
  return { writableBytes: excludesImage ? bytes : bytes - imageBytes, backend }
}

export function limitInfo(limit: RecordedLimit | null): DiskLimitInfo | null {
  if (limit === null) return null
  const { bytes, excludesImage, backend } = limit
  return {
    size_bytes: bytes,
    exclude_image: excludesImage,
    writable_bytes: driverLimit(limit)!.writableBytes,
    backend,
  }
}

function tooLarge(
  id: BundleId,
  reference: string,
  imageBytes: number,
  limitBytes: number,
  has: string,
): QuotaError {
  return new QuotaError(
    'quota-exceeded',
    `Cannot limit bundle "${id}" to ${limitBytes} bytes with its image "${reference}" among them: ${has} ${imageBytes} bytes`,
    { facts: { id, reference, imageBytes, limitBytes } },
  )
}
