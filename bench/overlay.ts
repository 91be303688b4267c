/**
 * What the overlay driver promises, measured on a fresh journaled ext4 with direct I/O: what a warm create and a delete take by
 * library, whether that grows with layers, files or bundles, what near-copies of an image take on disk, and how often a
 * file that many root filesystems share is read from it. Run as `node dist/bench/overlay.js --help`.
 */
import { execFileSync } from 'node:child_process'
import { closeSync, mkdirSync, openSync, readFileSync, readSync, statSync, writeFileSync } from 'node:fs'
import { cpus, release, tmpdir } from 'node:os'
import { dirname, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { type GrootStore, openStore } from '../lib/index.js'
import { type LayerBuilder, layer } from '../lib/testkit/layer.js'
import { writeLayout } from '../test/images/layout.js'
import { makeFilesystem } from './filesystem.js'
import { imageNames } from './images.js'
import { markdown } from './table.js'

const USAGE = `usage: node dist/bench/overlay.js [--images DIR] [options]

  --images DIR   an OCI layout; those of its images that are called copies-NN are near-copies of each other
  --rounds N     creates and deletes for each figure (default: 200)
  --bundles N    how many bundles are there at once in the end (default: 1000)
  --work DIR     where the filesystem of the benchmark goes, 16 GB (default: ${tmpdir()})
  --out FILE     where the figures go

Needs root, and: e2fsprogs mount`

const FILESYSTEM_BYTES = 16 * 1024 ** 3

interface Latency {
  readonly what: string
  readonly createP50: number
  readonly createP99: number
  readonly deleteP50: number
  readonly deleteP99: number
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      images: { type: 'string' },
      rounds: { type: 'string', default: '200' },
      bundles: { type: 'string', default: '1000' },
      work: { type: 'string', default: tmpdir() },
      out: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) return console.log(USAGE)
  using filesystem = makeFilesystem(values.work, FILESYSTEM_BYTES)
  const place = filesystem.path
  const rounds = Number(values.rounds)
  const latencies = await measureLatencies(place, rounds, Number(values.bundles))
  const copies = values.images === undefined ? null : await measureCopies(place, resolve(values.images))
  const cache = await measurePageCache(place)
  print(latencies, copies, cache)
  if (values.out === undefined) return
  mkdirSync(dirname(values.out), { recursive: true })
  const machine = { cpu: cpus()[0]?.model ?? '', kernel: release(), node: process.version }
  const document = { date: new Date().toISOString().slice(0, 10), machine, rounds, latencies, copies, cache }
  writeFileSync(values.out, `${JSON.stringify(document, null, 2)}\n`)
}

/** One image grows in layers, another in files, and then bundles are added to the store. */
async function measureLatencies(place: string, rounds: number, bundles: number): Promise<Latency[]> {
  const found: Latency[] = []
  await using store = await openStore({ path: `${place}/latency`, driver: 'overlay' })
  const images = {
    '1 layer, 10 files': writeLayers(`${place}/one`, [filesLayer(10)]),
    '1 layer, 10,000 files': writeLayers(`${place}/files`, [filesLayer(10_000)]),
    '500 layers': writeLayers(
      `${place}/layers`,
      Array.from({ length: 500 }, (_, i) => layer().file(`file-${i}`, `content ${i}`)),
    ),
  }
  for (const [what, image] of Object.entries(images)) {
    await store.create({ image, id: 'first' })
    found.push(await latencyOf(store, what, image, rounds))
    await store.delete('first')
  }
  const image = images['1 layer, 10 files']
  for (let count = 0; count <= bundles; ) {
    found.push(await latencyOf(store, `${count} other bundles`, image, rounds))
    const next = count === 0 ? 100 : count < bundles ? bundles : bundles + 1
    for (; count < next && count < bundles; count++) await store.create({ image, id: `stays-${count}` })
    if (next > bundles) break
  }
  for (const { id } of await store.list()) await store.delete(id)
  return found
}

async function latencyOf(store: GrootStore, what: string, image: string, rounds: number): Promise<Latency> {
  const creates: number[] = []
  const deletes: number[] = []
  for (let i = 0; i < rounds; i++) {
    creates.push(await timed(() => store.create({ image, id: 'timed' })))
    deletes.push(await timed(() => store.delete('timed')))
  }
  const at = (values: number[], part: number) =>
    Number([...values].sort((a, b) => a - b)[Math.floor(values.length * part)]!.toFixed(2))
  return {
    what,
    createP50: at(creates, 0.5),
    createP99: at(creates, 0.99),
    deleteP50: at(deletes, 0.5),
    deleteP99: at(deletes, 0.99),
  }
}

interface Copies {
  readonly images: number
  /** As plain copies: what the same bundles of the vfs driver take. */
  readonly plainBytes: number
  readonly objectBytes: number
  readonly imageBytes: number
  readonly ratio: number
}

