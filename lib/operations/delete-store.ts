/**
 * delete-store: removes a store with all that groot put there, and nothing else.
 */
import { existsSync, readdirSync, renameSync, rmdirSync, unlinkSync } from 'node:fs'
import { setTimeout } from 'node:timers/promises'
import { deadProbes, removeDeadProbe } from '../driver/probe-directory.js'
import { isErrno, StoreError } from '../errors.js'
import { removeTree } from '../linux/remove-tree.js'
import { listBundleIds, listBundlePlaces } from '../store/bundles.js'
import { type StoreLayout, storeDirectories } from '../store/layout.js'
import { isTemporaryName } from '../store/records.js'
import type { DeleteStoreOptions } from './api.js'
import { type Backing, mountBacking, unmountBacking } from './backing.js'
import { removeBundle } from './delete.js'
import { backingOf } from './mount-store.js'
import { openExisting, storePath } from './opened-store.js'

/**
 * Deletes a store; one that is not there is no error.
 *
 * @throws {StoreError} `store-not-empty` when there are bundles and `force` is not given
 */
export async function deleteStore(options: DeleteStoreOptions): Promise<void> {
  const path = storePath(options.path)
  const backing = existsSync(path) ? backingOf(path) : null
  if (backing !== null && !mountIfThere(path, backing)) return removeBacking(path, backing)
  await deleteContents(path, options)
  if (backing !== null) removeBacking(path, backing)
}

/** @returns false when there is nothing to mount, or no store in it */
function mountIfThere(path: string, backing: Backing): boolean {
  if (!existsSync(backing.file)) return false
  mountBacking(path, backing)
  return existsSync(`${path}/store.json`)
}

function removeBacking(path: string, { file }: Backing): void {
  unmountBacking(path, file)
  removeRoot(path)
}

async function deleteContents(path: string, options: DeleteStoreOptions): Promise<void> {
  const store = await openExisting(path, undefined, 'delete-store', () => {})
  if (store === null) return
  const { layout, locks } = store
  // It may have more than what is in here.
  store.demandDriver()
  const request = { timeoutMs: 60_000 }
  const ids = listBundleIds(layout)
  if (ids.length > 0 && options.force !== true) {
    const count = `${ids.length} bundle${ids.length === 1 ? '' : 's'}`
    throw new StoreError(
      'store-not-empty',
      `Cannot delete store "${path}": it has ${count}; delete them first, or force it`,
      {
        facts: { path, bundles: ids.length },
      },
    )
  }
  for (const id of ids) await removeBundle(store, id, request)
  // What killed creates left may be mounted.
  for (const id of listBundlePlaces(layout).directories) await removeBundle(store, id, request)
  for (const place of [
    layout.root,
    ...readdirSync(layout.drivers).map((name) => `${layout.drivers}/${name}`),
  ]) {
    for (const name of deadProbes(place)) removeDeadProbe(`${place}/${name}`)
  }
  const lock = await locks.gc(request)
  try {
    // commit point: without store.json there is no store; what is left is rubbish that init-store accepts
    unlinkSync(layout.descriptor)
    // Backwards: records before what they name, so that what a kill leaves is never more than unused objects.
    for (const directory of [...storeDirectories(layout)].reverse()) {
      // The locks go last, and by rename, as we hold one of them.
      if (directory.path !== layout.locks) removeTree(directory.path)
    }
  } finally {
    await lock.release()
  }
  removeLocks(layout)
  if (options.force === true) await removeLate(layout)
  removeRoot(path)
}

/** At once for all who look; on a full disk, which may have no room for another name, one after the other. */
function removeLocks({ root, locks }: StoreLayout): void {
  const left = `${root}/.tmp-locks`
  try {
    renameSync(locks, left)
  } catch (error) {
    if (!isErrno(error, 'ENOSPC', 'EDQUOT')) throw error
    return removeTree(locks)
  }
  removeTree(left)
}

/** What runs in a store that is deleted by force may make a directory anew before it sees that nothing works any more. */
async function removeLate(layout: StoreLayout): Promise<void> {
  for (let tries = 0; tries < LATE_TRIES; tries++) {
    const late = storeDirectories(layout).filter(({ path }) => existsSync(path))
    if (late.length === 0 && tries > 0) return
    for (const { path } of late) removeTree(path)
    await setTimeout(LATE_MS)
  }
}

const LATE_TRIES = 20
const LATE_MS = 50

/** The root itself may be a mount point, or hold files of others: then it stays. */
function removeRoot(path: string): void {
  for (const name of readdirSync(path)) {
    if (isTemporaryName(name)) removeTree(`${path}/${name}`)
  }
  try {
    rmdirSync(path)
  } catch (error) {
    if (!isErrno(error, 'ENOTEMPTY', 'EBUSY', 'EEXIST', 'EACCES', 'EPERM')) throw error
  }
}
