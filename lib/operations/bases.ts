/**
 * The base of an image: its tree merged and digested once, and prepared by drivers that share bases.
 */
import { readFileSync } from 'node:fs'
import { byteString } from '../bytes.js'
import { parseDump } from '../composefs/dump-parse.js'
import { writeDump } from '../composefs/dump-write.js'
import { composefsFromTree, treeFromComposefs } from '../composefs/tree.js'
import { TreeImage } from '../composefs/tree-image.js'
import type { DiffId, VerityDigest } from '../digest.js'
import { ImageError, isGrootError } from '../errors.js'
import type { EventSink } from '../events.js'
import type { IdMapping } from '../ids/mapping.js'
import type { ImageConfig } from '../image/config.js'
import { planVolumes, type Volume, volumeTree } from '../image/volumes.js'
import type { LayerLimits } from '../layer/limits.js'
import type { LockRequest } from '../locks/locks.js'
import { type BaseId, baseIdOf, unmappedBaseId } from '../store/base-id.js'
import { type BaseRecord, listBaseIds, type RecordedFile, readBase, writeBase } from '../store/bases.js'
import type { ObjectReader } from '../store/objects.js'
import { findInode } from '../tree/find.js'
import { mapOwners } from '../tree/map-owners.js'
import type { Tree } from '../tree/model.js'
import { treeBytes } from '../tree/size.js'
import type { MergedImage } from './early-merge.js'
import { mergeImage, tellOfMerge } from './layers.js'
import { nearBase } from './near-base.js'
import type { OpenedStore } from './opened-store.js'

export interface BaseContext {
  readonly limits: LayerLimits
  readonly events: EventSink
  readonly signal: AbortSignal
  readonly locking: LockRequest
  /** Null for owners as the image has them. */
  readonly mapping: IdMapping | null
  /** The image's tree, where it was merged already. */
  readonly merged?: MergedImage | null
}

export interface ReadyBase {
  readonly record: BaseRecord
  /** The tree, its owners mapped: merged when it is first asked for, unless making the base needed it. */
  tree(): Tree
  /** What a volume begins with, its owners mapped; without the whole tree where that was recorded. */
  volume(volume: Volume): Tree
  /** What the image counts for disk limits. */
  imageBytes(): number
}

/**
 * The base of layers that are all in the store, made if there is none.
 *
 * @param config of the image that wants it, whose volumes a new base remembers
 * @throws {ImageError} when the layers do not fit on each other, `composefs-refused`, `id-unmapped`
 */
export async function ensureBase(
  store: OpenedStore,
  layers: readonly DiffId[],
  config: ImageConfig | null,
  context: BaseContext,
): Promise<ReadyBase> {
  const { mapping } = context
  const own = once(() => ownImage(store, layers, context))
  const tree = () => own().tree
  const trees = { own, image: tree, rootfs: once(() => mapped(tree(), mapping)) }
  const id = baseIdOf(layers, mapping)
  const known = knownBase(store, id, context.events)
  if (known !== null) return readyBase(known, trees)
  await using _lock = await store.locks.base(id, context.locking)
  // Again, now that nobody else is making it: who held the lock may have.
  const made = knownBase(store, id, context.events)
  return readyBase(made ?? (await makeBase(store, layers, config, trees, context)), trees)
}

/** A tree as the image has it, and as a rootfs has it. */
interface Trees {
  readonly own: () => OwnImage
  readonly image: () => Tree
  readonly rootfs: () => Tree
}

/** The tree as the image has it. */
type OwnImage = Pick<MergedImage, 'tree' | 'image'>

function ownImage(
  store: OpenedStore,
  layers: readonly DiffId[],
  { limits, events, merged = null }: Pick<BaseContext, 'limits' | 'events' | 'merged'>,
): OwnImage {
  if (merged === null) {
    const tree = mergeImage(store, layers, limits, events)
    return { tree, image: new TreeImage(tree) }
  }
  tellOfMerge(merged.entries, merged.dropped, events)
  return merged
}

function mapped(tree: Tree, mapping: IdMapping | null): Tree {
  return mapping === null ? tree : mapOwners(tree, mapping)
}

function readyBase(record: BaseRecord, { image, rootfs }: Trees): ReadyBase {
  const volume = (wanted: Volume): Tree => {
    const dump = record.volumes.get(wanted.destination)
    const begins =
      dump === undefined ? volumeTree(image(), wanted) : treeFromComposefs(parseDump(Buffer.from(dump)))
    return mapped(begins, record.mapping)
  }
  return { record, tree: rootfs, volume, imageBytes: () => record.imageBytes ?? treeBytes(image()) }
}

/** What small volumes begin with, as dumps: most are empty, and a create should not merge a tree to learn that. */
function recordVolumes(config: ImageConfig | null, tree: Tree): Map<string, string> {
  const recorded = new Map<string, string>()
  for (const volume of config === null ? [] : planVolumes(config)) {
    const begins = volumeTree(tree, volume)
    if (begins.root.children.size > 0) continue
    recorded.set(volume.destination, [...writeDump(composefsFromTree(begins))].join(''))
  }
  return recorded
}

