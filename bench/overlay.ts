/**
 * What the overlay driver promises, measured on a fresh journaled ext4 with direct I/O: what near-copies of an image take on
 * disk, and how often a file that many root filesystems share is read from it. What creates and deletes take, and whether
 * that grows, is in growth.ts. Run as `node dist/bench/overlay.js --help`.
 */
import { execFileSync } from 'node:child_process'
import { closeSync, openSync, readSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { openStore } from '../lib/index.js'
import { type LayerBuilder, layer } from '../lib/testkit/layer.js'
import { writeLayout } from '../test/images/layout.js'
import { deviceBytes } from './device.js'
import { writeFigures } from './figures.js'
import { diskUse, makeFilesystem } from './filesystem.js'
import { imageNames } from './images.js'

const USAGE = `usage: node dist/bench/overlay.js [--images DIR] [options]

  --images DIR   an OCI layout; those of its images that are called copies-NN are near-copies of each other
  --work DIR     where the filesystem of the benchmark goes, 16 GB (default: ${tmpdir()})
  --out FILE     where the figures go

Needs root, and: e2fsprogs mount`

const FILESYSTEM_BYTES = 16 * 1024 ** 3

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      images: { type: 'string' },
      work: { type: 'string', default: tmpdir() },
      out: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) return console.log(USAGE)
  using filesystem = makeFilesystem(values.work, FILESYSTEM_BYTES)
  const place = filesystem.path
  const copies = values.images === undefined ? null : await measureCopies(place, resolve(values.images))
  const cache = await measurePageCache(place)
  print(copies, cache)
  writeFigures(values.out, { copies, cache })
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
  /** Bytes that the disk read for the first bundle, and for all others together (deviceBytes). */
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
  const start = bytesRead(place)
  readAll(paths[0]!)
  const first = bytesRead(place)
  for (const path of paths.slice(1)) readAll(path)
  const end = bytesRead(place)
  for (let i = 0; i < bundles; i++) await store.delete(`cache-${i}`)
  return { bundles, fileBytes, firstReadBytes: first - start, otherReadBytes: end - first }
}

function bytesRead(place: string): number {
  return deviceBytes(place)!.read
}

function readAll(path: string): void {
  const buffer = Buffer.alloc(1024 ** 2)
  const fd = openSync(path, 'r')
  while (readSync(fd, buffer) > 0);
  closeSync(fd)
}

/** An OCI layout with one image; its name for create. */
function writeLayers(directory: string, layers: readonly LayerBuilder[]): string {
  const tars = layers.map((each) => each.build())
  writeLayout(directory, [{ name: 'image', layers: tars, config: {} }], ['gzip'])
  return `oci:${directory}:image`
}

function print(copies: Copies | null, cache: PageCache): void {
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
