/**
 * What an orchestrator imports. Everything else is inside.
 *
 * No console output, no process exit, no global state.
 */
import type {
  DeleteStoreOptions,
  GrootStore,
  InitStoreOptions,
  OpenStoreOptions,
  StoreInfo,
} from './operations/api.js'

export * from './errors.js'
export type { EventSink, GrootEvent } from './events.js'
export type * from './operations/api.js'
export { BUNDLE_ID } from './store/bundle-id.js'

/**
 * Opens a store, and makes it first when it does not exist and `make` is not false.
 *
 * The work is done on a thread of its own unless `thread` is `caller`. Close the store when done.
 *
 * @throws {StoreError} `store-missing`, `store-invalid`, `store-version`, `store-feature`, `store-unsafe`, `store-driver`
 */
export async function openStore(options: OpenStoreOptions): Promise<GrootStore> {
  if (options.thread === 'caller') return (await import('./operations/open-store.js')).openStoreHere(options)
  return (await import('./engine/client.js')).openStoreOnEngine(options)
}

/**
 * Makes a store in a directory that is missing or empty.
 *
 * @throws {StoreError} `store-exists`, `store-not-empty`, `store-unsafe`
 * @throws {UnsupportedError} `driver-unknown`, `driver-unusable`, `lock-unsupported`
 */
export async function initStore(options: InitStoreOptions): Promise<StoreInfo> {
  return (await import('./operations/init-store.js')).initStore(options)
}

/**
 * Deletes a store and everything that groot put there; one that does not exist is no error.
 *
 * @throws {StoreError} `store-not-empty` when there are bundles and `force` is not given
 */
export async function deleteStore(options: DeleteStoreOptions): Promise<void> {
  return (await import('./operations/delete-store.js')).deleteStore(options)
}
