/**
 * How many bundles can be made in a second, one after another and many at once, and what of that the locks and leases take.
 * Run as `node dist/bench/creates.js --help`.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { cpus, release, tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { type GrootStore, openStore } from '../lib/index.js'
import { LockManager } from '../lib/locks/locks.js'
import { storeLayout } from '../lib/store/layout.js'
import { Lease } from '../lib/store/leases.js'
import { layer } from '../lib/testkit/layer.js'
import { writeLayout } from '../test/images/layout.js'
import { markdown } from './table.js'

const USAGE = `usage: node dist/bench/creates.js [options]

  --count N    bundles for each figure (default: 50)
  --files N    files in the image, 4 KiB each (default: 200)
  --work DIR   where the stores go (default: ${tmpdir()})

Needs root for the overlay driver.`

interface Figures {
  readonly driver: string
  readonly inSequence: number
  readonly atOnce: number
  readonly unsynced: number
  readonly locksMs: number
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      count: { type: 'string', default: '50' },
      files: { type: 'string', default: '200' },
      work: { type: 'string', default: tmpdir() },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) return console.log(USAGE)
  const directory = mkdtempSync(join(values.work, 'groot-creates-'))
  try {
    const image = writeImage(directory, Number(values.files))
    const drivers = process.geteuid?.() === 0 ? ['overlay', 'vfs'] : ['vfs']
    const figures: Figures[] = []
    for (const driver of drivers)
      figures.push(await measureDriver(directory, driver, image, Number(values.count)))
    print(figures, Number(values.count))
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

function writeImage(directory: string, files: number): string {
  const made = layer().file('etc/passwd', 'root:x:0:0::/root:/bin/sh\n')
  for (let i = 0; i < files; i++) made.file(`d${i % 10}/f${i}`, Buffer.alloc(4096, `content ${i} `))
  writeLayout(`${directory}/image`, [{ name: 'image', layers: [made.build()], config: {} }], ['gzip'])
  return `oci:${directory}/image:image`
}

async function measureDriver(
  directory: string,
  driver: string,
  image: string,
  count: number,
): Promise<Figures> {
  const path = `${directory}/${driver}`
  await using store = await openStore({ path, driver })
  // The image is there and all is loaded: what is measured is making bundles.
  await createAll(store, image, 2, 'warm', true)
  const inSequence = await createAll(store, image, count, 'one', false)
  const atOnce = await createAll(store, image, count, 'many', true)
  const unsynced = await createAll(store, image, count, 'loose', false, true)
  return { driver, inSequence, atOnce, unsynced, locksMs: await lockCost(path, count) }
}

/** @returns creates per second */
async function createAll(
  store: GrootStore,
  image: string,
  count: number,
  name: string,
  atOnce: boolean,
  noSync = false,
): Promise<number> {
  const ids = Array.from({ length: count }, (_, i) => `${name}${i}`)
  const create = (id: string) =>
    store.create({ image, id, noSync, ignoreOwnership: process.geteuid?.() !== 0 })
  const begin = performance.now()
  if (atOnce) await Promise.all(ids.map(create))
  else for (const id of ids) await create(id)
  const perSecond = (count * 1000) / (performance.now() - begin)
  for (const id of ids) await store.delete(id)
  return perSecond
}

/** What a warm create takes for its lease, what it says that it needs, and the bundle's lock; nothing else. */
async function lockCost(path: string, count: number): Promise<number> {
  const layout = storeLayout(path)
  const locks = new LockManager(layout.locks, { command: 'bench' })
  const request = { timeoutMs: 60_000 }
  const begin = performance.now()
  for (let i = 0; i < count; i++) {
    await using lease = new Lease(layout, locks, request)
    await lease.need({ bundle: `b${i}` })
    await using _bundle = await locks.bundle(`b${i}`, request)
  }
  return (performance.now() - begin) / count
}

function print(figures: readonly Figures[], count: number): void {
  console.log(`${cpus()[0]?.model ?? ''}, Linux ${release()}, Node ${process.version}`)
  console.log(
    markdown(
      [
        'driver',
        `${count} in sequence`,
        `${count} at once`,
        'in sequence, --no-sync',
        'locks and lease of one create',
      ],
      figures.map(({ driver, inSequence, atOnce, unsynced, locksMs }) => [
        driver,
        `${inSequence.toFixed(1)} /s`,
        `${atOnce.toFixed(1)} /s`,
        `${unsynced.toFixed(1)} /s`,
        `${locksMs.toFixed(2)} ms`,
      ]),
    ),
  )
}

await main()
