/**
 * A tar as an image of one layer: plain, gzip or zstd, told by content.
 *
 * The file is read once to learn both digests of it, and that it is a tar at all. The image is named by what the plain tar
 * holds: neither the path, nor the time, nor the compression is part of it.
 */
import { createHash } from 'node:crypto'
import { resolve } from 'node:path'
import type { DiffId, Digest } from '../digest.js'
import { type GrootError, ImageError, isGrootError, throwIfAborted } from '../errors.js'
import {
  type DocumentKind,
  field,
  list,
  MAX_DOCUMENT_BYTES,
  parseDocumentJson,
  parseListJson,
} from '../image/json.js'
import { ambiguous } from '../image/reference.js'
import {
  COMPRESSION_HEAD_BYTES,
  type Compression,
  decompress,
  detectCompression,
} from '../layer/decompress.js'
import type { TarEntry } from '../layer/entry.js'
import type { LayerLimits } from '../layer/limits.js'
import { TarReader, type TarSink } from '../layer/read-tar.js'
import { Breather, checkFile, chunksOf, type OpenedFile, openNamed, readRegion, shown } from './local-file.js'
import type {
  BlobContent,
  ImageLayer,
  ImageSource,
  ResolvedImage,
  ResolveOptions,
  SourceContext,
} from './source.js'
import { imageOfOneLayer, layerMediaType } from './synthetic-image.js'

/**
 * Opens a tar. It is read by `resolve`, and again for the layer.
 *
 * @param request.path relative to the working directory
 * @throws {NotFoundError} `file-missing`
 * @throws {UsageError} `reference-invalid` when the path is no regular file
 */
export async function tarballSource(
  request: { readonly path: string },
  { limits }: SourceContext,
): Promise<ImageSource> {
  const path = resolve(request.path)
  await checkFile(path)
  return {
    resolve: (options) => resolveTarball(path, limits, options),
    openBlob: (layer, signal) => openTarball(path, layer, signal),
    async [Symbol.asyncDispose]() {},
  }
}

/**
 * @throws {UsageError} `reference-ambiguous` when the tar is an archive of images
 * @throws {ImageError} `tar-invalid`, `entry-refused`, `compression-invalid`, `limit-exceeded`
 */
async function resolveTarball(
  path: string,
  limits: LayerLimits,
  { platform, signal }: ResolveOptions,
): Promise<ResolvedImage> {
  await using file = await openNamed(path)
  const { compression, digest, diffId, plainBytes, members } = await survey(file, limits, signal)
  const reading = members.otherReading(path)
  if (reading !== null) {
    throw ambiguous(
      path,
      [reading, `${path} as a root filesystem`],
      ', it has the form of an archive of images',
    )
  }
  const descriptor = { mediaType: layerMediaType(compression), digest, size: file.size }
  return imageOfOneLayer(path, platform, diffId, plainBytes, descriptor)
}

async function openTarball(path: string, layer: ImageLayer, signal: AbortSignal): Promise<BlobContent> {
  throwIfAborted(signal)
  return { kind: 'file', path, offset: 0, length: layer.descriptor.size }
}

interface Survey {
  readonly compression: Compression
  readonly digest: Digest
  readonly diffId: DiffId
  readonly plainBytes: number
  readonly members: Members
}

/** Reads the file once: both digests, and what is in it. */
async function survey(file: OpenedFile, limits: LayerLimits, signal: AbortSignal): Promise<Survey> {
  if (file.size === 0) throw notATar(file.path, 'it is empty')
  const head = await readRegion(
    file,
    0,
    Math.min(file.size, COMPRESSION_HEAD_BYTES),
    COMPRESSION_HEAD_BYTES,
    file.path,
  )
  const compression = detectCompression(head)
  const packedHash = createHash('sha256')
  async function* hashed() {
    for await (const chunk of chunksOf(file, signal)) {
      packedHash.update(chunk)
      yield chunk
    }
  }
  const plainHash = createHash('sha256')
  const members = new Members()
  const reader = new TarReader(members, limits)
  const breather = new Breather(signal)
  let plainBytes = 0
  try {
    for await (const chunk of decompress(hashed(), compression)) {
      plainHash.update(chunk)
      plainBytes += chunk.length
      reader.write(chunk)
      await breather.after(chunk.length)
    }
    reader.end()
  } catch (error) {
    if (isGrootError(error) && isAtBeginning(error))
      throw notATar(file.path, 'it does not begin as one', error)
    throw error
  }
  const digest = `sha256:${packedHash.digest('hex')}` as Digest
  const diffId = `sha256:${plainHash.digest('hex')}` as DiffId
  return { compression, digest, diffId, plainBytes, members }
}

function isAtBeginning({ code, facts }: GrootError): boolean {
  return code === 'tar-invalid' && facts.offset === 0
}

function notATar(path: string, reason: string, cause?: unknown): ImageError {
  return new ImageError(
    'tar-invalid',
    `Cannot read an image from ${shown(path)}: ${reason}; it has to be a tar, plain or with gzip or zstd`,
    { facts: { path, reason }, cause },
  )
}

const LAYOUT_FILE = 'oci-layout'
const INDEX_FILE = 'index.json'
const DOCKER_FILE = 'manifest.json'
const TELLING: ReadonlySet<string> = new Set([LAYOUT_FILE, INDEX_FILE, DOCKER_FILE])

/** Watches for the files that would make the tar an archive of images, and keeps them. */
class Members implements TarSink {
  readonly #kept = new Map<string, Buffer>()
  #name = ''
  #parts: Buffer[] | null = null

  entry({ path, kind, size }: TarEntry): void {
    this.#name = path.replace(/^(?:\.?\/)+/, '')
    const isTelling = kind === 'file' && TELLING.has(this.#name) && size <= MAX_DOCUMENT_BYTES
    this.#parts = isTelling ? [] : null
  }

  content(bytes: Uint8Array): void {
    this.#parts?.push(Buffer.from(bytes))
  }

  entryEnd(): void {
    if (this.#parts !== null) this.#kept.set(this.#name, Buffer.concat(this.#parts))
    this.#parts = null
  }

  raw(): void {}

  /** What else the tar could mean; null when it can only be a root filesystem. Names alone do not tell. */
  otherReading(path: string): string | null {
    if (this.#isLayout()) return `oci-archive:${path}`
    return this.#isDockerArchive() ? `docker-archive:${path}` : null
  }

  #isLayout(): boolean {
    const bytes = this.#kept.get(LAYOUT_FILE)
    if (bytes === undefined || !this.#kept.has(INDEX_FILE)) return false
    return isReadable(() => field(parseDocumentJson(bytes, PROBE), 'imageLayoutVersion').value !== undefined)
  }

  #isDockerArchive(): boolean {
    const bytes = this.#kept.get(DOCKER_FILE)
    if (bytes === undefined) return false
    return isReadable(() => {
      const images = list(parseListJson(bytes, PROBE))
      return images.some((image) =>
        ['Config', 'Layers'].every((key) => field(image, key).value !== undefined),
      )
    })
  }
}

const PROBE: DocumentKind = { name: 'document', code: 'archive-invalid' }

function isReadable(look: () => boolean): boolean {
  try {
    return look()
  } catch (error) {
    if (isGrootError(error)) return false
    throw error
  }
}
