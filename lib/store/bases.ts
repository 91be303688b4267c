/**
 * Base records: what is known of an image's tree once it was merged, so that it need not be merged again.
 *
 * Every driver's store has them, also where the driver keeps nothing for a base. The commit point of a base is its record:
 * what a driver has of a base without one is a leaving.
 */

import { type DiffId, isVerityDigest, type VerityDigest } from '../digest.js'
import type { IdMapping } from '../ids/mapping.js'
import { namesIn } from '../linux/names.js'
import { BASE_ID, type BaseId } from './base-id.js'
import * as field from './fields.js'
import type { StoreLayout } from './layout.js'
import { parseRecordedMapping } from './recorded-mapping.js'
import { readRecord, writeRecord } from './records.js'

/** A small file of the tree that create reads: its bytes, or the object that has them. */
export type RecordedFile =
  | { readonly kind: 'inline'; readonly base64: string }
  | { readonly kind: 'object'; readonly digest: VerityDigest; readonly size: number }

export interface BaseRecord {
  readonly format: 1
  readonly id: BaseId
  readonly createdAt: string
  /**
   * fs-verity digest (SHA-256) of the composefs image of the image's own tree: the same for the same tree, whatever the driver
   * and the mapping.
   */
  readonly digest: VerityDigest
  /** The same of the tree that a rootfs has, its owners mapped. */
  readonly rootfsDigest: VerityDigest
  /** Null for owners as the image has them. */
  readonly mapping: IdMapping | null
  readonly layers: readonly DiffId[]
  /** Bytes that the driver keeps for it, objects not counted; 0 for drivers without bases. */
  readonly bytes: number
  /** Bytes of the tree's regular files (treeBytes); null in records of versions that did not count them. */
  readonly imageBytes: number | null
  /** Dumps (composefs-dump(5)) of the empty directories that volumes of the image begin with, by their destinations; unmapped. */
  readonly volumes: ReadonlyMap<string, string>
  /** The image's account files, by which users are looked up; null where the tree has none. */
  readonly accounts: { readonly passwd: RecordedFile | null; readonly group: RecordedFile | null }
}

export function writeBase(layout: StoreLayout, record: BaseRecord): void {
  writeRecord(layout.base(record.id), { ...record, volumes: Object.fromEntries(record.volumes) })
}

/** @throws {StoreError} `record-damaged` */
export function readBase(layout: StoreLayout, id: BaseId): BaseRecord | null {
  return readRecord(layout.base(id), (value) => parseBase(value, id))
}

/** Ids of all base records, in byte order. */
export function listBaseIds(layout: StoreLayout): BaseId[] {
  const ids: BaseId[] = []
  for (const name of namesIn(layout.bases)) {
    const id = name.endsWith('.json') ? name.slice(0, -'.json'.length) : ''
    if (BASE_ID.test(id)) ids.push(id as BaseId)
  }
  return ids.sort()
}

function parseBase(value: unknown, id: BaseId): BaseRecord {
  const raw = field.object(value, 'base')
  const accounts = field.object(raw.accounts, 'accounts')
  if (raw.id !== id) throw new Error(`id should be "${id}"`)
  return {
    format: field.format(raw),
    id,
    createdAt: field.string(raw.createdAt, 'createdAt'),
    digest: verity(raw.digest, 'digest'),
    // Of a version that knew no mappings.
    rootfsDigest: verity(raw.rootfsDigest ?? raw.digest, 'rootfsDigest'),
    mapping: parseRecordedMapping(raw.mapping),
    layers: field.list(raw.layers, 'layers', (each, name) => field.digest(each, name) as DiffId),
    bytes: field.integer(raw.bytes, 'bytes'),
    imageBytes: field.optional(raw.imageBytes, (each) => field.integer(each, 'imageBytes')),
    volumes: new Map(
      Object.entries(field.object(raw.volumes, 'volumes')).map(([path, dump]) => [
        path,
        field.string(dump, 'volumes'),
      ]),
    ),
    accounts: {
      passwd: field.optional(accounts.passwd, (each) => parseFile(each, 'accounts.passwd')),
      group: field.optional(accounts.group, (each) => parseFile(each, 'accounts.group')),
    },
  }
}

function parseFile(value: unknown, name: string): RecordedFile {
  const raw = field.object(value, name)
  if (raw.kind === 'inline') return { kind: 'inline', base64: field.string(raw.base64, `${name}.base64`) }
  return {
    kind: 'object',
    digest: verity(raw.digest, `${name}.digest`),
    size: field.integer(raw.size, `${name}.size`),
  }
}

function verity(value: unknown, name: string): VerityDigest {
  if (isVerityDigest(value)) return value
  throw new Error(
    `${name} should be an fs-verity digest, found ${String(JSON.stringify(value)).slice(0, 60)}`,
  )
}
