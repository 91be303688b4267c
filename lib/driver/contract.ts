/**
 * What a storage driver is.
 *
 * The core keeps records and decides; a driver keeps data and obeys. A driver takes no locks: the core never calls two
 * methods at once for one base or one bundle, but many processes have the same room open. Every method may meet the
 * leavings of a killed process. Everything is addressed by ids that the core has checked; a driver may use them in paths.
 *
 * Life cycle: `probe` a place (leaves nothing), `open` a room, then for each base `prepare` … `removeBase`, for each
 * bundle `create` … `remove`.
 */
import type { TreeImage } from '../composefs/tree-image.js'
import type { VerityDigest } from '../digest.js'
import type { EventSink } from '../events.js'
import type { BaseId } from '../store/base-id.js'
import type { BundleId } from '../store/bundle-id.js'
import type { ObjectReader } from '../store/objects.js'
import type { Tree } from '../tree/model.js'

export type { BaseId } from '../store/base-id.js'
export type { BundleId } from '../store/bundle-id.js'

/** Where a store is or will be; exists and is writable while probing. */
export interface ProbePlace {
  readonly directory: string
  readonly effectiveUid: number
}

export type Probe =
  | { readonly usable: true; readonly notes: readonly string[] }
  | { readonly usable: false; readonly feature: string; readonly found: string; readonly needed: string }

/** What a driver has of the store. */
export interface DriverRoom {
  /** The driver's own directory, `drivers/<name>`; exists. */
  readonly directory: string
  readonly objects: ObjectReader
  readonly events: EventSink
}

/** Facts that the core plans with; it never asks which driver it talks to. */
export interface DriverTraits {
  /** Whether bundles share a prepared base. Without, `create` gets the tree itself. */
  readonly bases: boolean
  /** Whether a rootfs is made by mounts, gone after a reboot. */
  readonly mounts: boolean
  /** Whether the kernel may check contents, where it has fs-verity. */
  readonly verity: boolean
  /** Whether `create` takes a limit, `setLimit` is there, and the limit is held by the kernel or refused. */
  readonly diskLimits: boolean
  /** Whether a base can start from one that is near; the core then looks for one. */
  readonly nearBases: boolean
  /** Whether it works without root. */
  readonly rootless: boolean
}

export interface NearBase {
  readonly id: BaseId
  readonly tree: Tree
}

export interface BaseSpec {
  readonly id: BaseId
  readonly tree: Tree
  /** The composefs image of the tree. Its digest is recorded by the core; a driver that writes the image makes it free. */
  readonly image: TreeImage
  readonly objects: ObjectReader
  /** Whether all contents were just seen to be there, each of its length: they are written by this call, or were looked at. */
  readonly areContentsSeen: boolean
  /** An existing base whose tree is close, to start from; null when there is none. */
  readonly near: NearBase | null
}

export interface BaseUsage {
  /** Bytes that the base itself takes, objects not counted. */
  readonly bytes: number
}

/** How far the kernel has to check contents: always, where it can, or not at all. */
export type VerityMode = 'require' | 'try' | 'off'

/** What the kernel lets a container write. */
export interface DiskLimit {
  /** Bytes that may be written beyond what the image takes; not negative. */
  readonly writableBytes: number
  /** Who holds it: the filesystem of the store by its quotas, or a filesystem of that size in a file. */
  readonly backend: 'native' | 'loop'
}

/** Where a rootfs stands and what it is made of; the same in every call for one bundle. */
export interface RootfsPlace {
  readonly id: BundleId
  /**
   * Where the rootfs has to stand: an absolute path. Its parent is the bundle's directory, which nobody else can reach;
   * the driver may keep directories of its own beside the rootfs, which go away with the bundle's.
   */
  readonly at: string
  readonly base: BaseId | null
  /** fs-verity digest of the composefs image of the tree, by the core's records: what a mount has to be of. */
  readonly digest: VerityDigest
  readonly readOnly: boolean
  /** Null leaves it to the driver's options. */
  readonly verity: VerityMode | null
  readonly limit: DiskLimit | null
  /** Whether the bundle was made without syncs: a power cut may take it, so that what a container writes need not wait either. */
  readonly noSync: boolean
  /**
   * Whether the user demands the digest: a driver that mounts an image which the kernel does not measure reads it from end
   * to end, and throws `base-damaged` for another one. Default: false.
   */
  readonly isDigestDemanded?: boolean
}

