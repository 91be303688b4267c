/**
 * The survey of a store: what its cache holds, what each part takes, when it was last used, and what must stay.
 */
import type { DiffId, VerityDigest } from '../digest.js'
import { namesIn } from '../linux/names.js'
import { runInSlices, type Work } from '../linux/slices.js'
import { BASE_ID, type BaseId } from '../store/base-id.js'
import { type BaseRecord, readBase } from '../store/bases.js'
import { type ImageCache, readImageCache } from '../store/cached-images.js'
import { LayerRecords } from '../store/layer-records.js'
import { digestOfFileName } from '../store/layout.js'
import { scanObjects } from '../store/object-scan.js'
import { ObjectTable } from '../store/object-table.js'
import { statOf } from '../store/record-watch.js'
import type { CleanJob } from './clean-job.js'
import { stray } from './clean-leavings.js'

export interface SurveyedBase {
  readonly id: BaseId
  /** Of the record and of what the driver has. */
  readonly bytes: number
  readonly lastUseMs: number
  /** Null when it cannot be read. */
  readonly record: BaseRecord | null
  readonly damage: unknown
}

export interface SurveyedLayer {
  readonly diffId: DiffId
  /** Of the record. */
  readonly bytes: number
  readonly lastUseMs: number
}

export interface Survey {
  readonly cache: ImageCache
  readonly bases: ReadonlyMap<BaseId, SurveyedBase>
  readonly layers: ReadonlyMap<DiffId, SurveyedLayer>
  /** Objects on disk, with a reference for each time that a layer names one. */
  readonly table: ObjectTable
  /** The records that the references are from. */
  readonly records: LayerRecords
  /** Of objects, layers, bases and images. */
  readonly bytes: number
}

export async function surveyStore(job: CleanJob): Promise<Survey> {
  const { layout } = job.store
  const cache = await runInSlices(readImageCache(layout), job.signal)
  for (const name of cache.strays) stray(job, 'image', `${layout.images}/${name}`)
  const bases = await runInSlices(surveyBases(job), job.signal)
  const layers = await runInSlices(surveyLayers(job), job.signal)
  const table = new ObjectTable()
  const records = new LayerRecords(layout)
  const addReference = (digest: VerityDigest) => table.addReference(digest)
  await runInSlices(records.read(records.unread(), addReference), job.signal)
  let objectBytes = 0
  const sink = {
    object: (digest: VerityDigest, bytes: number) => {
      table.addObject(digest, bytes)
      objectBytes += bytes
    },
    stray: (name: string) => stray(job, 'object', `${layout.objects}/${name}`),
  }
  await runInSlices(scanObjects(layout, sink), job.signal)
  const bytes = objectBytes + sum(bases.values()) + sum(layers.values()) + bytesOfCache(cache)
  return { cache, bases, layers, table, records, bytes }
}

function* surveyBases(job: CleanJob): Work<Map<BaseId, SurveyedBase>> {
  const { layout } = job.store
  const found = new Map<BaseId, SurveyedBase>()
  for (const name of namesIn(layout.bases)) {
    if (name.startsWith('.tmp-')) continue
    const id = baseOfFile(name)
    const stat = id === null ? null : statOf(layout.base(id))
    if (id === null || (stat !== null && !stat.isFile())) stray(job, 'base', `${layout.bases}/${name}`)
    else if (stat !== null) {
      const base = { id, lastUseMs: Number(stat.mtimeMs) }
      const own = Number(stat.blocks) * 512
      try {
        const record = readBase(layout, id)
        if (record !== null) found.set(id, { ...base, bytes: own + record.bytes, record, damage: null })
      } catch (damage) {
        found.set(id, { ...base, bytes: own, record: null, damage })
      }
    }
    yield
  }
  return found
}

/** The base that a file in `bases/` is the record of, or null. */
export function baseOfFile(name: string): BaseId | null {
  const id = name.endsWith('.json') ? name.slice(0, -'.json'.length) : ''
  return BASE_ID.test(id) ? (id as BaseId) : null
}

function* surveyLayers(job: CleanJob): Work<Map<DiffId, SurveyedLayer>> {
  const { layout } = job.store
  const found = new Map<DiffId, SurveyedLayer>()
  for (const name of namesIn(layout.layers)) {
    if (name.startsWith('.tmp-')) continue
    const diffId = digestOfFileName(name) as DiffId | null
    const stat = diffId === null ? null : statOf(layout.layer(diffId))
    if (diffId === null || (stat !== null && !stat.isFile())) stray(job, 'layer', `${layout.layers}/${name}`)
    else if (stat !== null)
      found.set(diffId, { diffId, bytes: Number(stat.blocks) * 512, lastUseMs: Number(stat.mtimeMs) })
    yield
  }
  return found
}

function bytesOfCache({ images, damagedRefs }: ImageCache): number {
  let bytes = sum(damagedRefs)
  const documents = new Map<string, number>()
  for (const image of images) {
    bytes += sum(image.refs)
    // A config may belong to several images.
    for (const document of image.documents) documents.set(document.digest, document.bytes)
  }
  for (const each of documents.values()) bytes += each
  return bytes
}

function sum(items: Iterable<{ readonly bytes: number }>): number {
  let bytes = 0
  for (const item of items) bytes += item.bytes
  return bytes
}
