/**
 * clean beside everything else, in one process: the moments that matter are brought about, not waited for.
 */
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type DiffId, type Digest, sha256 } from '../../../lib/digest.js'
import { type GrootEvent, type GrootStore, openStore } from '../../../lib/index.js'
import { DEFAULT_LIMITS } from '../../../lib/layer/limits.js'
import { cleanStore, removeDamagedRefs } from '../../../lib/operations/clean.js'
import { CleanJob } from '../../../lib/operations/clean-job.js'
import { findLeavings, removeLeavings } from '../../../lib/operations/clean-leavings.js'
import { surveyStore } from '../../../lib/operations/clean-survey.js'
import { ingestMissingLayers } from '../../../lib/operations/layers.js'
import { type OpenedStore, openExisting } from '../../../lib/operations/opened-store.js'
import type { ImageSource, ResolvedImage } from '../../../lib/sources/source.js'
import { Lease } from '../../../lib/store/leases.js'
import { layer } from '../../../lib/testkit/layer.js'
import { treeLines } from '../../../lib/testkit/tree-lines.js'
import { Place } from './testing.js'

let place: Place
let store: GrootStore
let opened: OpenedStore
beforeEach(async () => {
  place = new Place()
  store = await openStore({ path: place.store, driver: 'vfs', thread: 'caller' })
  opened = (await openExisting(place.store, undefined, 'test', () => {})) as OpenedStore
})
afterEach(async () => {
  await opened.workers.close()
  await store.close()
  place.remove()
})

const shared = () => layer().file('shared', Buffer.alloc(3_000_000, 'shared '))
const objects = () =>
  readdirSync(`${place.store}/objects`).flatMap((prefix) => readdirSync(`${place.store}/objects/${prefix}`))
const { signal } = new AbortController()
const locking = { timeoutMs: 10_000, signal }

/** More than a thread is ever fed ahead of what it has read. */
const WINDOW = 5 * 1024 * 1024

/** A layer as a stream that stops where it is told, until something else was done. */
class GatedLayer {
  readonly tar: Uint8Array
  readonly diffId: DiffId
  opened = 0
  readonly #stopAt: number
  readonly #meanwhile: () => Promise<unknown>

  /** @param meanwhile done once, when at least `stopAt` bytes were read; then at least WINDOW bytes have to be left */
  constructor(tar: Uint8Array, stopAt: number, meanwhile: () => Promise<unknown>) {
    this.tar = tar
    this.diffId = sha256(tar) as DiffId
    this.#stopAt = stopAt
    this.#meanwhile = meanwhile
  }

  image(): ResolvedImage {
    const mediaType = 'application/vnd.oci.image.layer.v1.tar'
    const descriptor = { mediaType, digest: this.diffId as Digest, size: this.tar.length }
    return { layers: [{ diffId: this.diffId, descriptor }] } as unknown as ResolvedImage
  }

  source(): ImageSource {
    const chunks = () => this.#chunks()
    return { openBlob: async () => ({ kind: 'stream', chunks: chunks() }) } as unknown as ImageSource
  }

  async *#chunks(): AsyncGenerator<Uint8Array> {
    const isFirst = this.opened++ === 0
    let isDone = !isFirst
    for (let at = 0; at < this.tar.length; at += 256 * 1024) {
      if (!isDone && at > this.#stopAt + WINDOW) {
        await this.#meanwhile()
        isDone = true
      }
      yield this.tar.slice(at, at + 256 * 1024)
    }
    expect(isDone).toBe(true)
  }
}

async function ingest(gated: GatedLayer): Promise<GrootEvent[]> {
  const events: GrootEvent[] = []
  await using lease = new Lease(opened.layout, opened.locks, locking)
  await lease.need({ layers: [gated.diffId] })
  await ingestMissingLayers(opened, gated.image(), {
    lease,
    limits: DEFAULT_LIMITS,
    events: (event) => void events.push(event),
    signal,
    locking,
    source: async () => gated.source(),
  })
  return events
}

