/**
 * Images in an OCI layout (image-spec, image-layout.md): a directory, or an archive of one.
 *
 * Which entry of the layout's index is meant is settled here; what it points at is walked by resolve.ts. Index, manifest
 * and config are read as small documents with their digests checked; layers are only said where they are.
 */
import { join, resolve } from 'node:path'
import { algorithmOf, type Digest, encodedOf, shortDigest } from '../digest.js'
import { ImageError, IntegrityError, NotFoundError, throwIfAborted, type UsageError } from '../errors.js'
import { field, MAX_DOCUMENT_BYTES, optionalString, parseDocumentJson, quote } from '../image/json.js'
import { type Descriptor, type ImageIndex, parseIndex } from '../image/manifest.js'
import { INDEX_TYPES, MANIFEST_TYPES } from '../image/media-types.js'
import {
  isAttestation,
  type Platform,
  platformDistance,
  platformMissing,
  rankByPlatform,
} from '../image/platform.js'
import { ambiguous, printReference } from '../image/reference.js'
import { checkDocumentSize, type Expected } from '../image/verify.js'
import { checkDirectory, memberSize, type Region, readMember, shown } from './local-file.js'
import { type DocumentReader, resolveImage } from './resolve.js'
import type {
  BlobContent,
  ImageLayer,
  ImageSource,
  ResolvedImage,
  ResolveOptions,
  SourceContext,
} from './source.js'

export interface LayoutRequest {
  /** Of the directory or archive; relative to the working directory. */
  readonly path: string
  /** What the index's entry is annotated with (`org.opencontainers.image.ref.name`). */
  readonly tag?: string
  readonly digest?: Digest
}

/** The files of a layout, wherever they are. */
export interface LayoutFiles extends AsyncDisposable {
  readonly kind: 'oci' | 'oci-archive'
  /** Absolute, of the directory or the archive. */
  readonly path: string
  /** Where a file is; null when there is none. Names are clean. @throws {ImageError} when it is no regular file */
  find(name: string): Promise<Region | null>
  /** The bytes of a small file; null when there is none. @throws {ImageError} as find; `limit-exceeded` */
  read(name: string, cap: number): Promise<Uint8Array | null>
}

/**
 * Opens an image in a directory.
 *
 * @throws {NotFoundError} `file-missing`
 * @throws {UsageError} `reference-invalid` when the path is no directory
 */
export async function ociLayoutSource(request: LayoutRequest, _context: SourceContext): Promise<ImageSource> {
  const path = resolve(request.path)
  checkDirectory(path)
  return layoutSource(request, async () => directoryFiles(path))
}

/** The image of a request in a layout that is opened when it is first needed. */
export function layoutSource(
  request: LayoutRequest,
  open: (signal: AbortSignal) => Promise<LayoutFiles>,
): ImageSource {
  return new LayoutSource(request, open)
}

function directoryFiles(path: string): LayoutFiles {
  return {
    kind: 'oci',
    path,
    async find(name) {
      const file = join(path, name)
      const length = memberSize(file)
      return length === null ? null : { path: file, offset: 0, length }
    },
    async read(name, cap) {
      return readMember(join(path, name), cap)
    },
    async [Symbol.asyncDispose]() {},
  }
}

class LayoutSource implements ImageSource, DocumentReader {
  readonly #request: LayoutRequest
  readonly #open: (signal: AbortSignal) => Promise<LayoutFiles>
  #opened: Promise<LayoutFiles> | null = null

  constructor(request: LayoutRequest, open: (signal: AbortSignal) => Promise<LayoutFiles>) {
    this.#request = request
    this.#open = open
  }

  async resolve(options: ResolveOptions): Promise<ResolvedImage> {
    const files = await this.#files(options.signal)
    await checkVersion(files)
    const index = await readIndex(files)
    const { tag, digest } = this.#request
    const reference = printReference({
      kind: files.kind,
      path: files.path,
      ...(tag === undefined ? {} : { tag }),
      ...(digest === undefined ? {} : { digest }),
    })
    const root = await this.#choose(index, files, reference, options.platform)
    const known = options.known?.(root.digest, root.size) ?? null
    if (known !== null) return { ...known, reference }
    checkDocumentSize('manifest', root)
    const bytes = await this.#read(root.digest, options.signal)
    return resolveImage(reference, { ...root, bytes }, this, options)
  }

