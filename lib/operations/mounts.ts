/**
 * mount and unmount: root filesystems that stand by mounts, after a reboot or before a repair.
 */
import type { RootfsPlace } from '../driver/contract.js'
import { UsageError } from '../errors.js'
import { bundleMissing, parseBundleId } from '../store/bundle-id.js'
import { type BundleRecord, readBundle } from '../store/bundles.js'
import { checkWritable } from '../store/descriptor.js'
import type { StoreLayout } from '../store/layout.js'
import type { CallOptions, MountResult } from './api.js'
import { lockRequest } from './call.js'
import { driverLimit } from './disk-limit.js'
import type { OpenedStore } from './opened-store.js'

/** Mounts a bundle's rootfs unless it is mounted; see GrootStore. */
export async function mountBundle(
  store: OpenedStore,
  id: string,
  options: CallOptions,
): Promise<MountResult> {
  return await change(store, id, options, 'mount')
}

/** @throws {BusyError} `mount-busy` while a process uses the rootfs */
export async function unmountBundle(
  store: OpenedStore,
  id: string,
  options: CallOptions,
): Promise<MountResult> {
  return await change(store, id, options, 'unmount')
}

/** Where the rootfs of a bundle stands and what it is made of, by its record. */
export function rootfsPlace(layout: StoreLayout, record: BundleRecord): RootfsPlace {
  const { id, base, rootfsDigest: digest, readOnly, verity, noSync, isDigestDemanded } = record
  const at = `${layout.bundle(id)}/rootfs`
  return {
    id,
    at,
    base,
    digest,
    readOnly,
    verity,
    limit: driverLimit(record.limit),
    noSync,
    isDigestDemanded,
  }
}

async function change(
  store: OpenedStore,
  name: string,
  options: CallOptions,
  verb: 'mount' | 'unmount',
): Promise<MountResult> {
  const { layout, locks, driver } = store
  const id = parseBundleId(name)
  checkWritable(layout.descriptor, store.descriptor)
  await using _lock = await locks.bundle(id, lockRequest(options))
  const record = readBundle(layout, id)
  if (record === null) throw bundleMissing(verb, id)
  if (verb === 'mount' && record.mounts.length > 0) {
    throw new UsageError(
      'option-invalid',
      `Cannot mount bundle "${id}": it was made without mounting, its config.json has the mounts for the runtime`,
      { facts: { id } },
    )
  }
  const changed = (await driver[verb]?.(rootfsPlace(layout, record))) ?? false
  return { id, changed }
}
