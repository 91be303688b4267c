/**
 * Manifests, indexes and descriptors (image-spec, manifest.md, image-index.md, descriptor.md), and their Docker schema 2
 * forms, which have the same fields.
 *
 * Bytes in, types out. That the bytes are what their digest says was checked before, by whoever fetched them.
 */
import type { Digest } from '../digest.js'
import { ImageError } from '../errors.js'
import {
  type DocumentKind,
  type Field,
  field,
  list,
  optionalObject,
  optionalString,
  parseDocumentJson,
  quote,
  refuse,
  requireDigest,
  requireObject,
  requireSize,
  requireString,
  stringList,
  stringMap,
} from './json.js'
import { documentKind, essence, INDEX_TYPES, isGeneric, OCI_INDEX, OCI_MANIFEST } from './media-types.js'
import type { Platform } from './platform.js'

export interface Descriptor {
  readonly mediaType: string
  readonly digest: Digest
  /** Bytes. */
  readonly size: number
  readonly annotations?: Readonly<Record<string, string>>
  readonly platform?: Platform
  readonly urls?: readonly string[]
}

export interface Manifest {
  readonly mediaType: string
  readonly config: Descriptor
  /** Base first. */
  readonly layers: readonly Descriptor[]
  readonly annotations: Readonly<Record<string, string>>
}

export interface ImageIndex {
  readonly mediaType: string
  readonly manifests: readonly Descriptor[]
  readonly annotations: Readonly<Record<string, string>>
}

/** What a tag can point at. */
export type ImageDocument =
  | { readonly kind: 'manifest'; readonly manifest: Manifest }
  | { readonly kind: 'index'; readonly index: ImageIndex }

export const MAX_LAYERS = 4096 // thirty times what any builder makes
const MAX_INDEX_ENTRIES = 8192

const MANIFEST: DocumentKind = { name: 'manifest', code: 'manifest-invalid' }
const INDEX: DocumentKind = { name: 'index', code: 'index-invalid' }

/**
 * Parses a manifest or an index, whichever it is.
 *
 * @param mediaType what the descriptor or the Content-Type said, if anything; generic types say nothing
 * @throws {ImageError} `manifest-invalid` or `index-invalid` naming the field, `media-type-unsupported`, `limit-exceeded`
 */
export function parseImageDocument(bytes: Uint8Array, mediaType?: string): ImageDocument {
  const isIndex = mediaType !== undefined && INDEX_TYPES.has(essence(mediaType))
  const root = parseDocumentJson(bytes, isIndex ? INDEX : MANIFEST)
  const type = typeOf(root, mediaType, hasKey(root, 'manifests') ? OCI_INDEX : OCI_MANIFEST)
  return documentKind(type) === 'index'
    ? { kind: 'index', index: readIndex({ ...root, document: INDEX }, type) }
    : { kind: 'manifest', manifest: readManifest(root, type) }
}

/** @throws {ImageError} as parseImageDocument, and when it is an index */
export function parseManifest(bytes: Uint8Array, mediaType?: string): Manifest {
  const root = parseDocumentJson(bytes, MANIFEST)
  const type = typeOf(root, mediaType, OCI_MANIFEST)
  if (documentKind(type) !== 'manifest') refuse(mediaTypeField(root, type), 'the media type of a manifest')
  return readManifest(root, type)
}

/** @throws {ImageError} as parseImageDocument, and when it is a manifest */
export function parseIndex(bytes: Uint8Array, mediaType?: string): ImageIndex {
  const root = parseDocumentJson(bytes, INDEX)
  const type = typeOf(root, mediaType, OCI_INDEX)
  if (documentKind(type) !== 'index') refuse(mediaTypeField(root, type), 'the media type of an index')
  return readIndex(root, type)
}

