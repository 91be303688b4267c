/**
 * The library's interface: what an orchestrator calls and what it gets. Types only; plain data, so that a request can
 * be carried out on another thread.
 */
import type { RegistrySettings } from '../config/settings.js'
import type { EventSink } from '../events.js'

export type { RegistrySettings }

export interface OpenStoreOptions {
  /** Absolute path of the store. */
  readonly path: string
  /** Name of the driver; default: what the store was made with; for a new one, see InitStoreOptions. */
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

/**
 * `missing`: a tag is looked up again each time, a digest that the store knows never; when no registry can be asked, what
 * the tag was last is used, with the warning `image-from-cache`. `always`: a registry is asked, and must answer. `never`: no
 * registry is asked.
 */
export type PullPolicy = 'missing' | 'always' | 'never'

export interface CreateRequest extends CallOptions {
  /** Where the image is, as docs/images.md describes it. */
  readonly image: string
  readonly id: string
  /** When a registry is asked. Default: `missing`. */
  readonly pull?: PullPolicy
  /** `os/arch[/variant]`; default: this machine's. */
  readonly platform?: string
  readonly readOnly?: boolean
  /** Mounts nothing: the mounts that make the rootfs stand in the result and in config.json, for the runtime. */
  readonly withoutMount?: boolean
  /**
   * How far the kernel checks contents: `require` refuses where it cannot, `try` checks where it can, `off` never.
   * Default: what the store was made with.
   */
  readonly verity?: 'require' | 'try' | 'off'
  /** The fs-verity digest that the tree's composefs image must have; 64 hex digits. Otherwise `digest-unexpected`. */
  readonly expectDigest?: string
  /** For callers without root: owners become the caller, devices and privileged xattrs are left out and reported. */
  readonly ignoreOwnership?: boolean
  /** Registries (`HOST[:PORT]`) that may be talked to over http. */
  readonly insecureRegistries?: readonly string[]
  readonly credentials?: Credentials
  /** Where this machine's configuration of registries is, and whether it counts; docs/registries.md has the places. */
  readonly registry?: RegistrySettings
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
  /** fs-verity digest (SHA-256) of the composefs image of the tree: the same tree has the same, whatever the driver. */
  readonly digest: string
  readonly driver: string
  readonly mounts: readonly MountInfo[]
}

export interface BundleSummary extends BundleInfo {
  /** RFC 3339, UTC. */
  readonly createdAt: string
}

export interface ImageDigest {
  readonly image: { readonly reference: string; readonly digest: string }
  /** As in BundleInfo. */
  readonly digest: string
}

/** Where to find an image; see CreateRequest. */
export type DigestRequest = Pick<
  CreateRequest,
  | 'signal'
  | 'onEvent'
  | 'lockTimeoutMs'
  | 'image'
  | 'platform'
  | 'insecureRegistries'
  | 'credentials'
  | 'registry'
  | 'limits'
  | 'pull'
>

export type PullRequest = DigestRequest

export interface MountResult {
  readonly id: string
  /** False when there was nothing to do: mounted already, or a driver without mounts. */
  readonly changed: boolean
}

export interface DeleteResult {
  readonly id: string
  /** False when there was nothing to delete. */
  readonly existed: boolean
}

/** GrootFS's shape. */
export interface BundleStats {
  /** As in BundleInfo. */
  readonly digest: string
  readonly disk_usage: { readonly total_bytes_used: number; readonly exclusive_bytes_used: number }
}

export interface CheckProblem {
  readonly code: string
  /** What is damaged: `object`, `layer`, `image`, `base`, `bundle`. */
  readonly what: string
  readonly name: string
  readonly message: string
  /** Whether --repair mended it. */
  readonly repaired: boolean
  /** What the repair did, or why it could not; absent without a repair. */
  readonly remedy?: string
}

export interface CheckOptions extends CallOptions {
  /** Mends what can be mended: layers from their images' sources, bases from layers. */
  readonly repair?: boolean
}

export interface CheckReport {
  readonly objects: number
  readonly layers: number
  readonly images: number
  readonly bases: number
  readonly bundles: number
  /** Bytes read. */
  readonly bytes: number
  readonly problems: readonly CheckProblem[]
}

export interface CleanRequest extends CallOptions {
  /** Unused images, bases and layers are removed until the store takes no more than this. Without: all of them. */
  readonly thresholdBytes?: number
  /** Leaves what was used within this time. */
  readonly olderThanMs?: number
  /** Images to leave alone, by name or digest, as if they were pinned. */
  readonly keep?: readonly string[]
  /** Changes nothing; the report says what would be done. */
  readonly dryRun?: boolean
  /** Stops between two steps when this time is over; what is left is for the next clean. */
  readonly maxDurationMs?: number
}

/** What clean removes; objects are counted and not named. */
export type CleanedKind =
  | 'image'
  | 'base'
  | 'layer'
  /** What is left of a bundle without a record. */
  | 'bundle'
  /** What an operation that died left: its record, its staging directory. */
  | 'lease'
  | 'trash'
  | 'temporary'
  /** What the driver has for a base without a record. */
  | 'base-data'

export interface CleanedItem {
  readonly what: CleanedKind
  readonly name: string
  readonly bytes: number
}

export interface SkippedItem {
  readonly what: CleanedKind | 'object' | 'pin' | 'store'
  readonly name: string
  readonly code: string
  readonly message: string
}

export interface CleanReport {
  readonly dryRun: boolean
  /** What the store took before, bundles aside: objects, layers, bases, images and leavings. */
  readonly bytes: number
  readonly thresholdBytes: number | null
  /** Then nothing was done. */
  readonly belowThreshold: boolean
  readonly freedBytes: number
  /** Objects removed, their bytes among `freedBytes`. */
  readonly objects: number
  readonly removed: readonly CleanedItem[]
  /** What could not be removed, or not be told to be unused, and why. */
  readonly skipped: readonly SkippedItem[]
  /** The names that are pinned. */
  readonly pinned: readonly string[]
  /** False when `maxDurationMs` was over first. */
  readonly complete: boolean
}

export interface PinResult {
  /** What is pinned: a reference in full form, or a digest. */
  readonly image: string
  /** False when it was so already. */
  readonly changed: boolean
}

/** A lock that somebody holds; null where it cannot be told. */
export interface HeldLock {
  /** `gc`, `bundle/ID`, `base/ID`, `layer/DIFFID`, `lease/NAME`. */
  readonly lock: string
  readonly pid: number | null
  readonly command: string | null
  /** RFC 3339, UTC. */
  readonly since: string | null
}

export interface InitStoreOptions {
  readonly path: string
  /** Default: `overlay` where that works, else `vfs`. */
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
  /** The digest that the tree of an image has. Fetches what the store lacks; needs neither driver nor root. */
  digest(request: DigestRequest): Promise<ImageDigest>
  /** Brings an image in and makes its base, so that a create has nothing left to fetch; makes no bundle. */
  pull(request: PullRequest): Promise<ImageDigest>
  /** Mounts the rootfs of a bundle again, as after a reboot. */
  mount(id: string, options?: CallOptions): Promise<MountResult>
  /** Takes the mount of a rootfs away; what was written stays. */
  unmount(id: string, options?: CallOptions): Promise<MountResult>
  /** Recomputes every digest; changes nothing unless told to repair. Problems are in the report, not thrown. */
  check(options?: CheckOptions): Promise<CheckReport>
  /**
   * Removes what nobody uses: least recently used images, bases and layers first, then objects that no layer needs; and what
   * killed operations left. Waits for no create and stops none. What cannot be removed is in the report, not thrown.
   */
  clean(request?: CleanRequest): Promise<CleanReport>
  /** Keeps an image that the store has from being cleaned, with its layers. @throws {NotFoundError} `image-missing` */
  pin(image: string, options?: CallOptions): Promise<PinResult>
  unpin(image: string, options?: CallOptions): Promise<PinResult>
  /** Who holds which lock, by name of the lock. */
  locks(options?: CallOptions): Promise<HeldLock[]>
  close(): Promise<void>
}
