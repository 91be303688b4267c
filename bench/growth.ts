/**
 * What creates and deletes cost against how much there is: files and layers of the image, other bundles, objects of other
 * images in the store. Run as `node dist/bench/growth.js --help`; chart.ts draws what it writes.
 */
import { mkdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { parseArgs } from 'node:util'
import { type GrootStore, openStore } from '../lib/index.js'
import { removeTree } from '../lib/linux/remove-tree.js'
import { type LayerBuilder, layer } from '../lib/testkit/layer.js'
import { writeLayout } from '../test/images/layout.js'
import { writeFigures } from './figures.js'
import { makeFilesystem, unmountBelow } from './filesystem.js'
import { timesOf } from './library-times.js'
import { median } from './measure.js'
import { markdown } from './table.js'

const USAGE = `usage: node dist/bench/growth.js [options]

  --only A,B    of: files, layers, bundles, objects (default: all)
  --long        further, to 500,000 files and objects and 2,000 bundles
  --rounds N    warm creates and deletes for each figure (default: 200)
  --cold N      cold creates for each figure (default: 3)
  --work DIR    where the filesystem of the benchmark goes, 24 GB (default: ${tmpdir()})
  --out FILE    where the figures go

Needs root, and: e2fsprogs mount`

const FILESYSTEM_BYTES = 24 * 1024 ** 3
const PROBE_FILES = 1000
const FILL_FILES = 50_000 // objects are brought in by images of so many
const FILE_BYTES = 100 // more than what would stand in the tree itself

const DIMENSIONS = {
  files: { usual: [1000, 10_000, 100_000], long: [500_000], measure: measureFiles },
  layers: { usual: [1, 10, 100, 500], long: [], measure: measureLayers },
  bundles: { usual: [0, 100, 1000], long: [2000], measure: measureBundles },
  objects: { usual: [1000, 100_000], long: [500_000], measure: measureObjects },
} as const

export type Dimension = keyof typeof DIMENSIONS

/** Milliseconds. */
export interface GrowthPoint {
  readonly dimension: Dimension
  readonly count: number
  readonly coldCreate: number
  readonly createP50: number
  readonly createP99: number
  readonly deleteP50: number
  readonly deleteP99: number
}

interface Bench {
  readonly place: string
  readonly rounds: number
  readonly cold: number
  readonly signal: AbortSignal
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      only: { type: 'string', default: Object.keys(DIMENSIONS).join(',') },
      long: { type: 'boolean', default: false },
      rounds: { type: 'string', default: '200' },
      cold: { type: 'string', default: '3' },
      work: { type: 'string', default: tmpdir() },
      out: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  })
  const dimensions = values.only.split(',') as Dimension[]
  if (values.help || dimensions.some((name) => !(name in DIMENSIONS))) return console.log(USAGE)
  const stopping = new AbortController()
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(name, () => stopping.abort(new Error(`ended by ${name}`)))
  }
  using filesystem = makeFilesystem(values.work, FILESYSTEM_BYTES)
  const points: GrowthPoint[] = []
  for (const name of dimensions) {
    const { usual, long, measure } = DIMENSIONS[name]
    const place = `${filesystem.path}/${name}`
    mkdirSync(place)
    const bench = { place, rounds: Number(values.rounds), cold: Number(values.cold), signal: stopping.signal }
    try {
      points.push(...(await measure(bench, [...usual, ...(values.long ? long : [])])))
    } finally {
      unmountBelow(place)
      removeTree(place)
    }
  }
  print(points)
  writeFigures(values.out, { rounds: Number(values.rounds), points })
}

/** Each image in a store of its own. */
async function measureFiles(bench: Bench, counts: readonly number[]): Promise<GrowthPoint[]> {
  const points: GrowthPoint[] = []
  for (const count of counts) {
    await using store = await openStore({ path: `${bench.place}/store-${count}`, driver: 'overlay' })
    const image = writeImage(`${bench.place}/image-${count}`, [filesLayer(count, 'probe')])
    points.push(await pointOf(bench, store, image, 'files', count))
  }
  return points
}

