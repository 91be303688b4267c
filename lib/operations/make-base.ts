/**
 * Making the base of an image: merging its layers into a tree, digesting that, and having the driver prepare it.
 */
import { byteString } from '../bytes.js'
import { parseDump } from '../composefs/dump-parse.js'
import { writeDump } from '../composefs/dump-write.js'
import { composefsFromTree, treeFromComposefs } from '../composefs/tree.js'
import { TreeImage } from '../composefs/tree-image.js'
import type { DiffId, VerityDigest } from '../digest.js'
import type { EventSink } from '../events.js'
import type { IdMapping } from '../ids/mapping.js'
import type { ImageConfig } from '../image/config.js'
import { planVolumes, type Volume, volumeTree } from '../image/volumes.js'
import { type BaseId, baseIdOf, unmappedBaseId } from '../store/base-id.js'
import { type BaseRecord, listBaseIds, type RecordedFile, writeBase } from '../store/bases.js'
import { findInode } from '../tree/find.js'
import { mapOwners } from '../tree/map-owners.js'
import type { Tree } from '../tree/model.js'
import { treeBytes } from '../tree/size.js'
import { type BaseContext, knownBase } from './bases.js'
import type { MergedImage } from './early-merge.js'
import { mergeImage, tellOfMerge } from './layers.js'
import { nearBase } from './near-base.js'
import type { OpenedStore } from './opened-store.js'

/** The tree as the image has it. */
type OwnImage = Pick<MergedImage, 'tree' | 'image'>

/** What an image's layers come to. Trees are made when they are first asked for, and once. */
export class BaseMaker {
  readonly #store: OpenedStore
  readonly #layers: readonly DiffId[]
  readonly #context: BaseContext
  #own: OwnImage | null = null
  #rootfs: Tree | null = null

  constructor(store: OpenedStore, layers: readonly DiffId[], context: BaseContext) {
    this.#store = store
    this.#layers = layers
    this.#context = context
  }

  /** The tree, its owners mapped. */
  tree(): Tree {
    this.#rootfs ??= mapped(this.#ownImage().tree, this.#context.mapping)
    return this.#rootfs
  }

  /** What a volume begins with, its owners mapped; without the whole tree where that was recorded. */
  volume(record: BaseRecord, wanted: Volume): Tree {
    const dump = record.volumes.get(wanted.destination)
    const begins =
      dump === undefined
        ? volumeTree(this.#ownImage().tree, wanted)
        : treeFromComposefs(parseDump(Buffer.from(dump)))
    return mapped(begins, record.mapping)
  }

  imageBytes(): number {
    return treeBytes(this.#ownImage().tree)
  }

  /**
   * Makes the base. Its lock is held.
   *
   * @param config of the image that wants it, whose volumes the base remembers
   */
  async make(config: ImageConfig | null): Promise<BaseRecord> {
    const { mapping, events } = this.#context
    const id = baseIdOf(this.#layers, mapping)
    const own = this.#ownImage()
    const image = mapping === null ? own.image : new TreeImage(this.tree())
    const volumes = recordVolumes(config, own.tree)
    const accounts = { passwd: accountFile(own.tree, 'passwd'), group: accountFile(own.tree, 'group') }
    const bytes = await this.#prepare(id, image)
    const rootfsDigest = image.digest()
    const record: BaseRecord = {
      format: 1,
      id,
      createdAt: new Date().toISOString(),
      digest: mapping === null ? rootfsDigest : this.#ownDigest(),
      rootfsDigest,
      mapping,
      layers: this.#layers,
      bytes,
      imageBytes: this.imageBytes(),
      accounts,
      volumes,
    }
    // commit point: the base record
    writeBase(this.#store.layout, record)
    events({ kind: 'base-ready', id, digest: record.digest, bytes })
    return record
  }

  /** Has the driver prepare what it shares. @returns bytes on disk */
  async #prepare(id: BaseId, image: TreeImage): Promise<number> {
    const { driver, objects } = this.#store
    if (!driver.traits.bases) return 0
    const { mapping, limits, areContentsSeen = false, signal } = this.#context
    try {
      const own = () => this.#ownImage().tree
      const near = driver.traits.nearBases ? nearBase(this.#store, this.#layers, mapping, own, limits) : null
      return (await driver.prepare({ id, tree: this.tree(), image, objects, areContentsSeen, near }, signal))
        .bytes
    } catch (error) {
      // Half a base is of no use; what cannot be removed now, the next prepare or clean removes.
      await driver.removeBase(id).catch(() => {})
      throw error
    }
  }

  /** What people compare is the tree that the image has, also where a rootfs has another. */
  #ownDigest(): VerityDigest {
    const known = knownDigest(this.#store, baseIdOf(this.#layers), this.#context.events)
    return known ?? this.#ownImage().image.digest()
  }

  #ownImage(): OwnImage {
    this.#own ??= ownImage(this.#store, this.#layers, this.#context)
    return this.#own
  }
}

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

const MAX_RECORDED_DUMP = 4096 // chars; xattrs can have many more, and a thousand volumes have to fit into one record

/** What small volumes begin with, as dumps: most are empty, and a create should not merge a tree to learn that. */
function recordVolumes(config: ImageConfig | null, tree: Tree): Map<string, string> {
  const recorded = new Map<string, string>()
  for (const volume of config === null ? [] : planVolumes(config)) {
    const begins = volumeTree(tree, volume)
    if (begins.root.children.size > 0) continue
    const dump = [...writeDump(composefsFromTree(begins))].join('')
    if (dump.length <= MAX_RECORDED_DUMP) recorded.set(volume.destination, dump)
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
