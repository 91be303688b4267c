/**
 * list: which bundles there are, by their records. Waits for nobody.
 */
import { type BundleRecord, listBundleIds, readBundle } from '../store/bundles.js'
import type { StoreLayout } from '../store/layout.js'
import type { BundleInfo, BundleSummary, CallOptions } from './api.js'
import { eventSink } from './call.js'
import type { OpenedStore } from './opened-store.js'

/** Whole bundles only. A damaged record is reported as a warning and does not hide the others. */
export async function listBundles({ layout }: OpenedStore, options: CallOptions): Promise<BundleSummary[]> {
  const summaries: BundleSummary[] = []
  for (const id of listBundleIds(layout)) {
    let record: BundleRecord | null
    try {
      record = readBundle(layout, id)
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error)
      eventSink(options)({ kind: 'warning', code: 'record-damaged', message, facts: { id } })
      continue
    }
    // Deleted between the listing and the reading.
    if (record === null) continue
    summaries.push({ ...bundleInfo(layout, record), createdAt: record.createdAt })
  }
  return summaries
}

export function bundleInfo(layout: StoreLayout, record: BundleRecord): BundleInfo {
  const bundle = layout.bundle(record.id)
  return {
    id: record.id,
    bundle,
    rootfs: `${bundle}/rootfs`,
    image: { reference: record.image.reference, digest: record.image.digest },
    digest: record.digest,
    driver: record.driver,
    mounts: record.mounts,
  }
}
