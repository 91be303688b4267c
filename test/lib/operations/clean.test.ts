import { execFileSync } from 'node:child_process'
import {
  chmodSync,
  closeSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  symlinkSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { verityDigest } from '../../../lib/composefs/verity.js'
import type { Driver } from '../../../lib/driver/contract.js'
import { type CleanReport, type GrootEvent, type GrootStore, openStore } from '../../../lib/index.js'
import { claimPath } from '../../../lib/linux/claim.js'
import { LockManager } from '../../../lib/locks/locks.js'
import { cleanStore } from '../../../lib/operations/clean.js'
import { type OpenedStore, openExisting } from '../../../lib/operations/opened-store.js'
import type { BaseId } from '../../../lib/store/base-id.js'
import type { BundleId } from '../../../lib/store/bundle-id.js'
import { type StoreLayout, storeLayout } from '../../../lib/store/layout.js'
import { layer } from '../../../lib/testkit/layer.js'
import { EMPTY, Place } from './testing.js'

let place: Place
let store: GrootStore
let layout: StoreLayout
beforeEach(async () => {
  place = new Place()
  store = await openStore({ path: place.store, driver: 'vfs', thread: 'caller' })
  layout = storeLayout(place.store)
})
afterEach(async () => {
  await store.close()
  place.remove()
  owners.clear()
})

/** A layer with a content of its own of so many bytes. */
const layerOf = (name: string, bytes = 100_000) => layer().file(name, Buffer.alloc(bytes, `${name} `))
const image = (name: string, bytes?: number) => place.image([layerOf(name, bytes)])
const create = (id: string, from: string) => store.create(place.request({ id, image: from }))
const kinds = ({ removed }: CleanReport) => removed.map(({ what }) => what).sort()
const held = async () => (await store.locks()).map(({ lock }) => lock)

/** When the cache says that an image was used, its base and its layers too. */
function setLastUse(reference: string, msAgo: number): void {
  const time = new Date(Date.now() - msAgo)
  for (const directory of [layout.refs, layout.images, layout.bases, layout.layers]) {
    for (const name of readdirSync(directory)) {
      const path = `${directory}/${name}`
      if (name !== 'refs' && isOf(path, reference)) utimesSync(path, time, time)
    }
  }
}
const owners = new Map<string, string>()
const isOf = (path: string, reference: string) => owners.get(path) === reference

/** Makes and deletes a bundle, and remembers which files came with it. */
async function cache(reference: string): Promise<void> {
  await create('once', reference)
  await store.delete('once')
  for (const directory of [layout.refs, layout.images, layout.bases, layout.layers]) {
    for (const name of readdirSync(directory)) {
      const path = `${directory}/${name}`
      if (!owners.has(path)) owners.set(path, reference)
    }
  }
}
const imagesLeft = () =>
  readdirSync(layout.refs).map((name) => JSON.parse(readFileSync(`${layout.refs}/${name}`, 'utf8')).reference)
const objects = () =>
  readdirSync(layout.objects).flatMap((prefix) => readdirSync(`${layout.objects}/${prefix}`))

/** Everything in a directory: names, kinds, sizes, times and contents. */
function listing(directory: string): string[] {
  const found = execFileSync('find', [directory, '-printf', '%P %y %s %T@ %C@ %i\n'], { encoding: 'utf8' })
  return found.split('\n').sort()
}

describe('clean', () => {
  it('leaves all that bundles need, and finds nothing in an empty store', async () => {
    const nothing = await store.clean()
    expect(nothing).toMatchObject({ freedBytes: 0, objects: 0, removed: [], skipped: [], complete: true })
    await create('b1', image('a'))
    expect(await store.clean()).toMatchObject({ freedBytes: 0, objects: 0, removed: [], skipped: [] })
    expect((await store.check()).problems).toEqual([])
  })

  it('removes image, base, layers and objects when the last bundle is gone', async () => {
    const shared = layerOf('shared')
    const one = place.image([shared, layerOf('one')])
    const two = place.image([shared, layerOf('two')])
    await create('b1', one)
    await create('b2', two)
    await store.delete('b1')
    const report = await store.clean()
    expect(kinds(report)).toEqual(['base', 'image', 'layer'])
    expect(report).toMatchObject({
      objects: 1,
      skipped: [],
      dryRun: false,
      belowThreshold: false,
      complete: true,
    })
    expect(report.freedBytes).toBeGreaterThan(100_000)
    expect(report.bytes).toBeGreaterThan(300_000)
    expect([objects().length, imagesLeft()]).toEqual([2, [two]])
    expect((await store.check()).problems).toEqual([])
    await store.delete('b2')
    await store.clean()
    expect([
      objects(),
      readdirSync(layout.layers),
      readdirSync(layout.bases),
      readdirSync(layout.images),
    ]).toEqual([[], [], [], ['refs']])
    expect(place.contents()).toEqual(EMPTY)
  })

  it('creates again what it removed', async () => {
    const reference = image('a')
    await create('b1', reference)
    await store.delete('b1')
    await store.clean()
    const { rootfs } = await create('b1', reference)
    expect(readFileSync(`${rootfs}/a`)).toEqual(Buffer.alloc(100_000, 'a '))
    expect((await store.check()).problems).toEqual([])
  })

  it('keeps an image that only another one shares documents with', async () => {
    const name = image('a')
    await create('b1', name)
    // The same image by another way.
    renameSync(name.slice('oci:'.length), `${place.directory}/moved`)
    await create('b2', `oci:${place.directory}/moved`)
    await store.delete('b1')
    expect(await store.clean()).toMatchObject({ removed: [], objects: 0 })
    expect(imagesLeft().length).toBe(2)
  })

  it('tells of its progress', async () => {
    await cache(image('a'))
    const events: GrootEvent[] = []
    await store.clean({ onEvent: (event) => void events.push(event) })
    expect(events.filter(({ kind }) => kind === 'clean-removed')).toHaveLength(3)
    expect(events).toContainEqual({ kind: 'clean-progress', removed: 1, of: 1 })
  })
})

describe('what is unused', () => {
  beforeEach(async () => {
    for (const [index, name] of ['old', 'middle', 'new'].entries()) {
      const reference = image(name, 1_000_000)
      await cache(reference)
      setLastUse(reference, (3 - index) * 3_600_000)
    }
  })
  const names = () =>
    imagesLeft()
      .map((reference) => reference.slice(-1))
      .sort()

  it('goes least recently used first, until the store is below the threshold', async () => {
    const { bytes } = await store.clean({ dryRun: true })
    const report = await store.clean({ thresholdBytes: bytes - 500_000 })
    expect(names()).toEqual(['2', '3'])
    expect(kinds(report)).toEqual(['base', 'image', 'layer'])
    expect(report).toMatchObject({ belowThreshold: false, thresholdBytes: bytes - 500_000, objects: 1 })
    await store.clean({ thresholdBytes: 1_100_000 })
    expect(names()).toEqual(['3'])
    await store.clean({ thresholdBytes: 0 })
    expect([names(), objects()]).toEqual([[], []])
  })

  it('stays while the store is below the threshold, and so do leavings', async () => {
    writeFileSync(`${layout.trash}/left`, 'left')
    const before = listing(place.store)
    const report = await store.clean({ thresholdBytes: 10_000_000 })
    expect(report).toMatchObject({
      belowThreshold: true,
      removed: [],
      freedBytes: 0,
      thresholdBytes: 10_000_000,
    })
    expect(report.bytes).toBeGreaterThan(3_000_000)
    expect(listing(place.store)).toEqual(before)
    const exact = await store.clean({ thresholdBytes: report.bytes })
    expect(exact.belowThreshold).toBe(true)
    expect((await store.clean({ thresholdBytes: report.bytes - 1 })).belowThreshold).toBe(false)
    expect(existsSync(`${layout.trash}/left`)).toBe(false)
  })

  it('stays when it was used lately', async () => {
    await store.clean({ olderThanMs: 2.5 * 3_600_000 })
    expect(names()).toEqual(['2', '3'])
    await store.clean({ olderThanMs: 3_600_000 * 1.5, thresholdBytes: 0 })
    expect(names()).toEqual(['3'])
    await store.clean({ olderThanMs: 24 * 3_600_000 })
    expect(names()).toEqual(['3'])
  })

  it('is used again when a bundle is made from it', async () => {
    const old = [...owners.values()].find((reference) => reference.endsWith('1')) as string
    await create('again', old)
    await store.delete('again')
    await store.clean({ olderThanMs: 60_000 })
    expect(names()).toEqual(['1'])
  })

  it('stays when it is named with keep, or pinned', async () => {
    const events: GrootEvent[] = []
    const [one, two] = imagesLeft().sort() as [string, string]
    expect(await store.pin(one)).toEqual({ image: one, changed: true })
    expect(await store.pin(one)).toEqual({ image: one, changed: false })
    const report = await store.clean({
      keep: [two, 'docker:///unheard-of'],
      onEvent: (event) => void events.push(event),
    })
    expect(names()).toEqual(['1', '2'])
    expect(report.pinned).toEqual([one])
    expect(report.skipped).toEqual([])
    expect([objects().length, readdirSync(layout.layers).length, readdirSync(layout.bases).length]).toEqual([
      2, 2, 2,
    ])
    expect(events.filter(({ kind }) => kind === 'warning')).toMatchObject([{ code: 'image-missing' }])
    expect(await store.unpin(one)).toEqual({ image: one, changed: true })
    expect(await store.unpin(one)).toEqual({ image: one, changed: false })
    await store.clean()
    expect(names()).toEqual([])
  })

  it('with a time to come counts as used now', async () => {
    for (const path of owners.keys())
      if (existsSync(path)) utimesSync(path, new Date(), new Date('2100-01-01'))
    await store.clean({ olderThanMs: 60_000 })
    expect(names()).toEqual(['1', '2', '3'])
    await store.clean({ olderThanMs: 0, thresholdBytes: 0 })
    expect(names()).toEqual([])
  })
})

describe('pins', () => {
  it('are by digest too, and survive what the name comes to mean', async () => {
    const reference = image('a')
    const { image: made } = await create('b1', reference)
    await store.delete('b1')
    expect(await store.pin(made.digest)).toEqual({ image: made.digest, changed: true })
    await store.clean()
    expect(objects()).toHaveLength(1)
    await store.unpin(made.digest)
    await store.clean()
    expect(objects()).toHaveLength(0)
  })

  it('of what the store does not have are refused, and leave nothing', async () => {
    await expect(store.pin('docker:///none')).rejects.toMatchObject({ code: 'image-missing', exitStatus: 13 })
    await expect(store.pin('')).rejects.toMatchObject({ code: 'reference-invalid' })
    expect(readdirSync(layout.pins)).toEqual([])
  })

  it('hold when they are damaged, and are told', async () => {
    await cache(image('a'))
    const { image: name } = await store.pin(imagesLeft()[0] as string)
    const [file] = readdirSync(layout.pins)
    writeFileSync(`${layout.pins}/${file}`, 'x')
    const report = await store.clean()
    expect(report.skipped).toMatchObject([{ what: 'pin', name: file, code: 'record-damaged' }])
    expect([objects().length, report.removed]).toEqual([1, []])
    await store.unpin(name)
    expect((await store.clean()).skipped).toEqual([])
    expect(objects()).toEqual([])
  })
})

/** A store with everything that a killed process can leave. */
async function litter(): Promise<void> {
  await create('whole', image('whole'))
  mkdirSync(`${layout.bundles}/half/rootfs/deep`, { recursive: true })
  writeFileSync(`${layout.bundles}/half/rootfs/deep/file`, Buffer.alloc(50_000))
  chmodSync(`${layout.bundles}/half/rootfs/deep`, 0)
  symlinkSync(place.directory, `${layout.bundles}/half/rootfs/way`)
  // A delete that was killed after its commit point.
  await create('deleted', image('deleted'))
  renameSync(layout.record('deleted' as BundleId), `${layout.trash}/deleted-0123456789ab.json`)
  // An ingest that was killed while it read, one while it published.
  writeFileSync(`${layout.leases}/dead.json`, '{"format":1,"needs":{"layers":[]}}')
  writeFileSync(`${layout.locks}/task-dead.lock`, '')
  mkdirSync(`${layout.staging}/dead/sha256-00`, { recursive: true })
  writeFileSync(`${layout.staging}/dead/sha256-00/large`, Buffer.alloc(100_000))
  mkdirSync(`${layout.staging}/unrecorded`)
  writeFileSync(`${layout.publishing}/dead.sha256-${'a'.repeat(64)}`, 'half a record')
  writeFileSync(`${layout.leases}/damaged.json`, '{')
  mkdirSync(`${layout.objects}/ab`, { recursive: true })
  writeFileSync(`${layout.objects}/ab/${'c'.repeat(62)}`, 'unnamed')
  writeFileSync(`${layout.trash}/object-${'d'.repeat(64)}`, 'trash')
  mkdirSync(`${layout.trash}/tree/below`, { recursive: true })
  writeFileSync(`${layout.refs}/${'e'.repeat(64)}.json`, '{')
  for (const directory of [
    layout.root,
    layout.records,
    layout.images,
    layout.refs,
    layout.bases,
    layout.leases,
  ])
    writeFileSync(`${directory}/.tmp-x.json-0123456789ab`, 'half')
}

describe('leavings of killed processes', () => {
  it('are all removed by one clean, and nothing else is', async () => {
    await litter()
    const report = await store.clean()
    expect(report.skipped).toEqual([])
    const count = (kind: string) => kinds(report).filter((each) => each === kind).length
    expect(Object.fromEntries([...new Set(kinds(report))].map((kind) => [kind, count(kind)]))).toEqual({
      // Of the deleted bundle, and the name that led nowhere.
      image: 2,
      base: 1,
      layer: 1,
      bundle: 2,
      lease: 3,
      temporary: 6,
      trash: 2,
    })
    expect(report.objects).toBe(2)
    expect(place.contents()).toEqual({ ...EMPTY, bundles: ['whole'], records: ['whole.json'] })
    expect([readdirSync(layout.publishing), readdirSync(layout.locks), objects().length]).toEqual([[], [], 1])
    expect(await store.clean()).toMatchObject({ removed: [], skipped: [], objects: 0, freedBytes: 0 })
    expect((await store.check()).problems).toEqual([])
    expect(existsSync(place.directory)).toBe(true)
  })

  it('are told and kept by a dry run, which changes nothing at all', async () => {
    await litter()
    const before = listing(place.store)
    const dry = await store.clean({ dryRun: true })
    expect(listing(place.store)).toEqual(before)
    expect(dry.dryRun).toBe(true)
    const wet = await store.clean()
    const what = ({ removed }: CleanReport) => removed.map((item) => `${item.what} ${item.name}`).sort()
    expect(what(wet)).toEqual(what(dry))
    expect([wet.objects, wet.bytes]).toEqual([dry.objects, dry.bytes])
  })

  it('of the same names as living operations are left to those', async () => {
    await litter()
    const locks = new LockManager(layout.locks, { command: 'a create' })
    const lease = claimPath(`${layout.leases}/dead.json`)!
    await using _half = await locks.bundle('half', { timeoutMs: 0 })
    await using _deleted = await locks.bundle('deleted', { timeoutMs: 0 })
    expect(await held()).toEqual(['bundle/deleted', 'bundle/half', 'lease/dead'])
    const report = await store.clean()
    expect(report.skipped).toEqual([])
    expect(readdirSync(layout.bundles).sort()).toEqual(['deleted', 'half', 'whole'])
    expect(readdirSync(layout.staging)).toEqual(['dead'])
    expect(readdirSync(layout.publishing)).toHaveLength(1)
    // It is being deleted, and what it needs may be in use still.
    expect(readdirSync(layout.layers)).toHaveLength(2)
    expect(await held()).toEqual(['bundle/deleted', 'bundle/half', 'lease/dead'])
    closeSync(lease)
  })
})

describe('damage', () => {
  it('of one record is told, and never stops the rest', async () => {
    await create('whole', image('whole'))
    await create('damaged', image('damaged'))
    await cache(image('unused'))
    writeFileSync(layout.record('damaged' as BundleId), '{"format":1')
    mkdirSync(`${layout.bundles}/not a bundle`)
    writeFileSync(`${layout.bundles}/notes.txt`, '')
    mkdirSync(`${place.directory}/outside/rootfs`, { recursive: true })
    symlinkSync(`${place.directory}/outside`, `${layout.bundles}/link`)
    writeFileSync(`${layout.layers}/stray`, '')
    writeFileSync(`${layout.objects}/stray`, '')
    const report = await store.clean()
    expect(report.skipped.map(({ what, name, code }) => `${what} ${name} ${code}`).sort()).toEqual([
      'bundle damaged record-damaged',
      'bundle link stray-file',
      'bundle not a bundle stray-file',
      'bundle notes.txt stray-file',
      'layer stray stray-file',
      'object stray stray-file',
    ])
    expect(readdirSync(`${place.directory}/outside`)).toEqual(['rootfs'])
    // Its image is fetched again when it is wanted; what the damaged bundle uses is known from its files.
    expect(kinds(report)).toEqual(['base', 'image', 'image', 'layer'])
    expect([readdirSync(layout.layers).length, readdirSync(layout.bases).length]).toEqual([3, 2])
    expect((await store.check()).problems.map(({ code }) => code)).not.toContain('object-missing')
  })

  it('of a layer that a bundle uses is told; of an unused one it goes with the layer', async () => {
    await create('b1', image('used'))
    await cache(image('unused'))
    for (const name of readdirSync(layout.layers)) {
      const path = `${layout.layers}/${name}`
      const bytes = readFileSync(path)
      bytes[40]! ^= 1
      writeFileSync(path, bytes)
    }
    const report = await store.clean()
    expect(report.skipped).toMatchObject([{ what: 'layer', code: 'layer-damaged' }])
    expect(kinds(report)).toEqual(['base', 'image', 'layer'])
    expect(readdirSync(layout.layers)).toHaveLength(1)
  })

  it('of manifests, configs and bases that nobody uses is removed', async () => {
    await cache(image('a'))
    for (const name of readdirSync(layout.images).filter((each) => each !== 'refs'))
      writeFileSync(`${layout.images}/${name}`, 'x')
    for (const name of readdirSync(layout.bases)) writeFileSync(`${layout.bases}/${name}`, 'x')
    const report = await store.clean()
    expect([report.skipped, objects()]).toEqual([[], []])
    expect([readdirSync(layout.images), readdirSync(layout.refs), readdirSync(layout.bases)]).toEqual([
      ['refs'],
      [],
      [],
    ])
  })

  it('makes a base go whose layer is gone, and not one that is used', async () => {
    await cache(image('a'))
    await create('b1', image('b'))
    const [gone] = [...owners].filter(([path]) => path.startsWith(layout.layers)).map(([path]) => path)
    unlinkSync(gone as string)
    const { bytes } = await store.clean({ dryRun: true })
    const report = await store.clean({ thresholdBytes: bytes - 1, olderThanMs: 3_600_000 })
    expect(kinds(report)).toEqual(['base'])
    expect(readdirSync(layout.bases)).toHaveLength(1)
  })
})

describe('the time of a clean', () => {
  it('may be limited: it stops, says so, and the next one goes on', async () => {
    for (let i = 0; i < 5; i++) await cache(image(`image${i}`))
    const stopped = await store.clean({ maxDurationMs: 0 })
    expect(stopped).toMatchObject({ complete: false, removed: [], objects: 0, skipped: [] })
    expect(await store.clean({ maxDurationMs: 600_000 })).toMatchObject({ complete: true, objects: 5 })
  })

  it('ends with its signal', async () => {
    await cache(image('a'))
    await expect(store.clean({ signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'aborted' })
    expect((await store.clean()).objects).toBe(1)
  })

  it('waits for who holds the gc lock, and says who it is', async () => {
    await cache(image('a'))
    const locks = new LockManager(layout.locks, { command: 'a stopped create' })
    await using _gc = await locks.gc({ timeoutMs: 0 })
    await expect(store.clean({ lockTimeoutMs: 50 })).rejects.toMatchObject({
      code: 'lock-timeout',
      exitStatus: 11,
      facts: { lock: 'gc', holderCommand: 'a stopped create', holderPid: process.pid },
    })
  })

  it.each([
    { thresholdBytes: -1 },
    { olderThanMs: Number.NaN },
    { maxDurationMs: -1 },
    { keep: ['ftp://x'] },
  ])('is not begun for %j', async (request) => {
    await expect(store.clean(request)).rejects.toMatchObject({ kind: 'usage' })
  })
})

describe('what a driver has', () => {
  /** A driver that keeps bases and bundles of its own, as a list. */
  class ListingDriver implements Partial<Driver> {
    readonly traits = {
      bases: true,
      mounts: true,
      verity: false,
      diskLimits: false,
      nearBases: false,
      rootless: true,
    }
    readonly bases = new Set<string>()
    readonly bundles = new Set<string>()
    readonly removed: string[] = []
    busy = ''
    async *listBases() {
      yield* [...this.bases] as BaseId[]
    }
    async *listBundles() {
      yield* [...this.bundles] as BundleId[]
    }
    async removeBase(id: BaseId) {
      this.removed.push(`base ${id}`)
      this.bases.delete(id)
    }
    async remove(id: BundleId) {
      if (id === this.busy)
        throw Object.assign(new Error('EBUSY: busy'), { code: 'EBUSY', syscall: 'umount' })
      this.removed.push(`bundle ${id}`)
      this.bundles.delete(id)
    }
  }

  let driver: ListingDriver
  let opened: OpenedStore
  beforeEach(async () => {
    driver = new ListingDriver()
    const real = (await openExisting(place.store, undefined, 'test', () => {})) as OpenedStore
    opened = Object.create(real, { driver: { value: driver } }) as OpenedStore
  })
  afterEach(async () => {
    await opened.workers.close()
  })

  it('without a record is removed, one that is busy is skipped, and one that has a record stays', async () => {
    await create('b1', image('a'))
    const [used] = readdirSync(layout.bases).map((name) => name.slice(0, -'.json'.length))
    const orphan = `sha256-${'1'.repeat(64)}`
    for (const id of [used, orphan]) driver.bases.add(id as string)
    for (const id of ['b1', 'lost', 'stuck']) driver.bundles.add(id)
    mkdirSync(`${layout.bundles}/orphan`)
    driver.busy = 'stuck'
    const report = await cleanStore(opened, {})
    expect(driver.removed.sort()).toEqual([`base ${orphan}`, 'bundle lost', 'bundle orphan'])
    expect(report.skipped).toMatchObject([{ what: 'bundle', name: 'stuck', code: 'system-call' }])
    expect(report.removed.map(({ what, name }) => `${what} ${name}`)).toEqual([
      'bundle lost',
      'bundle orphan',
      `base-data ${orphan}`,
    ])
    expect(readdirSync(layout.bundles)).toEqual(['b1'])
  })

  it('and cannot be removed keeps what it is made of, also when its record is lost', async () => {
    await create('stuck', image('used'))
    await cache(image('unused'))
    unlinkSync(layout.record('stuck' as BundleId))
    driver.busy = 'stuck'
    const report = await cleanStore(opened, {})
    expect(report.skipped).toMatchObject([{ what: 'bundle', name: 'stuck' }])
    expect(readdirSync(layout.layers)).toHaveLength(1)
    expect(objects()).toHaveLength(1)
    driver.busy = ''
    await cleanStore(opened, {})
    expect([objects(), readdirSync(layout.layers)]).toEqual([[], []])
  })

  it('of an unused base is removed with its record, after it', async () => {
    await cache(image('a'))
    const [id] = readdirSync(layout.bases).map((name) => name.slice(0, -'.json'.length))
    driver.bases.add(id as string)
    let recordAtRemoval = true
    const { removeBase } = driver
    driver.removeBase = async (base) => {
      recordAtRemoval = existsSync(layout.base(base))
      expect((await opened.locks.holders()).map(({ name }) => name)).toEqual([`base/${base}`])
      await removeBase.call(driver, base)
    }
    const report = await cleanStore(opened, {})
    expect(kinds(report)).toEqual(['base', 'image', 'layer'])
    expect([driver.removed, recordAtRemoval]).toEqual([[`base ${id}`], false])
  })

  it('in use by nobody knows what keeps every object where it is', async () => {
    await create('b1', image('used'))
    await cache(image('unused'))
    const before = objects().length
    const { layers } = JSON.parse(readFileSync(layout.record('b1' as BundleId), 'utf8'))
    unlinkSync(layout.layer(layers[0]))
    const report = await cleanStore(opened, {})
    expect(report.skipped).toMatchObject([{ what: 'object', code: 'layer-damaged' }])
    expect([report.objects, objects().length]).toEqual([0, before])
    // All else went, and as soon as the driver can tell, the objects too.
    expect(kinds(report)).toEqual(['base', 'image', 'layer'])
    const again = await cleanStore(
      Object.create(opened, {
        driver: {
          value: Object.assign(driver, {
            async *objectsOf() {
              yield objectOf('used')
            },
          }),
        },
      }) as OpenedStore,
      {},
    )
    expect([again.skipped, again.objects, objects().length]).toEqual([[], before - 1, 1])
  })

  it('of bundles that cannot be read keeps bases and layers where they are', async () => {
    await create('b1', image('used'))
    await cache(image('unused'))
    writeFileSync(layout.record('b1' as BundleId), '')
    writeFileSync(`${layout.bundles}/b1/image.json`, '')
    const report = await cleanStore(opened, {})
    expect(report.skipped).toMatchObject([{ what: 'bundle', name: 'b1', code: 'record-damaged' }])
    expect(kinds(report)).toEqual(['image', 'image'])
    expect([report.objects, readdirSync(layout.layers).length, readdirSync(layout.bases).length]).toEqual([
      0, 2, 2,
    ])
    // A bundle that needs nothing of the store does not.
    expect(kinds(await store.clean())).toEqual(['base', 'base', 'layer', 'layer'])
  })

  it('cannot be asked where the driver does not work: then bundles and bases are skipped', async () => {
    mkdirSync(`${layout.bundles}/orphan`)
    await cache(image('unused'))
    writeFileSync(`${layout.trash}/left`, '')
    const broken = Object.create(opened, {
      driver: {
        get() {
          throw Object.assign(new Error('EPERM: no'), { code: 'EPERM', syscall: 'mount' })
        },
      },
    }) as OpenedStore
    const report = await cleanStore(broken, {})
    expect(report.skipped.map(({ what, name }) => `${what} ${name}`)).toEqual(['store vfs', 'bundle orphan'])
    expect(kinds(report)).toEqual(['image', 'trash'])
  })
})

/** The object of layerOf(name). */
function objectOf(name: string) {
  return verityDigest(Buffer.alloc(100_000, `${name} `))
}

describe('locks', () => {
  it('are told with their holders', async () => {
    const locks = new LockManager(layout.locks, { command: 'groot create' })
    await using _lock = await locks.bundle('web-1', { timeoutMs: 0 })
    expect(await store.locks()).toEqual([
      {
        lock: 'bundle/web-1',
        pid: process.pid,
        command: 'groot create',
        since: expect.stringMatching(/^\d{4}-.*Z$/),
      },
    ])
  })
})
