/**
 * What an orchestrator imports. Everything else is inside.
 *
 * No console output, no process exit, no global state.
 */
import { withSyncs } from './linux/sync-mode.js'
import type {
  DeleteStoreOptions,
  GrootStore,
  InitStoreOptions,
  LoginRequest,
  LoginResult,
  LogoutRequest,
  LogoutResult,
  MountStoreOptions,
  MountStoreResult,
  OpenStoreOptions,
  StoreInfo,
} from './operations/api.js'
import { asGroot, atBorder } from './operations/border.js'
import { BorderStore } from './operations/border-store.js'
import type { ComposefsTools } from './operations/composefs/api.js'
import {
  DELETE_STORE,
  FILTER,
  type Fields,
  INFO,
  INIT_STORE,
  LOGIN,
  LOGOUT,
  MEASURE,
  MISSING,
  MOUNT,
  MOUNT_STORE,
  makeFields,
  OPEN_STORE,
  takeFields,
} from './operations/request-fields.js'

export { registryEnvironment } from './config/settings.js'
export * from './errors.js'
export type { EventSink, GrootEvent } from './events.js'
export { parseIdRange } from './ids/mapping.js'
export type * from './operations/api.js'
export type * from './operations/composefs/api.js'
export { BUNDLE_ID } from './store/bundle-id.js'

/**
 * Opens a store, and makes it first when it does not exist and `make` is not false.
 *
 * The work is done on a thread of its own unless `thread` is `caller`. Close the store when done.
 *
 * @throws {StoreError} `store-missing`, `store-invalid`, `store-version`, `store-feature`, `store-unsafe`, `store-driver`
 */
export async function openStore(options: OpenStoreOptions): Promise<GrootStore> {
  const taken = takeFields(OPEN_STORE, options)
  const open =
    taken.thread === 'caller'
      ? (await import('./operations/open-store.js')).openStoreHere
      : (await import('./engine/client.js')).openStoreOnEngine
  return new BorderStore(await open(taken), taken.thread === 'caller')
}

/**
 * Makes a store in a directory that is missing or empty.
 *
 * @throws {StoreError} `store-exists`, `store-not-empty`, `store-unsafe`
 * @throws {UnsupportedError} `driver-unknown`, `driver-unusable`, `lock-unsupported`
 */
export async function initStore(options: InitStoreOptions): Promise<StoreInfo> {
  const taken = takeFields(INIT_STORE, options)
  return asGroot(`Cannot make store "${taken.path}"`, () =>
    withSyncs(async () => (await import('./operations/init-store.js')).initStore(taken)),
  )
}

/**
 * Mounts the filesystem of a store that is in a file again, as after a reboot. Other stores need nothing.
 *
 * @throws {StoreError} `store-invalid` when the file is missing, `store-unsafe`
 */
export async function mountStore(options: MountStoreOptions): Promise<MountStoreResult> {
  const taken = takeFields(MOUNT_STORE, options)
  return asGroot(`Cannot mount store "${taken.path}"`, () =>
    withSyncs(async () => (await import('./operations/mount-store.js')).mountStore(taken)),
  )
}

/**
 * Deletes a store and everything that groot put there; one that does not exist is no error.
 *
 * @throws {StoreError} `store-not-empty` when there are bundles and `force` is not given
 */
export async function deleteStore(options: DeleteStoreOptions): Promise<void> {
  const taken = takeFields(DELETE_STORE, options)
  return asGroot(`Cannot delete store "${taken.path}"`, () =>
    withSyncs(async () => (await import('./operations/delete-store.js')).deleteStore(taken)),
  )
}

/**
 * Verifies credentials with a registry and keeps them where Docker does: with the helper that its file names, else in the
 * file. When this throws, nothing has changed.
 *
 * @throws {UsageError} `option-invalid`, `configuration-invalid`
 * @throws {AuthError} `auth-denied`, `auth-required`, `auth-realm-refused`, `credential-helper-failed`
 * @throws {RegistryError}
 */
export async function login(request: LoginRequest): Promise<LoginResult> {
  return atBorder(LOGIN, request, (taken) =>
    withSyncs(async () => (await import('./operations/login.js')).login(taken)),
  )
}

/**
 * Forgets the credentials for a registry; that there are none is no error.
 *
 * @throws {UsageError} `option-invalid`, `configuration-invalid`
 * @throws {AuthError} `credential-helper-failed`
 */
export async function logout(request: LogoutRequest): Promise<LogoutResult> {
  return atBorder(LOGOUT, request, (taken) =>
    withSyncs(async () => (await import('./operations/login.js')).logout(taken)),
  )
}

/** Carries out a tool over the border, loaded when it is asked for. */
function tool<T extends object, R>(
  fields: Fields<T>,
  load: () => Promise<(request: T) => Promise<R>>,
): (request: T) => Promise<R> {
  return (request) => atBorder(fields, request, async (taken) => (await load())(taken))
}

/** Composefs images without a store: what mkcomposefs, composefs-info and mount.composefs do. See docs/composefs.md. */
export const composefs: ComposefsTools = {
  make: (request) =>
    atBorder(makeFields(request), request, (taken) =>
      withSyncs(async () => (await import('./operations/composefs/make.js')).makeImage(taken)),
    ),
  info: tool(INFO, async () => (await import('./operations/composefs/info.js')).infoOfImages),
  list: tool(FILTER, async () => (await import('./operations/composefs/list.js')).listImages),
  dump: tool(FILTER, async () => (await import('./operations/composefs/dump.js')).dumpImages),
  objects: tool(FILTER, async () => (await import('./operations/composefs/objects.js')).objectsOfImages),
  missingObjects: tool(
    MISSING,
    async () => (await import('./operations/composefs/objects.js')).missingObjects,
  ),
  measure: tool(MEASURE, async () => (await import('./operations/composefs/measure.js')).measureFiles),
  mount: tool(MOUNT, async () => (await import('./operations/composefs/mount.js')).mountImage),
}