/** The digest of a tree whose base may not be there; makes nothing. */
export function digestOfLayers(
  store: OpenedStore,
  layers: readonly DiffId[],
  context: Pick<BaseContext, 'limits' | 'events' | 'merged'>,
): VerityDigest {
  const known = knownDigest(store, baseIdOf(layers), context.events)
  if (known !== null) return known
  return ownImage(store, layers, context).image.digest()
}

/** The digest of the image's own tree, by the record of any base of its layers: all have it, whatever their mapping. */
function knownDigest(store: OpenedStore, unmapped: BaseId, events: EventSink): VerityDigest | null {
  const own = knownBase(store, unmapped, events)
  if (own !== null) return own.digest
  for (const id of listBaseIds(store.layout)) {
    const other = id !== unmapped && unmappedBaseId(id) === unmapped ? knownBase(store, id, events) : null
    if (other !== null) return other.digest
  }
  return null
}

/** What is recorded can be made again, so a record that cannot be read counts as none. */
function knownBase({ layout }: OpenedStore, id: BaseId, events: EventSink): BaseRecord | null {
  try {
    return readBase(layout, id)
  } catch (error) {
    if (!isGrootError(error) || error.code !== 'record-damaged') throw error
    events({
      kind: 'warning',
      code: 'record-damaged',
      message: `${error.message}; the base is made again`,
      facts: { base: id },
    })
    return null
  }
}

async function makeBase(
  store: OpenedStore,
  layers: readonly DiffId[],
  config: ImageConfig | null,
  trees: Trees,
  { limits, events, signal, mapping }: BaseContext,
): Promise<BaseRecord> {
  const { layout, driver, objects } = store
  const id = baseIdOf(layers, mapping)
  const own = trees.image()
  const tree = trees.rootfs()
  const image = mapping === null ? trees.own().image : new TreeImage(tree)
  const volumes = recordVolumes(config, own)
  const accounts = { passwd: accountFile(own, 'passwd'), group: accountFile(own, 'group') }
  let bytes = 0
  if (driver.traits.bases) {
    try {
      const near = driver.traits.nearBases ? nearBase(store, layers, mapping, trees.image, limits) : null
      bytes = (await driver.prepare({ id, tree, image, objects, near }, signal)).bytes
    } catch (error) {
      // Half a base is of no use; what cannot be removed now, the next prepare or clean removes.
      await driver.removeBase(id).catch(() => {})
      throw error
    }
  }
  const rootfsDigest = image.digest()
  const record: BaseRecord = {
    format: 1,
    id,
    createdAt: new Date().toISOString(),
    digest: mapping === null ? rootfsDigest : ownDigest(store, layers, trees.own().image, events),
    rootfsDigest,
    mapping,
    layers,
    bytes,
    imageBytes: treeBytes(own),
    accounts,
    volumes,
  }
  // commit point: the base record
  writeBase(layout, record)
  events({ kind: 'base-ready', id, digest: record.digest, bytes })
  return record
}

/** What people compare is the tree that the image has, also where a rootfs has another. */
function ownDigest(
  store: OpenedStore,
  layers: readonly DiffId[],
  image: TreeImage,
  events: EventSink,
): VerityDigest {
  return knownDigest(store, baseIdOf(layers), events) ?? image.digest()
}

const MAX_ACCOUNT_FILE_BYTES = 1024 * 1024

/** Where the bytes of an account file are; null when the tree has no such file. */
function accountFile(tree: Tree, name: 'passwd' | 'group'): RecordedFile | null {
  const found = findInode(tree, byteString(`/etc/${name}`))
  if (found?.kind !== 'file') return null
  switch (found.content.kind) {
    case 'empty':
      return { kind: 'inline', base64: '' }
    case 'inline':
      return { kind: 'inline', base64: Buffer.from(found.content.bytes).toString('base64') }
    case 'object':
      return { kind: 'object', digest: found.content.digest, size: found.size }
    default:
      return found.content satisfies never
  }
}

/** The bytes of a recorded account file. @throws {ImageError} `limit-exceeded` */
export function readAccountFile(
  file: RecordedFile | null,
  name: 'passwd' | 'group',
  objects: ObjectReader,
): Uint8Array | null {
  if (file === null) return null
  if (file.kind === 'inline') return Buffer.from(file.base64, 'base64')
  if (file.size <= MAX_ACCOUNT_FILE_BYTES) return readFileSync(objects.path(file.digest))
  throw new ImageError(
    'limit-exceeded',
    `Cannot read /etc/${name} of the image: it has ${file.size} bytes, at most ${MAX_ACCOUNT_FILE_BYTES} are read`,
    { facts: { path: `/etc/${name}`, bytes: file.size, limit: MAX_ACCOUNT_FILE_BYTES } },
  )
}

function once<T>(make: () => T): () => T {
  let made: { readonly value: T } | null = null
  return () => {
    made ??= { value: make() }
    return made.value
  }
}
