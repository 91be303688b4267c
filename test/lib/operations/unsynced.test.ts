/**
 * Stores that do without syncs, and what happens to them after the machine was started again.
 */
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type GrootEvent, type GrootStore, initStore, openStore } from '../../../lib/index.js'
import { treeLines } from '../../../lib/testkit/tree-lines.js'
import { onFilesystemOf } from '../../support/btrfs.js'
import { DRIVERS } from '../../support/mounts.js'
import { Place } from './testing.js'

let place: Place
let events: GrootEvent[]
beforeEach(() => {
  place = new Place()
  events = []
})
afterEach(() => place.remove())

const stamp = () => `${place.store}/gc/unsynced.json`
const codes = () => events.flatMap((event) => (event.kind === 'warning' ? [event.code] : []))
const onEvent = (event: GrootEvent) => events.push(event)

/** As if the machine had been started again since. */
function restart(): void {
  const text = JSON.parse(readFileSync(stamp(), 'utf8'))
  writeFileSync(stamp(), JSON.stringify({ ...text, boot: '00000000-0000-0000-0000-000000000000' }))
}

function objects(): string[] {
  const directory = `${place.store}/objects`
  return readdirSync(directory).flatMap((prefix) =>
    readdirSync(`${directory}/${prefix}`).map((name) => `${directory}/${prefix}/${name}`),
  )
}

async function open(driver: string): Promise<GrootStore> {
  return await openStore({ path: place.store, driver, thread: 'caller' })
}

it('a create looks for what others wrote without a sync before it is done, and for nothing after that', async () => {
  await using store = await open('vfs')
  const image = place.image()
  // What cannot be read, from one moment on.
  const from = (moment: GrootEvent['kind']) => (event: GrootEvent) => {
    if (event.kind === moment) mkdirSync(stamp())
  }
  const request = { ...place.request({ image, id: 'b1' }), onEvent: from('tree-merged') }
  await expect(store.create(request)).rejects.toMatchObject({ code: 'system-call' })
  rmSync(stamp(), { recursive: true })
  expect([existsSync(`${place.store}/bundles/b1`), await store.list()]).toEqual([false, []])
  await store.create({ ...place.request({ image, id: 'b1' }), onEvent: from('rootfs-ready') })
  expect((await store.list()).map(({ id }) => id)).toEqual(['b1'])
  rmSync(stamp(), { recursive: true })
})

describe.each(DRIVERS)('a store without syncs, with the driver %s', (driver) => {
  onFilesystemOf(driver)
  it('says so before anything is written, and is used as it is until the machine is started again', async () => {
    await initStore({ path: place.store, driver, noSync: true })
    expect(existsSync(stamp())).toBe(false)
    await using store = await open(driver)
    const image = place.image()
    await store.create({ ...place.request({ image, id: 'b1' }), onEvent })
    expect(JSON.parse(readFileSync(stamp(), 'utf8'))).toMatchObject({
      boot: readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim(),
    })
    await store.create({ ...place.request({ image, id: 'b2' }), onEvent })
    expect(codes()).toEqual([])
    expect(events.filter(({ kind }) => kind === 'check-progress')).toEqual([])
  })

  it('is verified after that by whoever writes next, once, and goes on when it is whole', async () => {
    await initStore({ path: place.store, driver, noSync: true })
    await using store = await open(driver)
    const image = place.image()
    const { rootfs } = await store.create(place.request({ image, id: 'b1' }))
    const model = treeLines(rootfs)
    restart()
    const made = await store.create({ ...place.request({ image, id: 'b2' }), onEvent })
    expect(codes()).toEqual(['store-unsynced', 'bundle-unverified'])
    expect(treeLines(made.rootfs)).toEqual(model)
    expect((await store.list()).map(({ id }) => id)).toEqual(['b1', 'b2'])
    events.length = 0
    await store.create({ ...place.request({ image, id: 'b3' }), onEvent })
    expect(codes()).toEqual([])
  })

  it('loses what was damaged and what hangs on it, and nothing else', async () => {
    await using store = await open(driver)
    const image = place.image()
    const { rootfs } = await store.create({ ...place.request({ image, id: 'b1' }), noSync: true })
    const model = treeLines(rootfs)
    for (const path of objects()) {
      rmSync(path)
      writeFileSync(path, '')
    }
    restart()
    const made = await store.create({ ...place.request({ image, id: 'b2' }), onEvent })
    expect(codes()).toContain('unsynced-removed')
    expect(treeLines(made.rootfs)).toEqual(model)
    // What is mounted read what is gone; a copy has all that it needs.
    expect((await store.list()).map(({ id }) => id)).toEqual(driver === 'overlay' ? ['b2'] : ['b1', 'b2'])
    expect((await store.check()).problems).toEqual([])
    expect(existsSync(stamp())).toBe(false)
  })

  it('loses bundles that are half', async () => {
    await using store = await open(driver)
    const image = place.image()
    for (const id of ['b1', 'b2', 'b3']) await store.create({ ...place.request({ image, id }), noSync: true })
    truncateSync(`${place.store}/bundles/b1/config.json`, 0)
    truncateSync(`${place.store}/records/b2.json`, 0)
    restart()
    await store.pull({ image, onEvent })
    expect((await store.list()).map(({ id }) => id)).toEqual(['b3'])
    expect(readdirSync(`${place.store}/bundles`)).toEqual(['b3'])
  })

  it('may be read and deleted from without that', async () => {
    await using store = await open(driver)
    await store.create({ ...place.request({ id: 'b1' }), noSync: true })
    restart()
    expect((await store.list({ onEvent })).map(({ id }) => id)).toEqual(['b1'])
    await store.delete('b1', { onEvent })
    expect(codes()).toEqual([])
    expect(existsSync(stamp())).toBe(true)
  })
})

