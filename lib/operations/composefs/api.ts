/**
 * The composefs tools of the library: what is asked of them and what they give. Types only.
 *
 * Names and paths inside images are bytes. Where they are told, they are ASCII text with the escapes of
 * composefs-dump(5), so that two that differ in one byte are told apart.
 */

/** A path, or the bytes themselves. */
export type ComposefsInput = string | AsyncIterable<Uint8Array>

export interface ByteSink {
  /** Resolves when the bytes were handed over; the memory is the taker's. */
  write(bytes: Uint8Array): Promise<void>
}

export type ComposefsHash = 'sha256' | 'sha512'

interface CallOptions {
  readonly signal?: AbortSignal
}

interface MakeOptions extends CallOptions {
  /**
   * Where the image goes; left out, it is only measured. A path of a regular file, or of none, gets a whole and durable image or
   * stays as it is; what else is there (a device, a FIFO, a file in /proc) is written to as it stands.
   */
  readonly image?: string | ByteSink
  /** The image has this version, unless the tree holds whiteouts and the greatest allows 1. Default: 0. */
  readonly minVersion?: 0 | 1
  /** Default: 1. Less than the least counts as the least. */
  readonly maxVersion?: 0 | 1
  /** Of fs-verity: objects are named by it, and the image's own digest is told in it. Default: sha256. */
  readonly hash?: ComposefsHash
}

/** An image of a directory as it is on disk. */
export interface MakeFromDirectory extends MakeOptions {
  readonly directory: string
  /** Where a copy of each file of more than 64 bytes is kept as `ab/cdef…`, durable when the call returns. */
  readonly digestStore?: string
  /** All times are the epoch. */
  readonly useEpoch?: boolean
  /** Leaves devices out, whiteouts with them. */
  readonly skipDevices?: boolean
  /** Which xattrs to take. Default: all. */
  readonly xattrs?: 'all' | 'user' | 'none'
  /** `split` makes an inode of each name of a file, as mkcomposefs 1.0.8 does. Default: keep. */
  readonly hardLinks?: 'keep' | 'split'
  /** How many threads read, the calling one included. Default: one for each processor, at most 8. */
  readonly threads?: number
}

/** An image of what a composefs-dump(5) text says. */
export interface MakeFromDump extends MakeOptions {
  readonly dump: ComposefsInput
  /** Refuses some of what mkcomposefs lets pass, as it does itself with CFS_PARSE_STRICT in its environment. */
  readonly strict?: boolean
}

export type MakeComposefs = MakeFromDirectory | MakeFromDump

export interface MadeImage {
  /** fs-verity digest of the image, lower-case hex. */
  readonly digest: string
  readonly hash: ComposefsHash
  readonly version: 0 | 1
  readonly inodes: number
  readonly bytes: number
  /** Objects that were new in the digest store; null without one. */
  readonly objects: number | null
}

export interface ReadImages extends CallOptions {
  readonly images: readonly ComposefsInput[]
}

export interface FilterImages extends ReadImages {
  /** Names in the top directory: only these, and what is in them. */
  readonly filter?: readonly string[]
}

export interface InfoRequest extends ReadImages {
  /** In which the images' own digests are told. Default: sha256. */
  readonly hash?: ComposefsHash
}

export interface ImageInfo {
  /** Null for bytes. */
  readonly image: string | null
  readonly digest: string
  readonly hash: ComposefsHash
  readonly version: 0 | 1
  /** Whether there are POSIX ACLs, which it must be mounted with support for. */
  readonly acl: boolean
  readonly bytes: number
  /** Those that hide the directories of objects included. */
  readonly inodes: number
  /** Names by what they are; a file with several names counts once, and its others as links. The top is a directory. */
  readonly entries: Readonly<Record<EntryKind | 'links', number>>
  /** Different objects, the bytes of all files that have one, and how many have bytes in the image instead. */
  readonly objects: number
  readonly objectBytes: number
  readonly inlineFiles: number
  /** By which digests are demanded of objects; `none` when there are objects without. */
  readonly verity: ComposefsHash | 'mixed' | 'none'
  /** The least time of all entries: seconds since the epoch. */
  readonly oldest: string
}

export type EntryKind = 'file' | 'directory' | 'symlink' | 'char' | 'block' | 'fifo' | 'socket'

export interface ListedEntry {
  /** From the top, escaped but for blanks. */
  readonly path: string
  readonly kind: EntryKind
  /** Of a symlink. */
  readonly target: string | null
  /** Of a file whose bytes are not in the image. */
  readonly object: string | null
  /** The path that is told in full, where this is a further name of it. */
  readonly linkTo: string | null
}

export interface ImageListing {
  readonly image: string | null
  /** Made while they are taken: all paths together may be far longer than the image. */
  entries(): Iterable<ListedEntry>
}

export interface ImageDump {
  readonly image: string | null
  /** composefs-dump(5), in pieces of whole lines. */
  text(): Iterable<string>
}

export interface MissingObjectsRequest extends FilterImages {
  /** A directory of objects. */
  readonly basedir: string
}

export interface MeasureRequest extends CallOptions {
  readonly files: readonly ComposefsInput[]
  readonly hash?: ComposefsHash
}

export interface MeasuredFile {
  readonly file: string | null
  readonly digest: string
  readonly hash: ComposefsHash
  /** `kernel` where the file has fs-verity switched on. */
  readonly by: 'kernel' | 'computation'
}

export interface MountImage extends CallOptions {
  readonly image: string
  readonly target: string
  /** Directories of objects, searched in this order. */
  readonly objects: readonly string[]
  /** What is written to the mount, and where that is prepared; on one filesystem. Without them it is read-only. */
  readonly upper?: string
  readonly work?: string
  /** Shows what is in `upper`, and lets nobody write to it. */
  readonly readOnly?: boolean
  /** `require`: the kernel demands of every file that it has the digest that the image says. Default: off. */
  readonly verity?: 'require' | 'off'
  /** The fs-verity digest that the image must have switched on. */
  readonly digest?: string
}

/**
 * mkcomposefs, composefs-info and mount.composefs. Everything is computed on the calling thread, in steps between which it
 * sees timers and messages; encoding and decoding an image is one step, of a second for some 200,000 entries.
 */
export interface ComposefsTools {
  /**
   * @throws {ImageError} `dump-invalid`, `composefs-refused` for what no image can hold
   * @throws {IntegrityError} `source-changed` when the directory is not left alone meanwhile
   * @throws {NotFoundError} `file-missing`
   * @throws {UsageError} `option-invalid`
   */
  make(request: MakeComposefs): Promise<MadeImage>
  /** @throws {ImageError} `composefs-invalid`; as all that read images */
  info(request: InfoRequest): Promise<ImageInfo[]>
  /** Depth first, names in byte order, without the top. */
  list(request: FilterImages): Promise<ImageListing[]>
  dump(request: FilterImages): Promise<ImageDump[]>
  /** Paths of objects of all images, sorted, each once. */
  objects(request: FilterImages): Promise<string[]>
  /** Those of them that the kernel would not find in the directory. */
  missingObjects(request: MissingObjectsRequest): Promise<string[]>
  measure(request: MeasureRequest): Promise<MeasuredFile[]>
  /**
   * @throws {IntegrityError} `digest-unexpected`
   * @throws {UnsupportedError} `verity-unsupported` when the image has none, `system-unsupported`
   */
  mount(request: MountImage): Promise<void>
}
