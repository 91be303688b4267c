/**
 * Images in what `docker save` and its like write: a tar with a `manifest.json` that names config and layers of each image.
 *
 * There is no OCI manifest for them, so one is made of the config and the layers; its digest follows from the content. The
 * names in `manifest.json` are looked up in the archive and nowhere else. Newer archives are an OCI layout at the same
 * time; here they are read as what they were called.
 */
import { createHash } from 'node:crypto'
import { resolve } from 'node:path'
import type { DiffId, Digest } from '../digest.js'
import { BugError, ImageError, NotFoundError, throwIfAborted } from '../errors.js'
import { type ImageConfig, parseConfig } from '../image/config.js'
import {
  type DocumentKind,
  field,
  list,
  MAX_DOCUMENT_BYTES,
  parseListJson,
  quote,
  requireObject,
  requireString,
} from '../image/json.js'
import { MAX_LAYERS } from '../image/manifest.js'
import { type Platform, platformDistance, platformMissing } from '../image/platform.js'
import { ambiguous, parseReference, printReference, registryReading } from '../image/reference.js'
import { verifyDigest } from '../image/verify.js'
import { type Archive, archiveInvalid, openArchive } from './archive.js'
import { Breather, checkFile, type Region, shown } from './local-file.js'
import type {
  BlobContent,
  ImageLayer,
  ImageSource,
  ResolvedImage,
  ResolveOptions,
  SourceContext,
} from './source.js'
import { imageOf, type LayerDescriptor, layerMediaType } from './synthetic-image.js'

export interface DockerArchiveRequest {
  /** Relative to the working directory. */
  readonly path: string
  /** `[HOST[:PORT]/]NAME[:TAG]` as the archive has it or in another spelling, or `@N`: the Nth image, from 0. */
  readonly reference?: string
}

/**
 * Opens an image in an archive. The archive is listed, and when it is compressed written out, by `resolve`.
 *
 * @throws {NotFoundError} `file-missing`
 * @throws {UsageError} `reference-invalid` when the path is no regular file
 */
export async function dockerArchiveSource(
  request: DockerArchiveRequest,
  context: SourceContext,
): Promise<ImageSource> {
  const path = resolve(request.path)
  await checkFile(path)
  return new DockerArchiveSource({ ...request, path }, context)
}

/** An image of `manifest.json`. */
interface Listed {
  readonly config: string
  readonly tags: readonly string[]
  readonly layers: readonly string[]
}

class DockerArchiveSource implements ImageSource {
  readonly #request: DockerArchiveRequest
  readonly #context: SourceContext
  #archive: Archive | null = null
  /** Where the blobs of the resolved image are. */
  readonly #regions = new Map<Digest, Region>()
  /** Digests of compressed layers by offset: a file may stand for many layers. */
  readonly #hashed = new Map<number, Digest>()

  constructor(request: DockerArchiveRequest, context: SourceContext) {
    this.#request = request
    this.#context = context
  }

  async resolve({ platform, signal }: ResolveOptions): Promise<ResolvedImage> {
    const { path, reference } = this.#request
    throwIfAborted(signal)
    this.#archive ??= await openArchive(path, this.#context, signal)
    const archive = this.#archive
    const listed = choose(await readList(archive), path, reference)
    const full = printReference({
      kind: 'docker-archive',
      path,
      ...(reference === undefined ? {} : { reference }),
    })
    const { bytes, config } = await readConfig(archive, listed)
    checkPlatform(full, config, platform)
    checkLayerCount(listed.layers.length, config)
    const layers: LayerDescriptor[] = []
    for (const [index, name] of listed.layers.entries()) {
      layers.push(await this.#layer(archive, name, config.diffIds[index]!, signal))
    }
    return imageOf(full, bytes, layers)
  }

  async openBlob(layer: ImageLayer, signal: AbortSignal): Promise<BlobContent> {
    throwIfAborted(signal)
    const region = this.#regions.get(layer.descriptor.digest)
    if (region === undefined)
      throw new BugError('Cannot open a blob of an archive: no image with it was resolved')
    return { kind: 'file', ...region }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#archive?.[Symbol.asyncDispose]()
    this.#archive = null
  }

  async #layer(
    archive: Archive,
    name: string,
    diffId: DiffId,
    signal: AbortSignal,
  ): Promise<LayerDescriptor> {
    const region = archive.find(name)
    if (region === null) throw missing(archive, 'layer', name)
    const compression = await archive.compressionOf(region)
    const digest = compression === 'none' ? diffId : await this.#digestOf(archive, name, region, signal)
    this.#regions.set(digest, region)
    return { mediaType: layerMediaType(compression), digest, size: region.length }
  }