/** Works out what a document is: what was said about it and what it says itself have to agree; else `otherwise`. */
function typeOf(root: Field, said: string | undefined, otherwise: string): string {
  const outer = said === undefined || isGeneric(said) ? undefined : essence(said)
  const inner = optionalString(field(root, 'mediaType'))
  checkVersion(root, inner ?? outer)
  checkShape(root)
  if (outer !== undefined && inner !== undefined && outer !== inner) {
    refuse(field(root, 'mediaType'), `${quote(outer)} as it was announced`)
  }
  return inner ?? outer ?? otherwise
}

function mediaTypeField(root: Field, type: string): Field {
  return { ...field(root, 'mediaType'), value: type }
}

// Go writes null for a list without items, so a key with null is a list; a document without the key is something else.
function hasKey(root: Field, name: string): boolean {
  return Object.hasOwn(root.value as object, name)
}

function checkVersion(root: Field, mediaType: string | undefined): void {
  const version = field(root, 'schemaVersion')
  if (version.value === 1 || hasKey(root, 'fsLayers')) {
    throw new ImageError(
      'media-type-unsupported',
      'Cannot read the manifest: it is in the form of Docker schema 1, which has no digests of its layers’ contents',
      { facts: { mediaType: mediaType ?? null, schemaVersion: 1 } },
    )
  }
  if (version.value !== 2) refuse(version, '2')
}

// A document that is both could be one image for the tool that signs and another for the tool that runs.
function checkShape(root: Field): void {
  const other = ['layers', 'config'].find((name) => hasKey(root, name))
  if (other === undefined || !hasKey(root, 'manifests')) return
  throw new ImageError(
    root.document.code,
    `Cannot read the ${root.document.name}: it has both "${other}" and "manifests", so it could be read in two ways`,
    { facts: { document: root.document.name, field: '$.manifests', found: `also $.${other}` } },
  )
}

function readManifest(root: Field, mediaType: string): Manifest {
  const layers = field(root, 'layers')
  if (!hasKey(root, 'layers')) refuse(layers, 'a list')
  return {
    mediaType,
    config: readDescriptor(field(root, 'config')),
    layers: list(layers, MAX_LAYERS).map(readDescriptor),
    annotations: stringMap(field(root, 'annotations')),
  }
}

function readIndex(root: Field, mediaType: string): ImageIndex {
  const manifests = field(root, 'manifests')
  if (manifests.value === undefined && !Object.hasOwn(root.value as object, 'manifests'))
    refuse(manifests, 'a list')
  return {
    mediaType,
    manifests: list(manifests, MAX_INDEX_ENTRIES).map(readDescriptor),
    annotations: stringMap(field(root, 'annotations')),
  }
}

function readDescriptor(of: Field): Descriptor {
  requireObject(of)
  const annotations = optionalObject(field(of, 'annotations'))
  const platform = readPlatform(field(of, 'platform'))
  const urls = field(of, 'urls')
  const mediaType = field(of, 'mediaType')
  return {
    mediaType: requireString(mediaType) || refuse(mediaType, 'a media type'),
    digest: requireDigest(field(of, 'digest')),
    size: requireSize(field(of, 'size')),
    ...(annotations === undefined ? {} : { annotations: stringMap(annotations) }),
    ...(platform === undefined ? {} : { platform }),
    ...(urls.value === undefined ? {} : { urls: stringList(urls) }),
  }
}

function readPlatform(of: Field): Platform | undefined {
  if (optionalObject(of) === undefined) return undefined
  const os = optionalString(field(of, 'os'))
  const architecture = optionalString(field(of, 'architecture'))
  // Go writes an unset platform as empty strings.
  if (os === undefined && architecture === undefined) return undefined
  if (os === undefined) refuse(field(of, 'os'), 'the name of an operating system')
  if (architecture === undefined) refuse(field(of, 'architecture'), 'the name of an architecture')
  const variant = optionalString(field(of, 'variant'))
  const osVersion = optionalString(field(of, 'os.version'))
  return {
    os,
    architecture,
    ...(variant === undefined ? {} : { variant }),
    ...(osVersion === undefined ? {} : { osVersion }),
  }
}
