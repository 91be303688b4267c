/**
 * locks: who holds what, since when. Waits for nobody and takes nothing away.
 */
import type { HeldLock } from './api.js'
import type { OpenedStore } from './opened-store.js'

export async function listLocks({ locks }: OpenedStore): Promise<HeldLock[]> {
  return (await locks.holders()).map(({ name, holder }) => ({
    lock: name,
    pid: holder?.pid ?? null,
    command: holder?.command ?? null,
    since: holder?.since ?? null,
  }))
}
