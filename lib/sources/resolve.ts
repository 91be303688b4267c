/**
 * From the document that a name points at to a whole image: index by platform, manifest, config, layers.
 *
 * The same for every source that has manifests; a source only fetches. Everything that is fetched here is checked
 * against the size and digest of its descriptor before it is parsed, and named by digest, so that a name is looked up
 * once and cannot change its meaning on the way.
 */
import { ImageError, throwIfAborted } from '../errors.js'
import { type ImageConfig, parseConfig } from '../image/config.js'
import { quote } from '../image/json.js'
import { checkLayers, checkManifestTypes } from '../image/layers.js'
import { type Descriptor, type ImageIndex, type Manifest, parseImageDocument } from '../image/manifest.js'
import { CONFIG_TYPES, INDEX_TYPES, MANIFEST_TYPES } from '../image/media-types.js'
import { type Platform, platformDistance, platformMissing, rankByPlatform } from '../image/platform.js'
import { checkDocumentSize, type Expected, verifyDocument } from '../image/verify.js'
import type { ResolvedImage, ResolveOptions } from './source.js'

/** Fetches documents by descriptor; sizes over 4 MiB are never asked for. What it returns is not trusted. */
export interface DocumentReader {
  readManifest(descriptor: Descriptor, signal: AbortSignal): Promise<Uint8Array>
  readConfig(descriptor: Descriptor, signal: AbortSignal): Promise<Uint8Array>
}

/** What the name pointed at. `mediaType` is what was said about it, if anything. */
export type RootDocument = Expected & { readonly bytes: Uint8Array; readonly mediaType?: string }

const MAX_INDEX_DEPTH = 4
const MAX_DOCUMENTS = 64 // manifests, indexes and configs read for one image

/**
 * Finds the image for a platform.
 *
 * An index is searched best entry first; entries that name no platform are looked into, an index below an index too.
 * What an index says of a platform is believed; without an index, or without its word, the config decides.
 *
 * @param reference the image in full form, for the result and for messages
 * @throws {NotFoundError} `platform-missing`
 * @throws {IntegrityError} `size-mismatch`, `digest-mismatch`
 * @throws {ImageError} for documents that are malformed, unsupported, or too many
 */
export async function resolveImage(
  reference: string,
  root: RootDocument,
  reader: DocumentReader,
  options: ResolveOptions,
): Promise<ResolvedImage> {
  const search = new Search(reference, reader, options)
  verifyDocument('manifest', root.bytes, root)
  const image = await search.document(root, 0, undefined)
  if (image === null) throw platformMissing(reference, options.platform, search.offered)
  return image
}

/** One walk through the documents of an image, with a budget. */
class Search {
  readonly #reference: string
  readonly #reader: DocumentReader
  readonly #platform: Platform
  readonly #signal: AbortSignal
  #documents = 0
  /** The platforms that were met, for the message when none suits. */
  readonly offered: Platform[] = []

  constructor(reference: string, reader: DocumentReader, options: ResolveOptions) {
    this.#reference = reference
    this.#reader = reader
    this.#platform = options.platform
    this.#signal = options.signal
  }

  /** @param promised the platform that the index above gave, which suits; undefined when nobody said */
  async document(
    root: RootDocument,
    depth: number,
    promised: Platform | undefined,
  ): Promise<ResolvedImage | null> {
    const parsed = parseImageDocument(root.bytes, root.mediaType)
    if (parsed.kind === 'index') return this.#index(parsed.index, depth)
    // Signatures and the like stand beside images without a platform; only what was named as an image has to be one.
    const isCandidate = depth > 0 && promised === undefined
    if (isCandidate && !CONFIG_TYPES.has(parsed.manifest.config.mediaType)) return null
    return this.#manifest(root, parsed.manifest, promised)
  }

  async #index(index: ImageIndex, depth: number): Promise<ResolvedImage | null> {
    if (depth >= MAX_INDEX_DEPTH) {
      throw new ImageError(
        'limit-exceeded',
        `Cannot use image ${quote(this.#reference)}: its indexes are nested more than ${MAX_INDEX_DEPTH} deep`,
        { facts: { image: this.#reference, limit: MAX_INDEX_DEPTH } },
      )
    }
    this.offered.push(
      ...index.manifests.flatMap(({ platform }) => (platform === undefined ? [] : [platform])),
    )
    // An index may list things of other kinds; what is not known is not looked at (image-spec, image-index.md).
    const entries = index.manifests.filter(
      (it) => INDEX_TYPES.has(it.mediaType) || MANIFEST_TYPES.has(it.mediaType),
    )
    for (const entry of rankByPlatform(entries, this.#platform)) {
      const bytes = await this.#read('manifest', entry)
      const image = await this.document({ ...entry, bytes }, depth + 1, entry.platform)
      if (image !== null) return image
    }
    return null
  }

  async #manifest(
    root: RootDocument,
    manifest: Manifest,
    promised: Platform | undefined,
  ): Promise<ResolvedImage | null> {
    checkManifestTypes(manifest)
    const configBytes = await this.#read('config', manifest.config)
    const config = parseConfig(configBytes)
    if (promised === undefined && platformDistance(this.#platform, platformOf(config)) === null) {
      this.offered.push(platformOf(config))
      return null
    }
    return {
      reference: this.#reference,
      digest: root.digest,
      manifestBytes: root.bytes,
      manifest,
      configBytes,
      config,
      layers: checkLayers(manifest, config),
    }
  }

  async #read(what: 'manifest' | 'config', descriptor: Descriptor): Promise<Uint8Array> {
    throwIfAborted(this.#signal)
    this.#documents++
    if (this.#documents > MAX_DOCUMENTS) {
      throw new ImageError(
        'limit-exceeded',
        `Cannot use image ${quote(this.#reference)}: more than ${MAX_DOCUMENTS} documents have to be read to find it`,
        { facts: { image: this.#reference, limit: MAX_DOCUMENTS } },
      )
    }
    checkDocumentSize(what, descriptor)
    const read = what === 'manifest' ? this.#reader.readManifest : this.#reader.readConfig
    const bytes = await read.call(this.#reader, descriptor, this.#signal)
    verifyDocument(what, bytes, descriptor)
    return bytes
  }
}

function platformOf({ os, architecture, variant }: ImageConfig): Platform {
  return { os, architecture, ...(variant === undefined ? {} : { variant }) }
}
