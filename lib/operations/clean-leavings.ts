/**
 * Leavings: what killed processes left in a store. Each is found without a lock, and removed under the lock that its owner
 * would hold, after another look.
 */
import type { Driver } from '../driver/contract.js'
import { deadProbes, isProbeName, removeDeadProbe } from '../driver/probe-directory.js'
import { isGrootError } from '../errors.js'
import { diskUsageInSlices } from '../linux/disk-usage.js'
import { namesIn } from '../linux/names.js'
import { removeTreeInSlices } from '../linux/remove-tree.js'
import type { Lock } from '../locks/locks.js'
import type { BaseId } from '../store/base-id.js'
import type { BundleId } from '../store/bundle-id.js'
import { listBundleIds, listBundlePlaces, readBundle } from '../store/bundles.js'
import type { StoreLayout } from '../store/layout.js'
import { endDeadLease, isLeaseAlive, listLeaseIds } from '../store/leases.js'
import { leaseOfAnnounced, listAnnounced } from '../store/publishing.js'
import { statOf } from '../store/record-watch.js'
import { isDeadTemporary, isTemporaryName, removeDeadTemporary, removeIfThere } from '../store/records.js'
import { bundleOfTrashed } from '../store/trash.js'
import type { CleanedKind } from './api.js'
import type { CleanJob } from './clean-job.js'
import { removeLeavings as removeBundleLeavings } from './delete.js'

export interface Leaving {
  readonly what: CleanedKind
  readonly name: string
  readonly bytes: number
  /** @returns false when it is gone, no leaving any more, or somebody is busy with it */
  remove(): Promise<boolean>
}

/** Finds them all. What is in use by a living process is none. */
export async function findLeavings(job: CleanJob): Promise<Leaving[]> {
  const held = await heldLocks(job)
  const found: Leaving[] = []
  for (const find of [deadLeases, orphanBundles, orphanBases, trash, temporaryFiles, probes]) {
    try {
      found.push(...(await find(job, held)))
    } catch (error) {
      job.failed('store', job.store.layout.root, error)
    }
  }
  return found
}

async function heldLocks({ store }: CleanJob): Promise<ReadonlySet<string>> {
  return new Set((await store.locks.holders()).map(({ name }) => name))
}

/** Removes them, each for itself. */
export async function removeLeavings(job: CleanJob, leavings: readonly Leaving[]): Promise<void> {
  for (const { what, name, bytes, remove } of leavings) {
    if (job.isOver()) return
    if (job.dryRun) {
      job.removed({ what, name, bytes })
      continue
    }
    try {
      if (await remove()) job.removed({ what, name, bytes })
    } catch (error) {
      job.failed(what, name, error)
    }
  }
  if (job.dryRun) return
  try {
    await job.store.locks.removeLeftovers()
    job.store.locks.keepSpares()
  } catch (error) {
    job.failed('store', job.store.layout.locks, error)
  }
}

/** Records, staging directories and announced layers by lease. */
async function deadLeases(job: CleanJob): Promise<Leaving[]> {
  const { layout } = job.store
  const ids = new Set([
    ...listLeaseIds(layout),
    ...namesIn(layout.staging),
    ...listAnnounced(layout).map(leaseOfAnnounced),
  ])
  const found: Leaving[] = []
  for (const id of [...ids].sort()) {
    if (isLeaseAlive(layout, id) || isUnreadable(job, 'lease', `${layout.staging}/${id}`)) continue
    const record = `${layout.leases}/${id}.json`
    const staging = `${layout.staging}/${id}`
    const announced = () =>
      listAnnounced(layout)
        .filter((name) => leaseOfAnnounced(name) === id)
        .map((name) => `${layout.publishing}/${name}`)
    found.push({
      what: 'lease',
      name: id,
      bytes: await bytesOf([record, staging, ...announced()], job.signal),
      remove: async () => {
        let wasThere = false
        const isEnded = await endDeadLease(layout, id, async () => {
          wasThere = [record, staging, ...announced()].some(isThere)
          await removeTreeInSlices(staging, job.signal)
          for (const path of announced()) await removeTreeInSlices(path, job.signal)
        })
        return isEnded && wasThere
      },
    })
  }
  return found
}

/** Directories of bundles, and what the driver has of them, without a record: a create or a delete did not finish. */
async function orphanBundles(job: CleanJob, held: ReadonlySet<string>): Promise<Leaving[]> {
  const { layout, locks } = job.store
  const { directories, strays } = listBundlePlaces(layout)
  for (const name of strays) stray(job, 'bundle', `${layout.bundles}/${name}`)
  const ids = new Set<BundleId>(directories)
  const driver = driverOf(job)
  const bundlesOfDriver = async () =>
    driver === null ? [] : await listed<BundleId>(job, () => driver.listBundles())
  for (const id of await bundlesOfDriver()) ids.add(id)
  const found: Leaving[] = []
  for (const id of [...ids].sort()) {
    if (held.has(`bundle/${id}`) || isThere(layout.record(id))) continue
    found.push({
      what: 'bundle',
      name: id,
      bytes: await bytesOf([layout.bundle(id)], job.signal),
      remove: async () => {
        await using lock = await ifFree(locks.bundle(id, { timeoutMs: 0, signal: job.signal }))
        if (lock === null || isThere(layout.record(id))) return false
        const wasThere = isThere(layout.bundle(id)) || (await bundlesOfDriver()).includes(id)
        await removeBundleLeavings(job.store, id)
        for (const name of namesIn(layout.trash)) {
          if (bundleOfTrashed(name) === id) removeIfThere(`${layout.trash}/${name}`)
        }
        return wasThere
      },
    })
  }
  return found
}