  async openBlob(layer: ImageLayer, signal: AbortSignal): Promise<BlobContent> {
    const { digest, size } = layer.descriptor
    const files = await this.#files(signal)
    const region = await files.find(blobName(digest))
    if (region === null) throw blobMissing(files, digest)
    if (region.length !== size) {
      throw new IntegrityError(
        'size-mismatch',
        `Cannot accept layer ${shortDigest(digest)}: its blob has ${region.length} bytes, its descriptor says ${size}`,
        { facts: { digest, expected: size, found: region.length } },
      )
    }
    return { kind: 'file', ...region }
  }

  async readManifest({ digest }: Descriptor, signal: AbortSignal): Promise<Uint8Array> {
    return this.#read(digest, signal)
  }

  async readConfig({ digest }: Descriptor, signal: AbortSignal): Promise<Uint8Array> {
    return this.#read(digest, signal)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // What could not be opened left nothing behind.
    const files = await this.#opened?.catch(() => null)
    this.#opened = null
    await files?.[Symbol.asyncDispose]()
  }

  /** Opened once, also when several ask at the same time. */
  #files(signal: AbortSignal): Promise<LayoutFiles> {
    throwIfAborted(signal)
    this.#opened ??= this.#open(signal)
    return this.#opened
  }

  async #read(digest: Digest, signal: AbortSignal): Promise<Uint8Array> {
    const files = await this.#files(signal)
    const bytes = await files.read(blobName(digest), MAX_DOCUMENT_BYTES)
    if (bytes === null) throw blobMissing(files, digest)
    return bytes
  }

  async #choose(index: ImageIndex, files: LayoutFiles, reference: string, platform: Platform): Promise<Root> {
    const { tag, digest } = this.#request
    if (digest === undefined) return chooseEntry(index, tag, files, reference, platform)
    const listed = index.manifests.find((entry) => entry.digest === digest)
    if (listed !== undefined) return listed
    // The images of an index are blobs like any other, and a digest says all that has to be known of them.
    const region = await files.find(blobName(digest))
    if (region === null) throw imageMissing(files, `@${digest}`, index)
    return { digest, size: region.length }
  }
}

type Root = Expected & { readonly mediaType?: string }

const REF_NAME = 'org.opencontainers.image.ref.name'
// containerd and the tools built on it keep the whole name here, and only the tag in ref.name.
const FULL_NAME = 'io.containerd.image.name'
const MAX_SHOWN_NAMES = 12

function nameOf({ annotations }: Descriptor): string | undefined {
  return annotations?.[REF_NAME] ?? annotations?.[FULL_NAME]
}

/** Picks the entry that is meant by a name, or by none. Never guesses between two images. */
function chooseEntry(
  index: ImageIndex,
  tag: string | undefined,
  files: LayoutFiles,
  reference: string,
  platform: Platform,
): Descriptor {
  const images = tag === undefined ? index.manifests.filter(isImage) : entriesNamed(index, tag)
  const entries = [...new Map(images.map((entry) => [entry.digest, entry])).values()]
  const [first, ...others] = entries
  if (first === undefined) throw imageMissing(files, tag === undefined ? '' : `:${tag}`, index)
  if (others.length === 0) return first
  if (new Set(entries.map(nameOf)).size > 1 && tag === undefined) {
    throw severalImages(
      reference,
      entries.map((entry) => readingOf(files, entry)),
    )
  }
  // One name for several platforms, without an index of its own around them.
  const ranked = rankByPlatform(entries, platform)
  const best = ranked[0]
  const offered = entries.flatMap((entry) => entry.platform ?? [])
  if (best === undefined) throw platformMissing(reference, platform, offered)
  const rivals = ranked.filter((entry) => distance(entry, platform) === distance(best, platform))
  if (rivals.length === 1) return best
  throw severalImages(
    reference,
    rivals.map(({ digest }) => `${files.kind}:${files.path}@${digest}`),
  )
}