/** What the kernel says of what is mounted at a place; '' for nothing. */
function mountLine(at: string): string {
  const lines = readFileSync('/proc/self/mountinfo', 'latin1').split('\n')
  return lines.find((line) => line.split(' ')[4] === at) ?? ''
}

describe.skipIf(!DRIVERS.includes('overlay'))('an overlay made without syncs', () => {
  it('is volatile, from now on, and keeps what was written when it is mounted again', async () => {
    await using store = await open('overlay')
    const image = place.image()
    const plain = await store.create(place.request({ image, id: 'plain' }))
    const loose = await store.create({ ...place.request({ image, id: 'loose' }), noSync: true })
    expect(mountLine(plain.rootfs)).not.toMatch(/\bvolatile\b/)
    expect(mountLine(loose.rootfs)).toMatch(/\bvolatile\b/)
    writeFileSync(`${loose.rootfs}/written`, 'by a container')
    for (let time = 0; time < 2; time++) {
      await store.unmount('loose')
      expect(mountLine(loose.rootfs)).toBe('')
      await store.mount('loose')
      expect(mountLine(loose.rootfs)).toMatch(/\bvolatile\b/)
      expect(readFileSync(`${loose.rootfs}/written`, 'utf8')).toBe('by a container')
    }
    await store.delete('loose')
    expect((await store.list()).map(({ id }) => id)).toEqual(['plain'])
  })

  it('has nothing in it that cannot be verified when nobody could write to it', async () => {
    await using store = await open('overlay')
    await store.create({ ...place.request({ id: 'b1', readOnly: true }), noSync: true })
    restart()
    await store.pull({ image: place.image(), onEvent })
    expect(codes()).toEqual(['store-unsynced'])
  })
})

describe('a create with a clean before it', () => {
  it('makes room first, and only above the threshold', async () => {
    await using store = await open('vfs')
    await store.pull({ image: place.image() })
    const before = objects()
    expect(before.length).toBeGreaterThan(0)
    const image = place.image([])
    await store.create({ ...place.request({ image, id: 'b1' }), withClean: { thresholdBytes: 1e12 } })
    expect(objects()).toEqual(before)
    await store.create({ ...place.request({ image, id: 'b2' }), withClean: { thresholdBytes: 0 } })
    expect(objects()).toEqual([])
  })

  it('is made also when the clean fails, with a warning', async () => {
    await using store = await open('vfs')
    writeFileSync(`${place.store}/objects/stranger`, '')
    const made = await store.create({ ...place.request({ id: 'b1' }), withClean: {}, onEvent })
    expect(made.id).toBe('b1')
    expect(codes()).toEqual(['clean-failed'])
  })

  it('refuses what is no threshold', async () => {
    await using store = await open('vfs')
    const request = { ...place.request({ id: 'b1' }), withClean: { thresholdBytes: -1 } }
    await expect(store.create(request)).rejects.toMatchObject({ code: 'option-invalid' })
  })
})