/**
 * What the driver has for bases that have no record. One that a bundle is made on is none, whatever became of its record:
 * a power cut may have taken that.
 */
async function orphanBases(job: CleanJob, held: ReadonlySet<string>): Promise<Leaving[]> {
  const { layout, locks } = job.store
  const driver = driverOf(job)
  if (driver === null) return []
  const isOrphan = (id: BaseId) => !isThere(layout.base(id)) && !isBundleBase(layout, id)
  const found: Leaving[] = []
  const basesOfDriver = () => listed<BaseId>(job, () => driver.listBases())
  for (const id of await basesOfDriver()) {
    if (held.has(`base/${id}`) || !isOrphan(id)) continue
    found.push({
      what: 'base-data',
      name: id,
      bytes: 0, // where its bytes are only the driver knows
      remove: async () => {
        await using lock = await ifFree(locks.base(id, { timeoutMs: 0, signal: job.signal }))
        if (lock === null || !isOrphan(id) || !(await basesOfDriver()).includes(id)) return false
        await driver.removeBase(id)
        return true
      },
    })
  }
  return found
}

/** Whether a bundle needs it; one whose record cannot be read may. */
function isBundleBase(layout: StoreLayout, base: BaseId): boolean {
  return listBundleIds(layout).some((id) => {
    try {
      return readBundle(layout, id)?.base === base
    } catch {
      return true
    }
  })
}

/** All that is in the trash, but records of bundles that are still there: those go with their bundle. */
async function trash(job: CleanJob, held: ReadonlySet<string>): Promise<Leaving[]> {
  const { layout } = job.store
  const found: Leaving[] = []
  for (const name of namesIn(layout.trash)) {
    const bundle = bundleOfTrashed(name)
    if (bundle !== null && held.has(`bundle/${bundle}`)) continue
    if (isUnreadable(job, 'trash', `${layout.trash}/${name}`)) continue
    const isOrphan = () =>
      bundle !== null && isThere(layout.bundle(bundle)) && !isThere(layout.record(bundle))
    if (isOrphan()) continue
    const path = `${layout.trash}/${name}`
    found.push({
      what: 'trash',
      name,
      bytes: await bytesOf([path], job.signal),
      remove: async () => {
        if (isOrphan() || !isThere(path)) return false
        await removeTreeInSlices(path, job.signal)
        return true
      },
    })
  }
  return found
}

/** Halves of records that nobody is writing any more. */
async function temporaryFiles(job: CleanJob): Promise<Leaving[]> {
  const { root, leases, records, layers, images, refs, bases, pins } = job.store.layout
  const found: Leaving[] = []
  for (const directory of [root, leases, records, layers, images, refs, bases, pins]) {
    for (const name of namesIn(directory).filter(isTemporaryName)) {
      const path = `${directory}/${name}`
      if (isProbeName(name) || !isDeadTemporary(path)) continue
      found.push({
        what: 'temporary',
        name: path.slice(root.length + 1),
        bytes: await bytesOf([path], job.signal),
        remove: async () => removeDeadTemporary(path),
      })
    }
  }
  return found
}

/** What probes left that were killed, in the store and in the rooms of drivers, with what they mounted. */
async function probes(job: CleanJob): Promise<Leaving[]> {
  const { root, drivers } = job.store.layout
  const found: Leaving[] = []
  for (const place of [root, ...namesIn(drivers).map((name) => `${drivers}/${name}`)]) {
    for (const name of deadProbes(place)) {
      const path = `${place}/${name}`
      found.push({
        what: 'temporary',
        name: path.slice(root.length + 1),
        bytes: await bytesOf([path], job.signal),
        remove: async () => removeDeadProbe(path),
      })
    }
  }
  return found
}

/** The driver; null when it does not work here, which is reported. */
export function driverOf(job: CleanJob): Driver | null {
  try {
    return job.store.driver
  } catch (error) {
    job.failed('store', job.store.descriptor.driver, error)
    return null
  }
}

/** What a driver lists; what it says before it fails counts. */
async function listed<T>(job: CleanJob, list: () => AsyncIterable<T>): Promise<T[]> {
  const found: T[] = []
  try {
    for await (const each of list()) found.push(each)
  } catch (error) {
    job.failed('store', job.store.descriptor.driver, error)
  }
  return found
}

function isThere(path: string): boolean {
  return statOf(path) !== null
}

/** Null when somebody has the lock now. */
export async function ifFree(taking: Promise<Lock>): Promise<Lock | null> {
  try {
    return await taking
  } catch (error) {
    if (isGrootError(error) && error.code === 'lock-timeout') return null
    throw error
  }
}

export function stray(job: CleanJob, what: CleanedKind | 'object', path: string): void {
  const name = path.slice(path.lastIndexOf('/') + 1)
  job.skipped(what, name, 'stray-file', `Cannot tell what "${path}" is: it is not part of a store`)
}

/** Names that are no text are none of ours, and would not be found by what is read of them. */
function isUnreadable(job: CleanJob, what: CleanedKind, path: string): boolean {
  if (!path.includes('\ufffd')) return false
  stray(job, what, path)
  return true
}

/** Blocks of files and trees; what cannot be measured counts as nothing. */
async function bytesOf(paths: readonly string[], signal: AbortSignal): Promise<number> {
  let bytes = 0
  for (const path of paths) {
    try {
      bytes += (await diskUsageInSlices(path, signal)).bytes
    } catch (error) {
      if (isGrootError(error) && error.kind === 'aborted') throw error
    }
  }
  return bytes
}
