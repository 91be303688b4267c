/**
 * clean on a large store: how much memory it takes, how long it runs, and how long others wait because of it. Run as
 * `node dist/bench/clean.js [--work DIR] [--layers N] [--objects N]` after `npm run build && npx tsc -p bench`; needs the
 * package "time".
 *
 * The store is made of records alone: every layer names its share of the objects and some that all name, every other layer is
 * needed by a bundle. Beside the clean another process does what each create does first: it takes a lease and says what it
 * needs, every few milliseconds, once without and once with the clean.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { closeSync, mkdirSync, mkdtempSync, openSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import type { DiffId, VerityDigest } from '../lib/digest.js'
import { initStore } from '../lib/index.js'
import { RecordWriter } from '../lib/layer/record.js'
import { removeTree } from '../lib/linux/remove-tree.js'
import { LockManager } from '../lib/locks/locks.js'
import { baseIdOf } from '../lib/store/base-id.js'
import { type StoreLayout, storeLayout } from '../lib/store/layout.js'
import { Lease } from '../lib/store/leases.js'
import { measure } from './measure.js'
import { markdown } from './table.js'

const MAIN = join(dirname(fileURLToPath(import.meta.url)), '../cli/main.cjs')
const SHARED = 100 // objects that every layer names
const TAKE_EVERY_MS = 3
const QUIET_MS = 3000

interface Waits {
  readonly count: number
  readonly medianMs: number
  /** Of a hundred, 99 are below. */
  readonly p99Ms: number
  readonly longestMs: number
}

async function main(work: string, layers: number, objects: number): Promise<void> {
  const directory = mkdtempSync(join(work, 'groot-bench-clean-'))
  try {
    const layout = storeLayout(`${directory}/store`)
    console.error(`bench: making ${layers} layers and ${objects} objects`)
    await makeStore(layout, layers, objects)
    const { signal } = new AbortController()
    const quiet = await waitsDuring(layout, () => setTimeout(QUIET_MS))
    const argv = [process.execPath, MAIN, '--store', layout.root, 'clean', '--json'] as const
    const { result: sample, waits } = await beside(layout, () => measure({ argv }, directory, signal))
    const { result: again } = await beside(layout, () => measure({ argv }, directory, signal))
    const lines = [
      ['leases without a clean', '', '', ...columns(quiet)],
      [
        'clean of every other layer',
        sample.wallSeconds.toFixed(1),
        megabytes(sample.peakBytes),
        ...columns(waits),
      ],
      ['clean of nothing', again.wallSeconds.toFixed(1), megabytes(again.peakBytes), '', '', '', ''],
    ]
    console.log(
      `${layers} layers, ${objects} objects\n\n${markdown(
        ['step', 'wall s', 'peak MB', 'lease, median ms', 'lease, 99 % ms', 'lease, longest ms', 'leases'],
        lines,
      )}`,
    )
  } finally {
    removeTree(directory)
  }
}

async function makeStore(layout: StoreLayout, layers: number, objects: number): Promise<void> {
  await initStore({ path: layout.root, driver: 'vfs' })
  const shared = Array.from({ length: SHARED }, (_, i) => writeObject(layout, i))
  const each = Math.floor((objects - SHARED) / layers)
  for (let i = 0; i < layers; i++) {
    const own = Array.from({ length: each }, (_, j) => writeObject(layout, SHARED + i * each + j))
    const diffId = `sha256:${digestOf(`layer ${i}`)}` as DiffId
    const fd = openSync(layout.layer(diffId), 'wx', 0o600)
    const record = new RecordWriter(fd)
    for (const digest of [...shared, ...own]) {
      record.raw(Buffer.alloc(512, digest))
      record.content({ kind: 'object', digest })
    }
    record.end()
    closeSync(fd)
    if (i % 2 === 0) writeBundle(layout, `b${i}`, diffId)
  }
}

const made = new Set<string>()

function writeObject(layout: StoreLayout, number: number): VerityDigest {
  const digest = digestOf(`object ${number}`)
  const directory = `${layout.objects}/${digest.slice(0, 2)}`
  if (!made.has(directory)) mkdirSync(directory, { recursive: true })
  made.add(directory)
  writeFileSync(`${directory}/${digest.slice(2)}`, 'some content', { mode: 0o444 })
  return digest
}

function writeBundle(layout: StoreLayout, id: string, diffId: DiffId): void {
  mkdirSync(`${layout.bundles}/${id}`)
  const image = { reference: 'x', digest: diffId, config: diffId }
  const record = { format: 1, id, image, layers: [diffId], base: baseIdOf([diffId]), driver: 'vfs' }
  writeFileSync(`${layout.records}/${id}.json`, JSON.stringify(record))
}

function digestOf(text: string): VerityDigest {
  return createHash('sha256').update(text).digest('hex') as VerityDigest
}

async function waitsDuring(layout: StoreLayout, work: () => Promise<unknown>): Promise<Waits> {
  return (await beside(layout, work)).waits
}

/** Works while another process takes leases. */
async function beside<T>(layout: StoreLayout, work: () => Promise<T>): Promise<{ result: T; waits: Waits }> {
  const child = spawn(process.execPath, [fileURLToPath(import.meta.url), '--take-leases', layout.root], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  let said = ''
  child.stdout.on('data', (bytes: Buffer) => {
    said += bytes.toString()
  })
  try {
    while (!said.includes('ready')) await setTimeout(10)
    const result = await work()
    child.stdin.end()
    await ended(child)
    return { result, waits: JSON.parse(said.slice(said.indexOf('{'))) as Waits }
  } finally {
    child.kill('SIGKILL')
  }
}

function ended(child: ChildProcess): Promise<void> {
  return new Promise((resolve) => child.on('close', () => resolve()))
}

/** Takes leases until standard input ends; prints how long each had to wait for its word. */
async function takeLeases(path: string): Promise<void> {
  const layout = storeLayout(path)
  const locks = new LockManager(layout.locks, { command: 'bench' })
  let isOver = false
  process.stdin.on('end', () => {
    isOver = true
  })
  process.stdin.resume()
  const times: number[] = []
  const request = { timeoutMs: 60_000 }
  for (let i = 0; !isOver; i++) {
    await using lease = new Lease(layout, locks, request)
    const begun = performance.now()
    await lease.need({ layers: [`sha256:${digestOf(`new ${i}`)}`] })
    // The first ones load and compile code.
    if (i === 20) console.log('ready')
    if (i > 20) times.push(performance.now() - begun)
    await setTimeout(TAKE_EVERY_MS)
  }
  times.sort((a, b) => a - b)
  const waits: Waits = {
    count: times.length,
    medianMs: times[times.length >> 1] ?? 0,
    p99Ms: times[Math.floor(times.length * 0.99)] ?? 0,
    longestMs: times.at(-1) ?? 0,
  }
  console.log(JSON.stringify(waits))
}

function columns({ medianMs, p99Ms, longestMs, count }: Waits): string[] {
  return [...[medianMs, p99Ms, longestMs].map((value) => value.toFixed(2)), String(count)]
}

function megabytes(bytes: number): string {
  return (bytes / 1e6).toFixed(0)
}

const { values } = parseArgs({
  options: {
    work: { type: 'string', default: tmpdir() },
    layers: { type: 'string', default: '1000' },
    objects: { type: 'string', default: '500000' },
    'take-leases': { type: 'string' },
  },
})
if (values['take-leases'] === undefined)
  await main(values.work, Number(values.layers), Number(values.objects))
else await takeLeases(values['take-leases'])
