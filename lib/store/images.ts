/**
 * The image cache: verified manifests and configs by digest, and which name meant which digest.
 *
 * A reference that carries a digest always means the same image, so a cached one needs no source at all.
 */
import { hash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { algorithmOf, type Digest, digestOf } from '../digest.js'
import { isErrno, isGrootError, StoreError } from '../errors.js'
import { parseConfig } from '../image/config.js'
import { checkLayers } from '../image/layers.js'
import { parseManifest } from '../image/manifest.js'
import { formatPlatform, type Platform } from '../image/platform.js'
import type { ResolvedImage, ResolveOptions } from '../sources/source.js'
import * as field from './fields.js'
import { noteUse } from './last-use.js'
import type { StoreLayout } from './layout.js'
import { isTemporaryName, readRecord, writeDurably, writeRecord } from './records.js'

/** One name that was resolved: `images/refs/<sha256 of name and platform>.json`. */
export interface ImageRef {
  readonly format: 1
  readonly reference: string
  readonly platform: string
  readonly digest: Digest
  readonly resolvedAt: string
}

/** Keeps what was resolved. Idempotent; equal documents are written once. */
export function keepImage(layout: StoreLayout, image: ResolvedImage, platform: Platform): void {
  keepBlob(layout, image.manifest.config.digest, image.configBytes)
  keepBlob(layout, image.digest, image.manifestBytes)
  const path = refPath(layout, image.reference, platform)
  if (isKnownRef(path, image)) return noteUse(path)
  const ref: ImageRef = {
    format: 1,
    reference: image.reference,
    platform: formatPlatform(platform),
    digest: image.digest,
    resolvedAt: new Date().toISOString(),
  }
  writeRecord(path, ref)
}

function isKnownRef(path: string, image: ResolvedImage): boolean {
  try {
    const known = readRecord(path, parseRef)
    return known?.digest === image.digest && known.reference === image.reference
  } catch (error) {
    // It is written again.
    if (!isGrootError(error) || error.code !== 'record-damaged') throw error
    return false
  }
}

/**
 * The image that a reference meant when it was last resolved, or null.
 *
 * @throws {StoreError} `record-damaged` when a cached document is not what its name says
 */
export function cachedImage(
  layout: StoreLayout,
  reference: string,
  platform: Platform,
  known: NonNullable<ResolveOptions['known']> = () => null,
): ResolvedImage | null {
  const ref = readRecord(refPath(layout, reference, platform), parseRef)
  if (ref === null || ref.reference !== reference) return null
  const size = sizeOf(layout.blob(ref.digest))
  const image = size === null ? null : known(ref.digest, size)
  if (image !== null) return { ...image, reference }
  const manifestBytes = readBlob(layout, ref.digest)
  if (manifestBytes === null) return null
  const manifest = parseManifest(manifestBytes)
  const configBytes = readBlob(layout, manifest.config.digest)
  if (configBytes === null) return null
  const config = parseConfig(configBytes)
  return {
    reference,
    digest: ref.digest,
    manifestBytes,
    manifest,
    configBytes,
    config,
    layers: checkLayers(manifest, config),
  }
}

/** Whether a reference was resolved before; not whether its image is still there, or whole. */
export function wasResolved(layout: StoreLayout, reference: string, platform: Platform): boolean {
  return existsSync(refPath(layout, reference, platform))
}

/** What all names meant when they were last resolved. Records that cannot be read are left out. */
export function listRefs(layout: StoreLayout): ImageRef[] {
  const found: ImageRef[] = []
  for (const name of readdirSync(layout.refs)) {
    if (!name.endsWith('.json') || isTemporaryName(name)) continue
    try {
      const ref = readRecord(`${layout.refs}/${name}`, parseRef)
      if (ref !== null) found.push(ref)
    } catch (error) {
      if (!isGrootError(error) || error.code !== 'record-damaged') throw error
    }
  }
  return found
}

/** A cached document, verified against its name; null when there is none. */
export function readBlob(layout: StoreLayout, digest: Digest): Uint8Array | null {
  const path = layout.blob(digest)
  let bytes: Buffer
  try {
    bytes = readFileSync(path)
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return null
    throw error
  }
  const found = digestOf(algorithmOf(digest), bytes)
  if (found === digest) return bytes
  throw new StoreError('record-damaged', `Cannot read "${path}": its bytes hash to ${found}`, {
    facts: { path, expected: digest, found },
  })
}

function sizeOf(path: string): number | null {
  return statSync(path, { throwIfNoEntry: false })?.size ?? null
}

function keepBlob(layout: StoreLayout, digest: Digest, bytes: Uint8Array): void {
  const path = layout.blob(digest)
  if (!existsSync(path)) writeDurably(path, bytes)
}

function refPath(layout: StoreLayout, reference: string, platform: Platform): string {
  const key = hash('sha256', `${reference}\n${formatPlatform(platform)}`, 'hex')
  return `${layout.refs}/${key}.json`
}

function parseRef(value: unknown): ImageRef {
  const raw = field.object(value, 'ref')
  return {
    format: 1,
    reference: field.string(raw.reference, 'reference'),
    platform: field.string(raw.platform, 'platform'),
    digest: field.digest(raw.digest, 'digest'),
    resolvedAt: field.string(raw.resolvedAt, 'resolvedAt'),
  }
}
