/**
 * stats: what a bundle takes on disk.
 */
import { existsSync } from 'node:fs'
import { VOLUMES_DIRECTORY } from '../image/volumes.js'
import { diskUsage } from '../linux/disk-usage.js'
import { bundleMissing, parseBundleId } from '../store/bundle-id.js'
import { readBundle } from '../store/bundles.js'
import type { BundleStats } from './api.js'
import { limitInfo } from './disk-limit.js'
import { rootfsPlace } from './mounts.js'
import type { OpenedStore } from './opened-store.js'

/** @throws {NotFoundError} `bundle-missing` */
export async function bundleStats({ layout, driver }: OpenedStore, id: string): Promise<BundleStats> {
  const bundleId = parseBundleId(id)
  const missing = () => bundleMissing('show', bundleId)
  const record = readBundle(layout, bundleId)
  if (record === null) throw missing()
  try {
    const bundle = layout.bundle(bundleId)
    const usage = await driver.usage(rootfsPlace(layout, record))
    const volumes = volumeBytes(bundle)
    return {
      digest: record.digest,
      disk_usage: {
        total_bytes_used: usage.totalBytes + volumes,
        exclusive_bytes_used: usage.exclusiveBytes + volumes,
      },
      disk_limit: limitInfo(record.limit),
    }
  } catch (error) {
    // Deleted while it was measured: stats takes no lock.
    if (readBundle(layout, bundleId) === null) throw missing()
    throw error
  }
}

/** Volumes are the bundle's own, whatever the driver. */
function volumeBytes(bundle: string): number {
  const volumes = `${bundle}/${VOLUMES_DIRECTORY}`
  return existsSync(volumes) ? diskUsage(volumes).bytes : 0
}
