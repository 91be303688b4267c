/**
 * locks: who holds what, since when. Waits for nobody and takes nothing away.
 */
import { isLeaseAlive, leaseHolder, listLeaseIds } from '../store/leases.js'
import type { HeldLock } from './api.js'
import type { OpenedStore } from './opened-store.js'

/** Locks and leases, by name. */
export async function listLocks({ layout, locks }: OpenedStore): Promise<HeldLock[]> {
  const leases = listLeaseIds(layout)
    .filter((id) => isLeaseAlive(layout, id))
    .map((id) => ({ name: `lease/${id}`, holder: leaseHolder(layout, id) }))
  return [...(await locks.holders()), ...leases].map(({ name, holder }) => ({
    lock: name,
    pid: holder?.pid ?? null,
    command: holder?.command ?? null,
    since: holder?.since ?? null,
  }))
}
