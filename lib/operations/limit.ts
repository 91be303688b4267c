/**
 * limit: another disk limit for a bundle that was made with one.
 */
import { UnsupportedError } from '../errors.js'
import { bundleMissing, parseBundleId } from '../store/bundle-id.js'
import { readBundle } from '../store/bundles.js'
import { checkWritable } from '../store/descriptor.js'
import type { RecordedLimit } from '../store/recorded-limit.js'
import { writeRecord } from '../store/records.js'
import type { LimitRequest, LimitResult } from './api.js'
import { lockRequest } from './call.js'
import { checkLimit, driverLimit, limitInfo, recordLimit } from './disk-limit.js'
import { rootfsPlace } from './mounts.js'
import type { OpenedStore } from './opened-store.js'

/**
 * Changes what the container of a bundle may write, also while it runs. See GrootStore.
 *
 * @throws {QuotaError} `quota-exceeded` when the image alone, or what is written already, is more
 */
export async function limitBundle(
  store: OpenedStore,
  name: string,
  request: LimitRequest,
): Promise<LimitResult> {
  const { layout, locks, driver } = store
  const id = parseBundleId(name)
  const bytes = checkLimit(request.diskLimitSizeBytes)
  checkWritable(layout.descriptor, store.descriptor)
  await using _lock = await locks.bundle(id, lockRequest(request))
  const record = readBundle(layout, id)
  if (record === null) throw bundleMissing('limit', id)
  if (record.limit === null || driver.setLimit === undefined) throw unlimited(id)
  const excludesImage = request.excludeImageFromQuota ?? record.limit.excludesImage
  const plan = { bytes, excludesImage, backend: record.limit.backend }
  const limit: RecordedLimit = recordLimit(plan, record.image.reference, record.limit.imageBytes, id)
  await driver.setLimit(rootfsPlace(layout, record), driverLimit(limit)!)
  // commit point: the bundle record. Before it another limit is held than is told, and the same call again mends that.
  writeRecord(layout.record(id), { ...record, limit })
  return { id, disk_limit: limitInfo(limit)! }
}

function unlimited(id: string): UnsupportedError {
  return new UnsupportedError(
    'quota-unsupported',
    `Cannot limit bundle "${id}": it was made without a limit, and what it has written was not counted`,
    { facts: { id, feature: 'a disk limit', found: 'made without', needed: 'made with a limit' } },
  )
}
