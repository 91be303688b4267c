/**
 * What images take on disk: each thing that an image needs counted once for it, and told apart by whether others need it.
 *
 * A thing is an object, a layer record, a base or a document. They are numbered, so that an image is lists of numbers, and
 * counting many images that share most of what they have costs a look at an array for each thing of each image. What
 * layers name that no image has (of images that were removed under a bundle) counts as needed by others.
 */
import type { DiffId, VerityDigest } from '../digest.js'
import { namesIn } from '../linux/names.js'
import type { Work } from '../linux/slices.js'
import { type BaseId, baseIdOf } from './base-id.js'
import type { CachedImage } from './cached-images.js'
import { objectsOfRecord } from './layer-records.js'
import { digestOfFileName, type StoreLayout } from './layout.js'
import { scanObjects } from './object-scan.js'
import { ObjectTable } from './object-table.js'
import { statOf } from './record-watch.js'

export interface ImageBytes {
  /** Of all that the image needs, in blocks on disk. */
  readonly total: number
  /** Of what nothing else in the store needs. */
  readonly own: number
}

/** Something that takes room and is needed as a whole. */
export interface Extra {
  readonly name: string
  readonly bytes: number
}

export interface MeasuredImages {
  /** In the order of the images. */
  readonly images: readonly ImageBytes[]
  /** Layers that are there. */
  readonly layers: ReadonlySet<DiffId>
  /** Layers that could not be read; what they named before the damage counts. */
  readonly damaged: ReadonlyMap<DiffId, unknown>
}

const SLICE = 4096 // things between two looks at the clock

/**
 * Measures images.
 *
 * @param bases those that there are, by the id without a mapping
 */
export function* measureImages(
  layout: StoreLayout,
  images: readonly CachedImage[],
  bases: ReadonlyMap<BaseId, readonly Extra[]>,
): Work<MeasuredImages> {
  const objects = yield* numberObjects(layout)
  const { layers, damaged } = yield* readLayers(layout, objects)
  const things = new Things(objects.bytes)
  const needs = images.map((image) => {
    const extras: Extra[] = [
      ...image.documents.map(({ digest, bytes }) => ({ name: digest, bytes })),
      ...image.refs.map(({ name, bytes }) => ({ name, bytes })),
      ...(bases.get(baseIdOf(image.layers)) ?? []),
    ]
    return things.needsOf(image.layers, layers, extras)
  })
  const named = new Set(images.flatMap((image) => image.layers))
  const others = [...layers.keys()].filter((diffId) => !named.has(diffId))
  const counted = yield* count([...needs, things.needsOf(others, layers, [])], things.bytes)
  return { images: counted.slice(0, -1), layers: new Set(layers.keys()), damaged }
}

interface NumberedObjects {
  readonly table: ObjectTable
  /** By number; what is named and not there takes nothing. */
  readonly bytes: number[]
}

function* numberObjects(layout: StoreLayout): Work<NumberedObjects> {
  const table = new ObjectTable()
  const bytes: number[] = []
  yield* scanObjects(layout, {
    object: (digest, blocks) => {
      bytes[table.numberOf(digest)] = blocks
    },
    stray: () => {}, // clean tells of it
  })
  return { table, bytes }
}

interface Layer {
  /** Of its record. */
  readonly bytes: number
  /** Numbers of its objects, some of them more than once. */
  readonly objects: Uint32Array
}

/** All layers of the store, each read once however many images have it. */
function* readLayers(
  layout: StoreLayout,
  { table, bytes }: NumberedObjects,
): Work<{ readonly layers: ReadonlyMap<DiffId, Layer>; readonly damaged: ReadonlyMap<DiffId, unknown> }> {
  const layers = new Map<DiffId, Layer>()
  const damaged = new Map<DiffId, unknown>()
  for (const name of namesIn(layout.layers)) {
    const diffId = digestOfFileName(name) as DiffId | null
    const stat = diffId === null ? null : statOf(layout.layer(diffId))
    if (diffId === null || stat === null || !stat.isFile()) continue
    const numbers: number[] = []
    const note = (digest: VerityDigest): void => {
      const number = table.numberOf(digest)
      bytes[number] ??= 0
      numbers.push(number)
    }
    try {
      yield* objectsOfRecord(layout.layer(diffId), note)
    } catch (error) {
      damaged.set(diffId, error)
    }
    layers.set(diffId, { bytes: Number(stat.blocks) * 512, objects: Uint32Array.from(numbers) })
  }
  return { layers, damaged }
}

/** Objects have the first numbers, all else that takes room has those after. */
class Things {
  readonly bytes: number[]
  readonly #numbers = new Map<string, number>()

  constructor(objectBytes: number[]) {
    this.bytes = objectBytes
  }

  needsOf(
    diffIds: readonly DiffId[],
    layers: ReadonlyMap<DiffId, Layer>,
    extras: readonly Extra[],
  ): readonly (readonly number[] | Uint32Array)[] {
    const present = [...new Set(diffIds)].flatMap((diffId) => {
      const layer = layers.get(diffId)
      return layer === undefined ? [] : [{ diffId, ...layer }]
    })
    const records = present.map(({ diffId, bytes }) => this.#numberOf(diffId, bytes))
    const rest = extras.map(({ name, bytes }) => this.#numberOf(name, bytes))
    return [records, rest, ...present.map(({ objects }) => objects)]
  }

  #numberOf(name: string, bytes: number): number {
    const known = this.#numbers.get(name)
    if (known !== undefined) return known
    const number = this.bytes.push(bytes) - 1
    this.#numbers.set(name, number)
    return number
  }
}

function* count(
  needs: readonly (readonly (readonly number[] | Uint32Array)[])[],
  bytes: readonly number[],
): Work<ImageBytes[]> {
  const users = new Uint32Array(bytes.length)
  const lastUser = new Uint32Array(bytes.length) // from 1: 0 is nobody
  const total = new Float64Array(needs.length)
  for (const [index, lists] of needs.entries()) {
    for (const list of lists) {
      for (let at = 0; at < list.length; at++) {
        const thing = list[at]!
        if (lastUser[thing] !== index + 1) {
          lastUser[thing] = index + 1
          users[thing]!++
          total[index]! += bytes[thing]!
        }
        if (at % SLICE === SLICE - 1) yield
      }
    }
    yield
  }
  const own = new Float64Array(needs.length)
  for (let thing = 0; thing < bytes.length; thing++) {
    if (users[thing] === 1) own[lastUser[thing]! - 1]! += bytes[thing]!
    if (thing % SLICE === 0) yield
  }
  return needs.map((_, index) => ({ total: total[index]!, own: own[index]! }))
}
