/**
 * What creates and deletes of an image that the store has take by library, in a process that does nothing else. Run as
 * `node library.js times|at-once|memory STORE IMAGE COUNT`; prints one line of JSON. For memory run it with --expose-gc, as root.
 */
import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { setTimeout } from 'node:timers/promises'
import { type GrootStore, openStore } from '../lib/index.js'
import { timesOf, timesOfMany } from './library-times.js'

const DROPS = 4
const DROP_EVERY_MS = 250

export interface LibraryAtOnce {
  readonly createsPerSecond: number
}

/** Bytes for each bundle. */
export interface LibraryMemory {
  readonly process: number
  readonly kernel: number
}

async function atOnce(store: GrootStore, image: string, count: number): Promise<LibraryAtOnce> {
  await timesOf(store, image, 0)
  const ids = Array.from({ length: count }, (_, i) => `b${i}`)
  const begun = performance.now()
  await Promise.all(ids.map((id) => store.create({ image, id, pull: 'never' })))
  const createsPerSecond = (count * 1000) / (performance.now() - begun)
  for (const id of ids) await store.delete(id)
  return { createsPerSecond }
}

async function memory(store: GrootStore, image: string, count: number): Promise<LibraryMemory> {
  await timesOf(store, image, 0)
  const before = await memoryNow()
  for (let i = 0; i < count; i++) await store.create({ image, id: `b${i}`, pull: 'never' })
  const after = await memoryNow()
  for (let i = 0; i < count; i++) await store.delete(`b${i}`)
  return { process: (after.process - before.process) / count, kernel: (after.kernel - before.kernel) / count }
}

/** What is held: what can be dropped is dropped before, more than once, as the kernel takes its time to give memory back. */
async function memoryNow(): Promise<LibraryMemory> {
  globalThis.gc?.()
  execFileSync('sync')
  for (let i = 0; i < DROPS; i++) {
    writeFileSync('/proc/sys/vm/drop_caches', '3')
    await setTimeout(DROP_EVERY_MS)
  }
  const meminfo = readFileSync('/proc/meminfo', 'utf8')
  const kib = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(meminfo)?.[1] ?? 0)
  const kernel = ['Slab', 'Percpu', 'VmallocUsed', 'KernelStack', 'PageTables'].reduce(
    (sum, name) => sum + kib(name),
    0,
  )
  return { process: process.memoryUsage.rss(), kernel: kernel * 1024 }
}

const WORK = { times: timesOfMany, 'at-once': atOnce, memory } as const

async function main(): Promise<void> {
  const [work, path, image, count] = process.argv.slice(2)
  if (image === undefined || !(work! in WORK))
    throw new Error('usage: library.js times|at-once|memory STORE IMAGE COUNT')
  await using store = await openStore({ path: path! })
  console.log(JSON.stringify(await WORK[work as keyof typeof WORK](store, image, Number(count))))
}

await main()
