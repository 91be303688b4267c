/**
 * What surrounds an operation that writes: whether its syncs are left out, and what that needs before and after.
 */
import { syncFilesystemOf } from '../linux/sync.js'
import { isSyncing, withoutSyncs, withSyncs } from '../linux/sync-mode.js'
import { checkWritable } from '../store/descriptor.js'
import { stampUnsynced, unsyncedState } from '../store/unsynced.js'
import type { CallOptions } from './api.js'
import type { OpenedStore } from './opened-store.js'

export type WritingOptions = CallOptions & { readonly noSync?: boolean }

/**
 * Carries out an operation that writes and uses what is there. A store that was written without syncs before the machine was
 * started again is verified first.
 *
 * @param syncsFound whether the work calls `syncFound` itself: what may fail has to come before its commit point
 */
export async function whileWriting<T>(
  store: OpenedStore,
  options: WritingOptions,
  work: () => Promise<T>,
  syncsFound = false,
): Promise<T> {
  const { layout, descriptor } = store
  const state = unsyncedState(layout)
  if (state === 'before') {
    checkWritable(layout.descriptor, descriptor)
    await withSyncs(async () => (await import('./recover.js')).recoverStore(store, options))
  }
  if (options.noSync ?? descriptor.noSync) {
    checkWritable(layout.descriptor, descriptor)
    // One that was verified just now has no stamp any more.
    if (state !== 'here') await withSyncs(async () => stampUnsynced(layout))
    return await withoutSyncs(work)
  }
  return await withSyncs(async () => {
    const result = await work()
    if (!syncsFound) syncFound(store)
    return result
  })
}

/** What an operation finds, and builds on, others may have written without a sync: one that promises to be durable syncs it. */
export function syncFound({ layout }: OpenedStore): void {
  if (isSyncing() && unsyncedState(layout) !== 'none') syncFilesystemOf(layout.root)
}