  /** The digest of a compressed layer: what its name says, which the ingest will check, or else of its bytes. */
  async #digestOf(archive: Archive, name: string, region: Region, signal: AbortSignal): Promise<Digest> {
    const named = /^blobs\/sha256\/([0-9a-f]{64})$/.exec(name)?.[1]
    if (named !== undefined) return `sha256:${named}` as Digest
    const known = this.#hashed.get(region.offset)
    if (known !== undefined) return known
    const breather = new Breather(signal)
    const hash = createHash('sha256')
    for await (const chunk of archive.chunks(region, signal)) {
      hash.update(chunk)
      await breather.after(chunk.length)
    }
    const digest = `sha256:${hash.digest('hex')}` as Digest
    this.#hashed.set(region.offset, digest)
    return digest
  }
}

const MANIFEST: DocumentKind = { name: 'manifest.json of the archive', code: 'archive-invalid' }
const MAX_IMAGES = 4096
const MAX_TAGS = 1024

async function readList(archive: Archive): Promise<Listed[]> {
  const bytes = await archive.read('manifest.json', MAX_DOCUMENT_BYTES)
  if (bytes === null) {
    const isLayout = archive.find('oci-layout') !== null
    const hint = isLayout ? `, it may be an OCI layout: oci-archive:${archive.path}` : ''
    throw archiveInvalid(archive.path, `it has no file "manifest.json"${hint}`)
  }
  return list(parseListJson(bytes, MANIFEST), MAX_IMAGES).map((item) => ({
    config: requireString(field(requireObject(item), 'Config')),
    tags: list(field(item, 'RepoTags'), MAX_TAGS).map(requireString),
    layers: list(field(item, 'Layers'), MAX_LAYERS).map(requireString),
  }))
}

/** Picks the image that is meant by a name, a number, or nothing. */
function choose(images: readonly Listed[], path: string, reference: string | undefined): Listed {
  const matching = reference === undefined ? images : images.filter(matcher(reference))
  const [only, ...others] = matching
  if (only === undefined) throw imageMissing(images, path, reference)
  if (others.length === 0) return only
  const readings = matching.map(
    (image) => `docker-archive:${path}:${image.tags[0] ?? `@${images.indexOf(image)}`}`,
  )
  const text = printReference({ kind: 'docker-archive', path })
  const more = readings.length > MAX_SHOWN ? ` (and ${readings.length - MAX_SHOWN} more)` : ''
  throw ambiguous(text, readings.slice(0, MAX_SHOWN), `${more}, write one of them`)
}

const MAX_SHOWN = 12

function matcher(reference: string): (image: Listed, index: number) => boolean {
  const number = /^@(0|[1-9][0-9]{0,5})$/.exec(reference)?.[1]
  if (number !== undefined) return (_, index) => index === Number(number)
  const wanted = normalName(reference)
  return ({ tags }) => tags.some((tag) => normalName(tag) === wanted)
}

/** One spelling for a name: `alpine` is `docker.io/library/alpine:latest`. What is no name stays as it is. */
function normalName(name: string): string {
  const full = registryReading(name)
  if (full === null) return name
  try {
    return printReference(parseReference(full)[0])
  } catch {
    return name
  }
}

async function readConfig(
  archive: Archive,
  listed: Listed,
): Promise<{ bytes: Uint8Array; config: ImageConfig }> {
  const bytes = await archive.read(listed.config, MAX_DOCUMENT_BYTES)
  if (bytes === null) throw missing(archive, 'config', listed.config)
  const hex = /(?:^|\/)([0-9a-f]{64})(?:\.json)?$/.exec(listed.config)?.[1]
  if (hex !== undefined) verifyDigest('config', bytes, `sha256:${hex}` as Digest)
  return { bytes, config: parseConfig(bytes) }
}

function checkPlatform(
  reference: string,
  { os, architecture, variant }: ImageConfig,
  wanted: Platform,
): void {
  const platform = { os, architecture, ...(variant === undefined ? {} : { variant }) }
  if (platformDistance(wanted, platform) === null) throw platformMissing(reference, wanted, [platform])
}

function checkLayerCount(layers: number, { diffIds }: ImageConfig): void {
  if (layers === diffIds.length) return
  throw new ImageError(
    'layer-invalid',
    `Cannot use the image: manifest.json has ${layers} layers, its config has ${diffIds.length} diff ids`,
    { facts: { layers, diffIds: diffIds.length } },
  )
}

function missing(archive: Archive, what: string, name: string): NotFoundError {
  return new NotFoundError(
    'blob-missing',
    `Cannot read ${what} ${quote(name)}: archive ${shown(archive.path)} does not have it`,
    { facts: { path: archive.path, [what]: name } },
  )
}

function imageMissing(images: readonly Listed[], path: string, reference: string | undefined): NotFoundError {
  const names = images.flatMap(({ tags }) => tags).slice(0, MAX_SHOWN)
  const has = names.length === 0 ? `${images.length} images without names` : names.map(quote).join(', ')
  const what = reference === undefined ? 'an image' : `image ${quote(reference)}`
  return new NotFoundError('image-missing', `Cannot find ${what} in ${shown(path)}: the archive has ${has}`, {
    facts: { path, image: reference ?? '', available: names },
  })
}