async function measureCopies(place: string, layout: string): Promise<Copies | null> {
  const names = imageNames(layout).filter((name) => /^copies-\d+$/.test(name))
  if (names.length === 0) return null
  await using store = await openStore({ path: `${place}/copies`, driver: 'overlay' })
  await using plain = await openStore({ path: `${place}/plain`, driver: 'vfs' })
  let plainBytes = 0
  for (const name of names) {
    await store.create({ image: `oci:${layout}:${name}`, id: name })
    const { rootfs } = await plain.create({ image: `oci:${layout}:${name}`, id: name })
    plainBytes += diskUse(rootfs)
    await plain.delete(name)
  }
  const objectBytes = diskUse(`${store.path}/objects`)
  const imageBytes = diskUse(`${store.path}/drivers/overlay/bases`)
  for (const name of names) await store.delete(name)
  const ratio = (objectBytes + imageBytes) / plainBytes
  return { images: names.length, plainBytes, objectBytes, imageBytes, ratio: Number(ratio.toFixed(4)) }
}

interface PageCache {
  readonly bundles: number
  readonly fileBytes: number
  /** Bytes that the disk read for the first bundle, and for all others together (the sectors of /sys/dev/block/…/stat). */
  readonly firstReadBytes: number
  readonly otherReadBytes: number
}

async function measurePageCache(place: string): Promise<PageCache> {
  const fileBytes = 64 * 1024 ** 2
  const bundles = 20
  await using store = await openStore({ path: `${place}/cache`, driver: 'overlay' })
  const image = writeLayers(`${place}/big`, [layer().file('big', Buffer.alloc(fileBytes, 'page cache '))])
  const paths: string[] = []
  for (let i = 0; i < bundles; i++) {
    paths.push(`${(await store.create({ image, id: `cache-${i}` })).rootfs}/big`)
  }
  execFileSync('sync')
  writeFileSync('/proc/sys/vm/drop_caches', '3')
  const start = sectorsRead(place)
  readAll(paths[0]!)
  const first = sectorsRead(place)
  for (const path of paths.slice(1)) readAll(path)
  const end = sectorsRead(place)
  for (let i = 0; i < bundles; i++) await store.delete(`cache-${i}`)
  return { bundles, fileBytes, firstReadBytes: (first - start) * 512, otherReadBytes: (end - first) * 512 }
}

/** Third field: sectors of 512 bytes that were read (Documentation/admin-guide/iostats.rst). */
function sectorsRead(place: string): number {
  const { dev } = statSync(place)
  const number = `${(dev >> 8) & 0xfff}:${(dev & 0xff) | ((dev >> 12) & 0xfff00)}`
  return Number(readFileSync(`/sys/dev/block/${number}/stat`, 'utf8').trim().split(/\s+/)[2])
}

function readAll(path: string): void {
  const buffer = Buffer.alloc(1024 ** 2)
  const fd = openSync(path, 'r')
  while (readSync(fd, buffer) > 0);
  closeSync(fd)
}

function diskUse(path: string): number {
  return Number(execFileSync('du', ['-sx', '--block-size=1', path], { encoding: 'utf8' }).split('\t')[0])
}

/** An OCI layout with one image; its name for create. */
function writeLayers(directory: string, layers: readonly LayerBuilder[]): string {
  const tars = layers.map((each) => each.build())
  writeLayout(directory, [{ name: 'image', layers: tars, config: {} }], ['gzip'])
  return `oci:${directory}:image`
}

function filesLayer(count: number): LayerBuilder {
  const made = layer()
  for (let i = 0; i < count; i++) made.file(`directory-${i % 100}/file-${i}`, `content ${i}`)
  return made
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const begun = performance.now()
  await work()
  return performance.now() - begun
}

function print(latencies: readonly Latency[], copies: Copies | null, cache: PageCache): void {
  const ms = (value: number) => value.toFixed(2)
  console.log('\nWarm create and delete by library, ms\n')
  console.log(
    markdown(
      ['', 'create p50', 'p99', 'delete p50', 'p99'],
      latencies.map((row) => [
        row.what,
        ms(row.createP50),
        ms(row.createP99),
        ms(row.deleteP50),
        ms(row.deleteP99),
      ]),
    ),
  )
  const mib = (bytes: number) => `${(bytes / 1024 ** 2).toFixed(1)} MiB`
  if (copies !== null) {
    const stored = mib(copies.objectBytes + copies.imageBytes)
    console.log(
      `\n${copies.images} near-copies: ${stored} stored for ${mib(copies.plainBytes)}, ${(copies.ratio * 100).toFixed(1)} %`,
    )
  }
  console.log(
    `\nA file of ${mib(cache.fileBytes)} in ${cache.bundles} root filesystems: the first read took ${mib(cache.firstReadBytes)} from disk, all others ${mib(cache.otherReadBytes)}`,
  )
}

await main()
