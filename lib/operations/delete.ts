/**
 * delete: a bundle and all that was made for it goes away.
 */
import { existsSync, renameSync, unlinkSync } from 'node:fs'
import { isErrno, StoreError } from '../errors.js'
import { namesIn } from '../linux/names.js'
import { removeAbandonedTree } from '../linux/remove-tree.js'
import { syncDirectoryLater, syncPathLater } from '../linux/sync.js'
import type { LockRequest } from '../locks/locks.js'
import { type BundleId, parseBundleId } from '../store/bundle-id.js'
import { hasDirectory } from '../store/bundles.js'
import { checkWritable } from '../store/descriptor.js'
import type { StoreLayout } from '../store/layout.js'
import { statOf } from '../store/record-watch.js'
import { randomName, removeIfThere } from '../store/records.js'
import { bundleOfTrashed, removeTrashed } from '../store/trash.js'
import type { CallOptions, DeleteResult } from './api.js'
import { lockRequest } from './call.js'
import type { OpenedStore } from './opened-store.js'

/** Deletes a bundle; one that is not there is success, and leavings of a killed create are removed on the way. */
export async function deleteBundle(
  store: OpenedStore,
  id: string,
  options: CallOptions,
): Promise<DeleteResult> {
  const bundleId = parseBundleId(id)
  const existed = await removeBundle(store, bundleId, lockRequest(options))
  return { id: bundleId, existed }
}

/** @returns whether there was a bundle, or one that an earlier delete did not finish with: busy, or killed */
export async function removeBundle(store: OpenedStore, id: BundleId, request: LockRequest): Promise<boolean> {
  const { layout, locks } = store
  checkWritable(layout.descriptor, store.descriptor)
  if (!existsSync(layout.record(id)) && !hasDirectory(layout, id)) return false
  // Before anything is taken away.
  store.demandDriver()
  await using _lock = await locks.bundle(id, request)
  const trashed = trashRecord(store, id)
  const isThere = hasDirectory(layout, id)
  const unfinished = trashed === null && isThere ? trashedRecords(layout, id) : []
  // What is removed must not be gone before the record is: it would come back without.
  if (trashed !== null && !store.isOrdered) await syncDirectoryLater(layout.records)
  if (trashed !== null && !isThere) removeIfThere(layout.bundle(id))
  // Elsewhere the order of the two is kept, so that the one need not wait for the other.
  const renamed = trashed !== null && store.isOrdered ? syncRename(layout, trashed) : null
  renamed?.catch(() => {}) // who waits hears of it
  try {
    await removeLeavings(store, id)
  } finally {
    await renamed
  }
  if (trashed !== null) await removeTrashed(trashed)
  for (const record of unfinished) await removeTrashed(record)
  return trashed !== null || unfinished.length > 0
}

/**
 * Removes what stands in the place of a bundle that has no record. The bundle's lock is held.
 *
 * @throws {StoreError} `store-unsafe` when that is no directory: whoever put it there knows why
 */
export async function removeLeavings({ layout, driver }: OpenedStore, id: BundleId): Promise<void> {
  const directory = layout.bundle(id)
  if (statOf(directory)?.isDirectory() === false) {
    const cause = 'it is not a directory'
    const message = `Cannot use "${directory}" for bundle "${id}": ${cause}`
    throw new StoreError('store-unsafe', message, { facts: { path: directory, cause } })
  }
  await driver.remove(id, `${directory}/rootfs`)
  if (existsSync(directory)) await removeAbandonedTree(directory)
}

/** Records of a bundle that earlier deletes took away and did not finish with. */
function trashedRecords({ trash }: StoreLayout, id: BundleId): string[] {
  return namesIn(trash)
    .filter((name) => bundleOfTrashed(name) === id)
    .map((name) => `${trash}/${name}`)
}

/**
 * Waits until a record is gone from its place also after a power cut: the rename changed the file too, and fsync(2) of a
 * file waits for what changed it. Syncing a directory ext4 writes the journal each time, whatever changed in it.
 */
async function syncRename(layout: StoreLayout, trashed: string): Promise<void> {
  // A clean may have emptied the trash.
  if (!(await syncPathLater(trashed))) await syncDirectoryLater(layout.records)
}

/** @returns where the record is now, or null when there was none */
function trashRecord({ layout }: OpenedStore, id: BundleId): string | null {
  const trashed = `${layout.trash}/${id}-${randomName()}.json`
  try {
    // commit point: without its record there is no bundle
    renameSync(layout.record(id), trashed)
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return null
    // A full btrfs has no room for a new name. Without the record what is left is found by its directory.
    if (!isErrno(error, 'ENOSPC', 'EDQUOT')) throw error
    unlinkSync(layout.record(id))
  }
  return trashed
}
