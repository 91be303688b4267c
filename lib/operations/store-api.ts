/**
 * The library's interface: making and deleting stores, and logging in; what needs no open store. Types only.
 */
import type { CallOptions, Credentials, IdMappingRequest, RegistrySettings } from './api.js'

export interface InitStoreOptions {
  readonly path: string
  /** Default: `overlay` where that works, else `vfs`. */
  readonly driver?: string
  readonly driverOptions?: unknown
  /** What bundles of this store are made with unless their request has a mapping of its own; see docs/mappings.md. */
  readonly mapping?: IdMappingRequest
  /** What noSync of requests is in this store by default; for stores that may be lost. See docs/durability.md. */
  readonly noSync?: boolean
  /**
   * Makes the store on a filesystem of its own in a file, unless the directory is on one of that kind already; with
   * `storeSizeBytes` and `backingFile`. Default for the driver `btrfs`: `btrfs`.
   */
  readonly filesystem?: 'ext4' | 'xfs' | 'btrfs'
  readonly storeSizeBytes?: number
  /** Absolute path of the file, which must not exist. */
  readonly backingFile?: string
}

export interface MountStoreOptions {
  readonly path: string
}

export interface MountStoreResult {
  readonly path: string
  /** False when there was nothing to do. */
  readonly changed: boolean
}

export interface StoreInfo {
  readonly path: string
  readonly driver: string
  readonly id: string
  /** What the driver's probe had to say. */
  readonly notes: readonly string[]
}

export interface DeleteStoreOptions {
  readonly path: string
  /** Also when there are bundles. */
  readonly force?: boolean
}

export interface LoginRequest extends Pick<CallOptions, 'signal' | 'onEvent'> {
  /** `HOST[:PORT]`; `docker.io` for Docker Hub. */
  readonly host: string
  readonly credentials: Credentials
  /** Registries (`HOST[:PORT]`) that may be talked to over http. */
  readonly insecureRegistries?: readonly string[]
  /** As in CreateRequest; with `authFile` the credentials are kept there. */
  readonly registry?: RegistrySettings
}

export interface LoginResult {
  /** In normal form. */
  readonly host: string
  /** Where the credentials are now: a file, or with a helper, by the name of its program. */
  readonly keptIn:
    | { readonly kind: 'file'; readonly path: string }
    | { readonly kind: 'helper'; readonly name: string }
}

export type LogoutRequest = Pick<LoginRequest, 'signal' | 'onEvent' | 'host' | 'registry'>

export interface LogoutResult {
  readonly host: string
  /** Whether the file had an entry; a helper does not tell. */
  readonly existed: boolean
}
