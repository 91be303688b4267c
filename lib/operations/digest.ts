/**
 * digest: what the tree of an image measures, so that others can demand it (`--expect-digest`).
 */
import { checkWritable } from '../store/descriptor.js'
import { Lease } from '../store/leases.js'
import type { DigestRequest, ImageDigest } from './api.js'
import { warnOfLeavings } from './call.js'
import { fetchImage, planImage } from './fetch-image.js'
import { digestOfLayers } from './make-base.js'
import type { OpenedStore } from './opened-store.js'

/** Brings in the layers that the store lacks, and digests the tree. No driver takes part in it. */
export async function imageDigest(store: OpenedStore, request: DigestRequest): Promise<ImageDigest> {
  const plan = planImage(request)
  checkWritable(store.layout.descriptor, store.descriptor)
  await using lease = new Lease(store.layout, store.locks, plan.locking, warnOfLeavings(plan.events))
  const { image, layers, merged } = await fetchImage(store, request, plan, lease)
  const { reference, digest } = image
  return { image: { reference, digest }, digest: digestOfLayers(store, layers, { ...plan, merged }) }
}
