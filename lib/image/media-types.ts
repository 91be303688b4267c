/**
 * Media types of images (image-spec, media-types.md) and of Docker's schema 2, and what each means for reading.
 *
 * Types that are known and not read are refused by name, so that the message says what the image is.
 */
import { ImageError } from '../errors.js'
import { quote } from './json.js'

export const OCI_MANIFEST = 'application/vnd.oci.image.manifest.v1+json'
export const OCI_INDEX = 'application/vnd.oci.image.index.v1+json'
export const OCI_CONFIG = 'application/vnd.oci.image.config.v1+json'
export const OCI_LAYER = 'application/vnd.oci.image.layer.v1.tar'
export const DOCKER_MANIFEST = 'application/vnd.docker.distribution.manifest.v2+json'
export const DOCKER_INDEX = 'application/vnd.docker.distribution.manifest.list.v2+json'
const DOCKER_CONFIG = 'application/vnd.docker.container.image.v1+json'
const DOCKER_LAYER = 'application/vnd.docker.image.rootfs.diff.tar'

export const MANIFEST_TYPES: ReadonlySet<string> = new Set([OCI_MANIFEST, DOCKER_MANIFEST])
export const INDEX_TYPES: ReadonlySet<string> = new Set([OCI_INDEX, DOCKER_INDEX])
export const CONFIG_TYPES: ReadonlySet<string> = new Set([OCI_CONFIG, DOCKER_CONFIG])

export type Compression = 'none' | 'gzip' | 'zstd'

const LAYER_COMPRESSION: ReadonlyMap<string, Compression> = new Map([
  [OCI_LAYER, 'none'],
  [`${OCI_LAYER}+gzip`, 'gzip'],
  [`${OCI_LAYER}+zstd`, 'zstd'],
  [DOCKER_LAYER, 'none'],
  [`${DOCKER_LAYER}.gzip`, 'gzip'],
  [`${DOCKER_LAYER}.zstd`, 'zstd'],
])

/** What servers say that know nothing of images. */
const GENERIC_TYPES: ReadonlySet<string> = new Set([
  'application/json',
  'application/octet-stream',
  'binary/octet-stream',
  'text/plain',
])

/** The type without parameters, in lower case (RFC 9110, section 8.3.1). */
export function essence(mediaType: string): string {
  return (mediaType.split(';', 1)[0] ?? '').trim().toLowerCase()
}

/** Whether a Content-Type tells nothing about what a document is. */
export function isGeneric(mediaType: string): boolean {
  const type = essence(mediaType)
  return type === '' || GENERIC_TYPES.has(type)
}

/** @throws {ImageError} `media-type-unsupported` when it is neither a manifest nor an index */
export function documentKind(mediaType: string): 'manifest' | 'index' {
  if (MANIFEST_TYPES.has(mediaType)) return 'manifest'
  if (INDEX_TYPES.has(mediaType)) return 'index'
  throw unsupported('document', mediaType, 'a manifest or an index of OCI or Docker schema 2')
}

/** @throws {ImageError} `media-type-unsupported`: the manifest describes something that is no image */
export function checkConfigType(mediaType: string): void {
  if (CONFIG_TYPES.has(mediaType)) return
  throw unsupported('config', mediaType, 'the config of an image')
}

/**
 * How the bytes of a layer are compressed.
 *
 * @throws {ImageError} `media-type-unsupported`
 */
export function layerCompression(mediaType: string): Compression {
  const compression = LAYER_COMPRESSION.get(mediaType)
  if (compression !== undefined) return compression
  if (/nondistributable|\.foreign\./.test(mediaType)) {
    throw unsupported('layer', mediaType, 'a layer that the registry itself holds')
  }
  if (mediaType.endsWith('+encrypted')) throw unsupported('layer', mediaType, 'a layer that is not encrypted')
  throw unsupported('layer', mediaType, 'a tar layer, plain or with gzip or zstd')
}

function unsupported(what: string, mediaType: string, wanted: string): ImageError {
  return new ImageError(
    'media-type-unsupported',
    `Cannot read the ${what}: its media type is ${quote(mediaType)}, not ${wanted}`,
    { facts: { what, mediaType } },
  )
}
