/**
 * The library's interface: what an orchestrator calls and what it gets. Types only; plain data, so that a request can
 * be carried out on another thread.
 */
import type { EventSink } from '../events.js'

export interface OpenStoreOptions {
  /** Absolute path of the store. */
  readonly path: string
  /** Name of the driver; default: what the store was made with, or `vfs` for a new one. */
  readonly driver?: string
  /** Whether a store that does not exist is made with defaults. Default true. */
  readonly make?: boolean
  /**
   * Where the work is done: `engine` (default) on a thread of its own, so that the caller's event loop is never blocked;
   * `caller` on the calling thread, which starts faster and suits a command.
   */
  readonly thread?: 'engine' | 'caller'
}

export interface CallOptions {
  readonly signal?: AbortSignal
  readonly onEvent?: EventSink
  /** How long to wait for a lock, in milliseconds. Default 60,000. */
  readonly lockTimeoutMs?: number
}

export interface Credentials {
  readonly username: string
  readonly password: string
}

export interface CreateRequest extends CallOptions {
  /** Where the image is, as docs/images.md describes it. */
  readonly image: string
  readonly id: string
  /** `os/arch[/variant]`; default: this machine's. */
  readonly platform?: string
  readonly readOnly?: boolean
  /** For callers without root: owners become the caller, devices and privileged xattrs are left out and reported. */
  readonly ignoreOwnership?: boolean
  /** Registries (`HOST[:PORT]`) that may be talked to over http. */
  readonly insecureRegistries?: readonly string[]
  readonly credentials?: Credentials
  /** Caps on what the image may unpack to; see docs/security.md for the defaults. */
  readonly limits?: {
    readonly maxFileBytes?: number
    readonly maxTotalBytes?: number
    readonly maxEntries?: number
  }
}

export interface MountInfo {
  readonly destination: string
  readonly type: string
  readonly source: string
  readonly options: readonly string[]
}

export interface BundleInfo {
  readonly id: string
  /** Absolute path of the bundle directory. */
  readonly bundle: string
  readonly rootfs: string
  readonly image: { readonly reference: string; readonly digest: string }
  readonly driver: string
  readonly mounts: readonly MountInfo[]
}

export interface BundleSummary extends BundleInfo {
  /** RFC 3339, UTC. */
  readonly createdAt: string
}

export interface DeleteResult {
  readonly id: string
  /** False when there was nothing to delete. */
  readonly existed: boolean
}

/** GrootFS's shape. */
export interface BundleStats {
  readonly disk_usage: { readonly total_bytes_used: number; readonly exclusive_bytes_used: number }
}

export interface CheckProblem {
  readonly code: string
  /** What is damaged: `object`, `layer`, `image`, `bundle`, `record`, … */
  readonly what: string
  readonly name: string
  readonly message: string
}

export interface CheckReport {
  readonly objects: number
  readonly layers: number
  readonly images: number
  readonly bundles: number
  /** Bytes read. */
  readonly bytes: number
  readonly problems: readonly CheckProblem[]
}

export interface InitStoreOptions {
  readonly path: string
  /** Default `vfs`. */
  readonly driver?: string
  readonly driverOptions?: unknown
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

export interface GrootStore extends AsyncDisposable {
  readonly path: string
  readonly driver: string
  /** Commit point: the bundle record. On any error nothing of the bundle is left. */
  create(request: CreateRequest): Promise<BundleInfo>
  /** Deleting what is not there succeeds with `existed: false`. */
  delete(id: string, options?: CallOptions): Promise<DeleteResult>
  /** Whole bundles only, by id in byte order. Never waits for creates. */
  list(options?: CallOptions): Promise<BundleSummary[]>
  stats(id: string, options?: CallOptions): Promise<BundleStats>
  /** Recomputes every digest; changes nothing. Problems are in the report, not thrown. */
  check(options?: CallOptions): Promise<CheckReport>
  close(): Promise<void>
}
