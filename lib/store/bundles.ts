/**
 * Bundle records: the truth about which bundles there are. What stands in a bundle's directory is never read back.
 */
import { existsSync, readdirSync } from 'node:fs'
import { type DiffId, type Digest, isVerityDigest, type VerityDigest } from '../digest.js'
import type { IdMapping } from '../ids/mapping.js'
import { namesIn } from '../linux/names.js'
import type { BaseId } from './base-id.js'
import { BUNDLE_ID, type BundleId } from './bundle-id.js'
import * as field from './fields.js'
import type { StoreLayout } from './layout.js'
import { statOf } from './record-watch.js'
import { parseRecordedLimit, type RecordedLimit } from './recorded-limit.js'
import { parseRecordedMapping } from './recorded-mapping.js'
import { readRecord } from './records.js'

export interface RecordedMount {
  readonly destination: string
  readonly type: string
  readonly source: string
  readonly options: readonly string[]
}

export interface BundleRecord {
  readonly format: 1
  readonly id: BundleId
  readonly createdAt: string
  readonly image: { readonly reference: string; readonly digest: Digest; readonly config: Digest }
  readonly layers: readonly DiffId[]
  readonly base: BaseId | null
  /** fs-verity digest of the composefs image of the image's own tree. */
  readonly digest: VerityDigest
  /** The same of the tree that the rootfs has, its owners mapped. */
  readonly rootfsDigest: VerityDigest
  /** Null for owners as the image has them. */
  readonly mapping: IdMapping | null
  readonly driver: string
  readonly readOnly: boolean
  readonly ignoreOwnership: boolean
  /** How the kernel was to check contents; null for the driver's own choice. */
  readonly verity: 'require' | 'try' | 'off' | null
  /** Whether its digest was demanded when it was made, so that each mount has to be of it. */
  readonly isDigestDemanded: boolean
  /** Whether it was made without syncs. */
  readonly noSync: boolean
  /** What the container may write; null for as much as there is room. */
  readonly limit: RecordedLimit | null
  /** What the runtime mounts, of a bundle that was made without mounting. */
  readonly mounts: readonly RecordedMount[]
}

/** @throws {StoreError} `record-damaged` */
export function readBundle(layout: StoreLayout, id: BundleId): BundleRecord | null {
  return readRecord(layout.record(id), (value) => parseBundle(value, id))
}

/** Ids of all bundle records, in byte order. */
export function listBundleIds(layout: StoreLayout): BundleId[] {
  const ids: BundleId[] = []
  for (const name of readdirSync(layout.records)) {
    if (!name.endsWith('.json')) continue
    const id = name.slice(0, -'.json'.length)
    if (BUNDLE_ID.test(id)) ids.push(id as BundleId)
  }
  return ids.sort()
}

/** What stands in `bundles/`, whether it has a record or not; and what nobody made there as a bundle. */
export function listBundlePlaces(layout: StoreLayout): {
  readonly directories: BundleId[]
  readonly strays: string[]
} {
  const directories: BundleId[] = []
  const strays: string[] = []
  for (const name of namesIn(layout.bundles).sort()) {
    const id = BUNDLE_ID.test(name) ? (name as BundleId) : null
    const stat = statOf(`${layout.bundles}/${name}`)
    if (id !== null && stat?.isDirectory()) directories.push(id)
    // Gone meanwhile is none; with a record it stands in the place of a bundle that is damaged.
    else if (id === null || (stat !== null && !existsSync(layout.record(id)))) strays.push(name)
  }
  return { directories, strays }
}

/** Whether a bundle's directory is there, with a record or without. A symlink is none, and is never followed. */
export function hasDirectory(layout: StoreLayout, id: BundleId): boolean {
  return statOf(layout.bundle(id))?.isDirectory() ?? false
}

function parseBundle(value: unknown, id: BundleId): BundleRecord {
  const raw = field.object(value, 'bundle')
  const image = field.object(raw.image, 'image')
  if (raw.id !== id) throw new Error(`id should be "${id}"`)
  return {
    format: field.format(raw),
    id,
    createdAt: field.string(raw.createdAt, 'createdAt'),
    image: {
      reference: field.string(image.reference, 'image.reference'),
      digest: field.digest(image.digest, 'image.digest'),
      config: field.digest(image.config, 'image.config'),
    },
    layers: field.list(raw.layers, 'layers', (each, name) => field.digest(each, name) as DiffId),
    base: field.optional(raw.base, (each) => field.string(each, 'base') as BaseId),
    digest: parseDigest(raw.digest),
    // Of a version that knew no mappings.
    rootfsDigest: parseDigest(raw.rootfsDigest ?? raw.digest),
    mapping: parseRecordedMapping(raw.mapping),
    driver: field.string(raw.driver, 'driver'),
    readOnly: field.boolean(raw.readOnly, 'readOnly'),
    ignoreOwnership: field.boolean(raw.ignoreOwnership, 'ignoreOwnership'),
    verity: field.optional(raw.verity, parseVerity),
    // Of versions that did not record them.
    isDigestDemanded:
      field.optional(raw.isDigestDemanded, (each) => field.boolean(each, 'isDigestDemanded')) ?? false,
    noSync: field.optional(raw.noSync, (each) => field.boolean(each, 'noSync')) ?? false,
    limit: parseRecordedLimit(raw.limit),
    mounts: field.list(raw.mounts, 'mounts', parseMount),
  }
}

function parseDigest(value: unknown): VerityDigest {
  if (isVerityDigest(value)) return value
  throw new Error('digest should be an fs-verity digest')
}

function parseVerity(value: unknown): 'require' | 'try' | 'off' {
  if (value === 'require' || value === 'try' || value === 'off') return value
  throw new Error('verity should be require, try or off')
}

function parseMount(value: unknown, name: string): RecordedMount {
  const raw = field.object(value, name)
  return {
    destination: field.string(raw.destination, `${name}.destination`),
    type: field.string(raw.type, `${name}.type`),
    source: field.string(raw.source, `${name}.source`),
    options: field.list(raw.options, `${name}.options`, field.string),
  }
}
