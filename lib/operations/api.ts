/**
 * The library's interface: what an orchestrator calls and what it gets. Types only; plain data, so that a request can
 * be carried out on another thread.
 */
import type { RegistrySettings } from '../config/settings.js'
import type { EventSink } from '../events.js'
import type { IdMappingRequest } from '../ids/mapping.js'

export type { IdMappingRequest, IdRange, UnmappedIds } from '../ids/mapping.js'
export type * from './store-api.js'
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
  /** The fs-verity digest that the tree's composefs image must have, and the mounted one too; 64 hex digits. */
  readonly expectDigest?: string
  /** For callers without root: owners become the caller, devices and privileged xattrs are left out and reported. */
  readonly ignoreOwnership?: boolean
  /**
   * Leaves out all syncs: faster, and not there after a power cut. Then the next operation that writes verifies the whole
   * store first. Default: what the store was made with. See docs/durability.md.
   */
  readonly noSync?: boolean
  /** Cleans the store first, as clean() does with this threshold; a clean that fails is a warning (`clean-failed`). */
  readonly withClean?: { readonly thresholdBytes?: number }
  /**
   * Which ids of the host those of the container are, as docs/mappings.md has it; needs root. Null: owners as the image has them,
   * whatever the store says. Default: what the store was made with.
   */
  readonly mapping?: IdMappingRequest | null
  /** What the container may write to its root filesystem, volumes aside, at most; docs/limits.md. Default: no limit. */
  readonly diskLimitSizeBytes?: number
  /** Counts only what the container writes; else the image's own bytes are part of the limit. */
  readonly excludeImageFromQuota?: boolean
  /**
   * Who holds the limit: the filesystem of the store by its quotas, `native`, which is the default, or a filesystem of
   * that size in a file, `loop`. What cannot be held is refused.
   */
  readonly quotaBackend?: 'native' | 'loop'
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
    readonly maxMetadataBytes?: number
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
  | 'noSync'
  | 'pull'
>

/** With a mapping the base for that mapping is made. */
export type PullRequest = DigestRequest & Pick<CreateRequest, 'mapping'>

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
  /** Null for none. */
  readonly disk_limit: DiskLimitInfo | null
}

/** Names as in BundleStats. */
export interface DiskLimitInfo {
  /** As it was asked for. */
  readonly size_bytes: number
  readonly exclude_image: boolean
  /** What of it is the container's to write, before it has written anything. */
  readonly writable_bytes: number
  readonly backend: 'native' | 'loop'
}

export interface LimitRequest extends CallOptions {
  readonly diskLimitSizeBytes: number
  /** As in CreateRequest. Default: as the bundle was made. */
  readonly excludeImageFromQuota?: boolean
}

export interface LimitResult {
  readonly id: string
  readonly disk_limit: DiskLimitInfo
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
  /** `gc`, `bundle/ID`, `base/ID`, `layer/DIFFID`, `task/NAME`; `lease/ID` for what a running operation needs. */
  readonly lock: string
  readonly pid: number | null
  readonly command: string | null
  /** RFC 3339, UTC. */
  readonly since: string | null
}

/** An image that the store has. Bytes are of blocks on disk; a thing that several need counts for each of them once. */
export interface ImageSummary {
  /** Of the manifest. */
  readonly digest: string
  /** In full form, in byte order; none when all names have come to mean other images. */
  readonly references: readonly string[]
  /** `os/arch[/variant]`, as its config says. */
  readonly platform: string | null
  /** What `digest` gives: of the tree; null when there is no base yet, so that it is not known. */
  readonly tree: string | null
  /** Whether all its layers are here; not when a pull was cut short. */
  readonly complete: boolean
  /** Of all that it needs: objects, layer records, base, manifest, config and names. */
  readonly totalBytes: number
  /** What of them other images need too, or bundles of images that are gone. */
  readonly sharedBytes: number
  /** The rest: what removing the image would free. */
  readonly ownBytes: number
  /** RFC 3339, UTC; to the minute. */
  readonly lastUsedAt: string
  readonly pinned: boolean
  /** How many bundles were made from it. */
  readonly bundles: number
}

export interface RemoveImagesRequest extends CallOptions {
  /** References or digests. A reference that stands for images of several platforms means all of them. */
  readonly images: readonly string[]
  /**
   * Takes the names away also where bundles or running operations use the image, or where a digest has several names. What
   * is in use stays until it is not, and the next clean has it.
   */
  readonly force?: boolean
}

export interface RemovedImage {
  /** Of the manifest. */
  readonly digest: string
  /** The references that do not lead to it any more. */
  readonly untagged: readonly string[]
  /** Whether the image itself is gone: false while it has other names, or something uses it. */
  readonly removed: boolean
}

export interface RemoveImagesReport {
  readonly images: readonly RemovedImage[]
  readonly freedBytes: number
  /** Objects removed, their bytes among `freedBytes`. */
  readonly objects: number
  /** Images, bases and layers that were removed. */
  readonly removed: readonly CleanedItem[]
  /** What could not be removed, and why. */
  readonly skipped: readonly SkippedItem[]
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
  /**
   * Changes the disk limit of a bundle that was made with one, also while its container runs.
   *
   * @throws {QuotaError} `quota-exceeded` when the image, or what is written already, is more
   */
  limit(id: string, request: LimitRequest): Promise<LimitResult>
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
  /** The images of the store, by name. What is damaged is told as a warning and left out. Waits for nobody. */
  images(options?: CallOptions): Promise<ImageSummary[]>
  /**
   * Removes images, with all that nobody else needs. A name of an image that has other names is taken away and no more. When this
   * throws because of the request, nothing was removed; what could not be removed is in the report.
   *
   * @throws {NotFoundError} `image-missing`
   * @throws {BusyError} `image-in-use`, `image-pinned`
   */
  removeImages(request: RemoveImagesRequest): Promise<RemoveImagesReport>
  /** Keeps an image that the store has from being cleaned, with its layers. @throws {NotFoundError} `image-missing` */
  pin(image: string, options?: CallOptions): Promise<PinResult>
  unpin(image: string, options?: CallOptions): Promise<PinResult>
  /** Who holds which lock, by name of the lock. */
  locks(options?: CallOptions): Promise<HeldLock[]>
  close(): Promise<void>
}