/** All images have the same number of files, on more and more layers. */
async function measureLayers(bench: Bench, counts: readonly number[]): Promise<GrowthPoint[]> {
  const points: GrowthPoint[] = []
  for (const count of counts) {
    await using store = await openStore({ path: `${bench.place}/store-${count}`, driver: 'overlay' })
    const layers = Array.from({ length: count }, (_, i) =>
      filesLayer(PROBE_FILES / count, `layer ${i}`, `layer-${i}`),
    )
    const image = writeImage(`${bench.place}/image-${count}`, layers)
    points.push(await pointOf(bench, store, image, 'layers', count))
  }
  return points
}

/** Other bundles are of another image, and mounted. */
async function measureBundles(bench: Bench, counts: readonly number[]): Promise<GrowthPoint[]> {
  await using store = await openStore({ path: `${bench.place}/store`, driver: 'overlay' })
  const probe = writeImage(`${bench.place}/probe`, [filesLayer(PROBE_FILES, 'probe')])
  const other = writeImage(`${bench.place}/other`, [filesLayer(10, 'other')])
  const points: GrowthPoint[] = []
  let made = 0
  for (const count of counts) {
    for (; made < count; made++)
      await store.create({ image: other, id: `other-${made}`, signal: bench.signal })
    points.push(await pointOf(bench, store, probe, 'bundles', count))
  }
  return points
}

/** Of images that share nothing with the one that is measured. */
async function measureObjects(bench: Bench, counts: readonly number[]): Promise<GrowthPoint[]> {
  await using store = await openStore({ path: `${bench.place}/store`, driver: 'overlay' })
  const probe = writeImage(`${bench.place}/probe`, [filesLayer(PROBE_FILES, 'probe')])
  const points: GrowthPoint[] = []
  let made = 0
  for (const count of counts) {
    while (made < count) {
      const files = Math.min(FILL_FILES, count - made)
      const directory = `${bench.place}/fill-${made}`
      await store.pull({
        image: writeImage(directory, [filesLayer(files, `fill ${made}`)]),
        signal: bench.signal,
      })
      removeTree(directory)
      made += files
    }
    points.push(await pointOf(bench, store, probe, 'objects', count))
  }
  return points
}

/** Cold creates of an image that the store does not have, and is rid of again; then warm ones. */
async function pointOf(
  { rounds, cold, signal }: Bench,
  store: GrootStore,
  image: string,
  dimension: Dimension,
  count: number,
): Promise<GrowthPoint> {
  console.error(`bench: ${dimension}: ${count}`)
  const colds: number[] = []
  for (let i = 0; i < cold; i++) {
    if (i > 0) await store.removeImages({ images: [image] })
    const begun = performance.now()
    await store.create({ image, id: 'cold', signal })
    colds.push(performance.now() - begun)
    await store.delete('cold')
  }
  const times = await timesOf(store, image, rounds, signal)
  await store.removeImages({ images: [image] })
  const rounded = Object.entries({ coldCreate: median(colds), ...times }).map(
    ([name, value]) => [name, Number(value.toFixed(3))] as const,
  )
  return { dimension, count, ...(Object.fromEntries(rounded) as Omit<GrowthPoint, 'dimension' | 'count'>) }
}

/** An OCI layout with one image; its name for create. */
function writeImage(directory: string, layers: readonly LayerBuilder[]): string {
  const tars = layers.map((each) => each.build())
  writeLayout(directory, [{ name: 'image', layers: tars, config: {} }], ['gzip'])
  return `oci:${directory}:image`
}

/** @param about makes the contents differ from those of other layers */
function filesLayer(count: number, about: string, top = 'files'): LayerBuilder {
  const made = layer()
  for (let i = 0; i < count; i++)
    made.file(`${top}/directory-${i % 100}/file-${i}`, `${about} ${i} `.padEnd(FILE_BYTES, '.'))
  return made
}

function print(points: readonly GrowthPoint[]): void {
  const ms = (value: number) => value.toFixed(2)
  console.log(
    markdown(
      ['against', 'count', 'cold create ms', 'warm create p50 ms', 'p99', 'delete p50 ms', 'p99'],
      points.map((point) => [
        point.dimension,
        String(point.count),
        ms(point.coldCreate),
        ms(point.createP50),
        ms(point.createP99),
        ms(point.deleteP50),
        ms(point.deleteP99),
      ]),
    ),
  )
}

try {
  await main()
} catch (error) {
  console.error(`bench: ${error instanceof Error ? error.message : String(error)}`)
  process.exitCode = 1
}