/** For `create`: `at` does not exist yet. */
export interface RootfsSpec extends RootfsPlace {
  /** Loads the tree; for drivers without bases. Slow: merges the layers. */
  readonly tree: () => Promise<Tree>
  readonly objects: ObjectReader
  /** Without it, owners and what needs root are set exactly or refused. */
  readonly ignoreOwnership: boolean
  /** Absolute paths of directories that the runtime needs in the rootfs, and makes where it may write. */
  readonly mountPoints: readonly string[]
  /** Who on the host is root of the container: whom directories belong to that the runtime would have made. */
  readonly containerRoot?: { readonly uid: number; readonly gid: number }
  /** Mounts nothing; what would have been mounted is in the result. Drivers without mounts take no notice. */
  readonly withoutMount: boolean
  /** Has a directory synced when the bundle is committed, together with all else: cheaper than a sync here. */
  readonly syncLater: (directory: string) => void
  readonly events: EventSink
  readonly signal: AbortSignal
}

/** A mount as the runtime-spec writes it in config.json. */
export interface Mount {
  readonly destination: string
  readonly type: string
  readonly source: string
  readonly options: readonly string[]
}

export interface Rootfs {
  /**
   * The mounts that the runtime has to make, in order; empty when the rootfs stands as it is, and always without `traits.mounts`:
   * the bundle's files are written before the rootfs then.
   */
  readonly mounts: readonly Mount[]
}

export interface RootfsUsage {
  /** Bytes of the image and of what was written. */
  readonly totalBytes: number
  /** Bytes that nobody shares. */
  readonly exclusiveBytes: number
}

export interface Driver {
  readonly traits: DriverTraits
  /** Makes the base durable and immutable; its id is new. */
  prepare(base: BaseSpec, signal: AbortSignal): Promise<BaseUsage>
  /** Also half a base. "Not there" is success. */
  removeBase(id: BaseId): Promise<void>
  /** A writable rootfs at `spec.at`, exact, and synced when it returns but for what `syncLater` was told of. */
  create(spec: RootfsSpec): Promise<Rootfs>
  /**
   * Unmounts and removes the rootfs at `at`, and what the driver has of the bundle outside of its directory; idempotent;
   * never across a foreign mount.
   */
  remove(id: BundleId, at: string): Promise<void>
  /** Mounts again what `create` mounted; "mounted" is success. @returns whether there was something to do */
  mount?(rootfs: RootfsPlace): Promise<boolean>
  /** @returns whether there was something to do @throws {BusyError} `mount-busy` */
  unmount?(rootfs: RootfsPlace): Promise<boolean>
  usage(rootfs: RootfsPlace): Promise<RootfsUsage>
  /**
   * Changes what a rootfs that was made with a limit may write, also while it is in use.
   *
   * @throws {QuotaError} `quota-exceeded` when more than that is written already
   */
  setLimit?(rootfs: RootfsPlace, limit: DiskLimit): Promise<void>
  /**
   * Reads a base from end to end.
   *
   * @param digest of its composefs image, as recorded
   * @throws {IntegrityError} `base-damaged`
   */
  checkBase?(id: BaseId, digest: VerityDigest): Promise<void>
  /**
   * The objects that a rootfs of this base goes on reading, for drivers whose rootfs do. Asked by clean when the record of
   * one of its layers is damaged, so that nothing in use is taken away; without an answer no object is.
   */
  objectsOf?(id: BaseId): AsyncIterable<VerityDigest>
  listBases(): AsyncIterable<BaseId>
  listBundles(): AsyncIterable<BundleId>
  /** Lets go of what it holds open; nothing is asked of it afterwards. */
  close?(): Promise<void>
}

export interface DriverModule<Options = unknown> {
  readonly api: 1
  /** `[a-z0-9-]+`; also the name of its directory in the store. */
  readonly name: string
  /** @throws {UsageError} naming the key that is wrong */
  parseOptions(raw: unknown): Options
  probe(where: ProbePlace, options: Options): Promise<Probe>
  open(room: DriverRoom, options: Options): Promise<Driver>
}
