/**
 * The base of an image: its tree merged and digested once, and prepared by drivers that share bases.
 *
 * Most creates find theirs, and load nothing of what makes one (make-base.ts).
 */
import { readFileSync } from 'node:fs'
import type { DiffId } from '../digest.js'
import { ImageError, isGrootError } from '../errors.js'
import type { EventSink } from '../events.js'
import type { IdMapping } from '../ids/mapping.js'
import type { ImageConfig } from '../image/config.js'
import type { Volume } from '../image/volumes.js'
import type { LayerLimits } from '../layer/limits.js'
import type { LockRequest } from '../locks/locks.js'
import { type BaseId, baseIdOf } from '../store/base-id.js'
import { type BaseRecord, type RecordedFile, readBase } from '../store/bases.js'
import type { ObjectReader } from '../store/objects.js'
import type { Tree } from '../tree/model.js'
import type { MergedImage } from './early-merge.js'
import type { BaseMaker } from './make-base.js'
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
  /** As the driver is told; default: false. */
  readonly areContentsSeen?: boolean
}

export interface ReadyBase {
  readonly record: BaseRecord
  /** The tree, its owners mapped: merged when it is first asked for, unless making the base needed it. */
  tree(): Promise<Tree>
  /** What a volume begins with, its owners mapped; without the whole tree where that was recorded. */
  volume(volume: Volume): Promise<Tree>
  /** What the image counts for disk limits. */
  imageBytes(): Promise<number>
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
  let loaded: Promise<BaseMaker> | undefined
  const maker = () => {
    loaded ??= import('./make-base.js').then((room) => new room.BaseMaker(store, layers, context))
    return loaded
  }
  const id = baseIdOf(layers, context.mapping)
  // What is damaged is told of by the look under the lock.
  const known = knownBase(store, id, () => {})
  if (known !== null) return readyBase(known, maker)
  await using _lock = await store.locks.base(id, context.locking)
  // Again, now that nobody else is making it: who held the lock may have.
  const made = knownBase(store, id, context.events)
  return readyBase(made ?? (await (await maker()).make(config)), maker)
}

function readyBase(record: BaseRecord, maker: () => Promise<BaseMaker>): ReadyBase {
  return {
    record,
    tree: async () => (await maker()).tree(),
    volume: async (volume) => (await maker()).volume(record, volume),
    imageBytes: async () => record.imageBytes ?? (await maker()).imageBytes(),
  }
}

/** What is recorded can be made again, so a record that cannot be read counts as none. */
export function knownBase({ layout }: OpenedStore, id: BaseId, events: EventSink): BaseRecord | null {
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

const MAX_ACCOUNT_FILE_BYTES = 1024 * 1024

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