describe('an object that an ingest found and clean took away', () => {
  it('is written after all: the layer is read again', async () => {
    await store.create(place.request({ id: 'once', image: place.image([shared()]) }))
    await store.delete('once')
    const tar = shared().file('own', Buffer.alloc(12_000_000, 'own ')).build()
    let found: string[] = []
    const gated = new GatedLayer(tar, 3_100_000, async () => {
      found = objects()
      const report = await cleanStore(opened, {})
      expect([report.objects, objects(), report.skipped]).toEqual([1, [], []])
    })
    const events = await ingest(gated)
    expect([found.length, gated.opened]).toEqual([1, 2])
    expect(events.filter(({ kind }) => kind === 'layer-done')).toMatchObject([{ newObjects: 2 }])
    expect(objects()).toHaveLength(2)
    expect((await store.check()).problems).toEqual([])
    expect(readdirSync(opened.layout.publishing)).toEqual([])
    expect(readdirSync(opened.layout.staging)).toEqual([])
  })

  it('is not read again when clean took others', async () => {
    await store.create(place.request({ id: 'kept', image: place.image([shared()]) }))
    await store.create(
      place.request({ id: 'once', image: place.image([layer().file('other', Buffer.alloc(200_000, 'o'))]) }),
    )
    await store.delete('once')
    const tar = shared().file('own', Buffer.alloc(12_000_000, 'own ')).build()
    const gated = new GatedLayer(tar, 3_100_000, async () => {
      expect((await cleanStore(opened, {})).objects).toBe(1)
    })
    const events = await ingest(gated)
    expect(gated.opened).toBe(1)
    expect(events.filter(({ kind }) => kind === 'layer-done')).toMatchObject([{ newObjects: 1 }])
    expect((await store.check()).problems).toEqual([])
  })

  it('stays when a create wants its layer before clean has the lock', async () => {
    const reference = place.image([shared()])
    await store.create(place.request({ id: 'once', image: reference }))
    await store.delete('once')
    // clean has seen that nobody uses the layer, and waits for the lock; meanwhile somebody says that they need it.
    const gc = await opened.locks.gc(locking)
    const cleaning = cleanStore(opened, {})
    await new Promise((resolve) => setTimeout(resolve, 300))
    await using lease = new Lease(opened.layout, opened.locks, locking)
    const layers = readdirSync(opened.layout.layers).map((name) => name.replace('-', ':'))
    await gc.release()
    await lease.need({ layers })
    const report = await cleaning
    // Either of the two had the lock first; both ways end well.
    const isThere = existsSync(opened.layout.layer(layers[0] as DiffId))
    expect(objects().length).toBe(isThere ? 1 : 0)
    expect(report.skipped).toEqual([])
    await store.create(place.request({ id: 'again', image: reference }))
    expect((await store.check()).problems).toEqual([])
  })
})

it('a lease that is taken while clean looks for dead ones is a living one', async () => {
  await store.create(place.request({ id: 'once', image: place.image([shared()]) }))
  await store.delete('once')
  const layers = readdirSync(opened.layout.layers).map((name) => name.replace('-', ':'))
  const leases: Lease[] = []
  const look = opened.locks.holders.bind(opened.locks)
  // As if another process came just after each look.
  opened.locks.holders = async () => {
    const found = await look()
    const lease = new Lease(opened.layout, opened.locks, locking)
    leases.push(lease)
    await lease.need({ layers })
    return found
  }
  const report = await cleanStore(opened, {})
  for (const lease of leases) await lease[Symbol.asyncDispose]()
  expect(report.removed.map(({ what }) => what)).not.toContain('layer')
  expect(readdirSync(opened.layout.layers).map((name) => name.replace('-', ':'))).toEqual(layers)
})

