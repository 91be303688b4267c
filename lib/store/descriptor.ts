/**
 * store.json: what a store is and what a reader must understand to use it.
 */
import { randomUUID } from 'node:crypto'
import { StoreError } from '../errors.js'
import type { IdMapping } from '../ids/mapping.js'
import * as field from './fields.js'
import { parseRecordedMapping } from './recorded-mapping.js'
import { createDurably, readRecord } from './records.js'

const STORE_FORMAT = 1

/** Features by what an older groot may still do; names are words with dashes. KNOWN has those of this version. */
export interface StoreFeatures {
  /** Unknown ones are ignored. */
  readonly compatible: readonly string[]
  /** Unknown ones allow stats and list. */
  readonly readOnlyCompatible: readonly string[]
  /** Unknown ones allow nothing. */
  readonly incompatible: readonly string[]
}

export interface StoreDescriptor {
  readonly format: number
  readonly id: string
  readonly driver: string
  readonly driverOptions: unknown
  /** What bundles are made with unless a request says otherwise; null for owners as images have them. */
  readonly mapping: IdMapping | null
  /** Whether syncs are left out unless a request says otherwise: see unsynced.ts. */
  readonly noSync: boolean
  /** The kernel's view of whose store this is. */
  readonly createdAt: string
  readonly features: StoreFeatures
}

/** A version without id mappings would make bundles whose files belong to the host's users. */
const ID_MAPPING = 'id-mapping'
/** A version without it would trust what a power cut may have damaged. */
const NO_SYNC = 'no-sync'

const KNOWN: StoreFeatures = { compatible: [], readOnlyCompatible: [ID_MAPPING, NO_SYNC], incompatible: [] }

export function newDescriptor(
  driver: string,
  driverOptions: unknown,
  mapping: IdMapping | null = null,
  noSync = false,
): StoreDescriptor {
  return {
    format: STORE_FORMAT,
    id: randomUUID(),
    driver,
    driverOptions: driverOptions ?? null,
    mapping,
    noSync,
    createdAt: new Date().toISOString(),
    features: {
      compatible: [],
      readOnlyCompatible: [...(mapping === null ? [] : [ID_MAPPING]), ...(noSync ? [NO_SYNC] : [])],
      incompatible: [],
    },
  }
}

/** @returns false when another process was first */
export function writeDescriptor(path: string, descriptor: StoreDescriptor): boolean {
  return createDurably(path, `${JSON.stringify(descriptor, null, 2)}\n`)
}

/**
 * Reads store.json and refuses what this version does not understand.
 *
 * @returns null when there is no store
 * @throws {StoreError} `store-invalid`, `store-version`, `store-feature`
 */
export function readDescriptor(path: string): StoreDescriptor | null {
  let descriptor: StoreDescriptor | null
  try {
    descriptor = readRecord(path, parseDescriptor)
  } catch (error) {
    if ((error as StoreError).code !== 'record-damaged') throw error
    throw new StoreError('store-invalid', (error as Error).message, { facts: { path }, cause: error })
  }
  if (descriptor === null) return null
  if (descriptor.format !== STORE_FORMAT) {
    throw new StoreError(
      'store-version',
      `Cannot open the store of "${path}": it has format ${descriptor.format}, this version knows format ${STORE_FORMAT}`,
      { facts: { path, found: descriptor.format, known: STORE_FORMAT } },
    )
  }
  refuseUnknown(path, descriptor.features.incompatible, KNOWN.incompatible, 'open')
  return descriptor
}

/**
 * Refuses to change a store whose read-only compatible features this version does not know.
 *
 * @throws {StoreError} `store-feature`
 */
export function checkWritable(path: string, descriptor: StoreDescriptor): void {
  refuseUnknown(path, descriptor.features.readOnlyCompatible, KNOWN.readOnlyCompatible, 'change')
}

function refuseUnknown(path: string, found: readonly string[], known: readonly string[], verb: string): void {
  for (const feature of found) {
    if (known.includes(feature)) continue
    throw new StoreError(
      'store-feature',
      `Cannot ${verb} the store of "${path}": it uses the feature ${JSON.stringify(feature)}, which this version does not know`,
      { facts: { path, feature } },
    )
  }
}

function parseDescriptor(value: unknown): StoreDescriptor {
  const raw = field.object(value, 'store.json')
  const features = field.object(raw.features, 'features')
  const names = (key: string) => field.list(features[key], `features.${key}`, field.string)
  return {
    format: field.integer(raw.format, 'format'),
    id: field.string(raw.id, 'id'),
    driver: field.string(raw.driver, 'driver'),
    driverOptions: raw.driverOptions ?? null,
    mapping: parseRecordedMapping(raw.mapping),
    noSync: raw.noSync === true,
    createdAt: field.string(raw.createdAt, 'createdAt'),
    features: {
      compatible: names('compatible'),
      readOnlyCompatible: names('readOnlyCompatible'),
      incompatible: names('incompatible'),
    },
  }
}
