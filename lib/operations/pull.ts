/**
 * pull: an image is brought in and its base made, so that a later create has nothing left to fetch or to merge.
 */
import { checkWritable } from '../store/descriptor.js'
import { Lease } from '../store/leases.js'
import type { ImageDigest, PullRequest } from './api.js'
import { ensureBase } from './bases.js'
import { warnOfLeavings } from './call.js'
import { fetchImage, planImage } from './fetch-image.js'
import { requestedMapping } from './mapping.js'
import type { OpenedStore } from './opened-store.js'

export async function pullImage(store: OpenedStore, request: PullRequest): Promise<ImageDigest> {
  const mapping = requestedMapping(request.mapping, store.descriptor.mapping)
  const plan = { ...planImage(request), mapping }
  checkWritable(store.layout.descriptor, store.descriptor)
  await using lease = new Lease(store.layout, store.locks, plan.locking, warnOfLeavings(plan.events))
  const { image, layers, ...seen } = await fetchImage(store, request, plan, lease)
  const { record } = await ensureBase(store, layers, image.config, { ...plan, ...seen })
  return { image: { reference: image.reference, digest: image.digest }, digest: record.digest }
}