function entriesNamed(index: ImageIndex, tag: string): Descriptor[] {
  const byName = index.manifests.filter(({ annotations }) => annotations?.[REF_NAME] === tag)
  if (byName.length > 0) return byName
  return index.manifests.filter(({ annotations }) => annotations?.[FULL_NAME] === tag)
}

function isImage({ mediaType, platform }: Descriptor): boolean {
  return (INDEX_TYPES.has(mediaType) || MANIFEST_TYPES.has(mediaType)) && !isAttestation(platform)
}

function distance({ platform }: Descriptor, wanted: Platform): number | null {
  return platform === undefined ? null : platformDistance(wanted, platform)
}

function readingOf(files: LayoutFiles, entry: Descriptor): string {
  const name = nameOf(entry)
  return `${files.kind}:${files.path}${name === undefined ? `@${entry.digest}` : `:${name}`}`
}

function severalImages(reference: string, readings: readonly string[]): UsageError {
  const more = readings.length > MAX_SHOWN_NAMES ? ` (and ${readings.length - MAX_SHOWN_NAMES} more)` : ''
  return ambiguous(reference, readings.slice(0, MAX_SHOWN_NAMES), `${more}, write one of them`)
}

async function checkVersion(files: LayoutFiles): Promise<void> {
  const bytes = await files.read('oci-layout', MAX_DOCUMENT_BYTES)
  if (bytes === null) {
    const isDocker = files.kind === 'oci-archive' && (await files.find('manifest.json')) !== null
    const hint = isDocker ? `, it may be what "docker save" writes: docker-archive:${files.path}` : ''
    throw layoutInvalid(files, `it has no file "oci-layout"${hint}`)
  }
  const root = parseDocumentJson(bytes, { name: 'oci-layout file', code: 'layout-invalid' })
  const version = optionalString(field(root, 'imageLayoutVersion'))
  if (version !== undefined && /^1\.[0-9]+\.[0-9]+$/.test(version)) return
  throw layoutInvalid(
    files,
    `its version is ${version === undefined ? 'missing' : quote(version)}, read is 1.0.0`,
  )
}

async function readIndex(files: LayoutFiles): Promise<ImageIndex> {
  const bytes = await files.read('index.json', MAX_DOCUMENT_BYTES)
  if (bytes === null) throw layoutInvalid(files, 'it has no file "index.json"')
  return parseIndex(bytes)
}

function blobName(digest: Digest): string {
  return `blobs/${algorithmOf(digest)}/${encodedOf(digest)}`
}

function layoutInvalid(files: LayoutFiles, reason: string): ImageError {
  return new ImageError('layout-invalid', `Cannot read OCI layout ${shown(files.path)}: ${reason}`, {
    facts: { path: files.path, reason },
  })
}

function blobMissing(files: LayoutFiles, digest: Digest): NotFoundError {
  return new NotFoundError(
    'blob-missing',
    `Cannot read blob ${shortDigest(digest)}: OCI layout ${shown(files.path)} does not have it`,
    { facts: { path: files.path, digest } },
  )
}

function imageMissing(files: LayoutFiles, wanted: string, index: ImageIndex): NotFoundError {
  const names = [...new Set(index.manifests.flatMap((entry) => nameOf(entry) ?? []))].slice(
    0,
    MAX_SHOWN_NAMES,
  )
  const has = names.length === 0 ? 'no names' : names.map(quote).join(', ')
  const what = wanted === '' ? 'an image' : `image ${quote(wanted.slice(1))}`
  return new NotFoundError(
    'image-missing',
    `Cannot find ${what} in ${shown(files.path)}: the layout's index has ${has}`,
    { facts: { path: files.path, image: wanted.slice(1), available: names } },
  )
}