describe('many at once', () => {
  it('creates, deletes and cleans in any order leave whole bundles and whole layers', async () => {
    // Images that share most of their contents, so that what one no longer needs the next one wants.
    const pool = Array.from({ length: 12 }, (_, i) => Buffer.alloc(3000 + i, `content ${i} `))
    const images = Array.from({ length: 6 }, (_, i) => {
      const layers = [layer(), layer()]
      for (let j = 0; j < 8; j++) layers[j % 2]?.file(`f${j}`, pool[(i * 3 + j) % 12])
      return place.image(layers)
    })
    const models = new Map<string, string[]>()
    for (const [i, image] of images.entries()) {
      const { rootfs } = await store.create(place.request({ id: `model${i}`, image }))
      models.set(image, treeLines(rootfs))
    }
    for (let i = 0; i < images.length; i++) await store.delete(`model${i}`)
    let [creates, cleaned] = [0, 0]
    const until = Date.now() + 60_000
    const isEnough = () => Date.now() > until || (creates >= 24 && cleaned >= 24)
    const creator = async (name: string) => {
      for (let round = 0; !isEnough(); round++) {
        const image = images[(round * 5 + name.charCodeAt(0)) % images.length] as string
        const { rootfs } = await store.create(place.request({ id: `${name}${round % 3}`, image }))
        expect(treeLines(rootfs)).toEqual(models.get(image))
        await store.delete(`${name}${round % 3}`)
        creates++
      }
    }
    const cleaner = async () => {
      while (!isEnough()) {
        const report = await store.clean({ maxDurationMs: 1000 * Math.random() })
        expect(report.skipped).toEqual([])
        cleaned += report.objects
        // A clean of little may end without having waited for anything.
        await new Promise((resolve) => setTimeout(resolve, 5))
      }
    }
    await Promise.all([creator('a'), creator('b'), creator('c'), cleaner(), cleaner()])
    expect(Date.now()).toBeLessThan(until)
    await store.create(place.request({ id: 'last', image: images[0] as string }))
    expect((await store.check()).problems).toEqual([])
    await store.delete('last')
    await store.clean()
    expect([objects(), await store.locks()]).toEqual([[], []])
  }, 120_000)

  it('cleans that found the same leavings count each once', async () => {
    const { layout } = opened
    const id = 'c3c8a3a5-6f0c-4c5e-9d43-0d3c2a1b7f10'
    mkdirSync(`${layout.staging}/${id}`)
    writeFileSync(`${layout.staging}/${id}/half`, 'half')
    mkdirSync(`${layout.bundles}/orphan/rootfs`, { recursive: true })
    writeFileSync(`${layout.trash}/layer-0011223344556677`, 'gone')
    writeFileSync(`${layout.records}/.tmp-half.json-001122334455`, '{')
    const jobs = [new CleanJob(opened, {}), new CleanJob(opened, {})]
    const found = await Promise.all(jobs.map(findLeavings))
    expect(found.map(({ length }) => length)).toEqual([4, 4])
    for (const [i, job] of jobs.entries()) await removeLeavings(job, found[i]!)
    const reports = jobs.map((job) => job.report({} as never))
    expect(reports.map(({ removed }) => removed.length)).toEqual([4, 0])
    expect(reports.map(({ skipped }) => skipped)).toEqual([[], []])
  })

  it('cleans that found the same name leading nowhere count it once', async () => {
    writeFileSync(`${opened.layout.refs}/${'0'.repeat(64)}.json`, '{')
    const jobs = [new CleanJob(opened, {}), new CleanJob(opened, {})]
    const surveys = await Promise.all(jobs.map(surveyStore))
    expect(surveys.map(({ cache }) => cache.damagedRefs.length)).toEqual([1, 1])
    for (const [i, job] of jobs.entries()) await removeDamagedRefs(job, surveys[i]!)
    const reports = jobs.map((job) => job.report({} as never))
    expect(reports.map(({ removed }) => removed.length)).toEqual([1, 0])
    expect(reports.map(({ skipped }) => skipped)).toEqual([[], []])
    expect(readdirSync(opened.layout.refs)).toEqual([])
  })

  it('cleans share the work, and count each thing once', async () => {
    for (let i = 0; i < 20; i++) {
      const image = place.image([layer().file('f', Buffer.alloc(5000, `content ${i} `))])
      await store.create(place.request({ id: 'once', image }))
      await store.delete('once')
    }
    const reports = await Promise.all([store.clean(), store.clean(), cleanStore(opened, {})])
    expect(reports.map(({ skipped }) => skipped)).toEqual([[], [], []])
    expect(reports.reduce((sum, report) => sum + report.objects, 0)).toBe(20)
    // What one has moved to the trash, another may find there.
    const removed = reports.flatMap((report) => report.removed.filter(({ what }) => what !== 'trash'))
    const names = removed.map(({ what, name }) => `${what} ${name}`).sort()
    expect(names).toEqual([...new Set(names)])
    expect(readdirSync(opened.layout.trash)).toEqual([])
    expect(readdirSync(opened.layout.layers)).toEqual([])
  })
})
