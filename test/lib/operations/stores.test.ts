import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { setTimeout } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { deleteStore, initStore, openStore } from '../../../lib/index.js'
import { layer } from '../../../lib/testkit/layer.js'
import { DRIVERS } from '../../support/mounts.js'
import { AS_ROOT, Place } from './testing.js'

let place: Place
beforeEach(() => {
  place = new Place()
})
afterEach(() => place.remove())

/** Root gets the overlay driver where it works, and all whom these tests run for can mount. */
const DEFAULT_DRIVER = DRIVERS.at(-1)!
const open = (change = {}) => openStore({ path: place.store, thread: 'caller', ...change })

describe('a store', () => {
  it('is made on first use, and opened on the next', async () => {
    const idOf = () => JSON.parse(readFileSync(`${place.store}/store.json`, 'utf8')).id
    const first = await open()
    const id = idOf()
    await first.close()
    const second = await open()
    expect([second.path, second.driver, idOf()]).toEqual([place.store, DEFAULT_DRIVER, id])
    await second.close()
  })

  it('is not made when that is not wanted', async () => {
    await expect(open({ make: false })).rejects.toMatchObject({ code: 'store-missing', exitStatus: 10 })
    expect(existsSync(place.store)).toBe(false)
  })

  it('is made once by many at once', async () => {
    const stores = await Promise.all(Array.from({ length: 5 }, () => open()))
    expect(new Set(stores.map((store) => store.path)).size).toBe(1)
    await Promise.all(stores.map((store) => store.close()))
  })

  it.each([
    ['0000', 0],
    ['0777', 0o777],
  ])('has directories that only its owner may list, with the umask %s', async (_shown, umask) => {
    const before = process.umask(umask)
    try {
      await initStore({ path: place.store })
    } finally {
      process.umask(before)
    }
    const modes = Object.fromEntries(
      ['', 'objects', 'bundles', 'records', 'layers', 'staging', `drivers/${DEFAULT_DRIVER}`].map((name) => [
        name,
        statSync(`${place.store}/${name}`).mode & 0o7777,
      ]),
    )
    expect(modes).toEqual({
      '': 0o711,
      objects: 0o711,
      bundles: 0o711,
      records: 0o700,
      layers: 0o700,
      staging: 0o700,
      [`drivers/${DEFAULT_DRIVER}`]: 0o700,
    })
  })

  it('is not made twice', async () => {
    expect(await initStore({ path: place.store })).toMatchObject({
      path: place.store,
      driver: DEFAULT_DRIVER,
      notes: expect.any(Array),
    })
    await expect(initStore({ path: place.store })).rejects.toMatchObject({ code: 'store-exists' })
  })

  it('never takes over a directory with something else in it', async () => {
    mkdirSync(place.store)
    writeFileSync(`${place.store}/thesis.txt`, 'years of work')
    await expect(open()).rejects.toMatchObject({
      code: 'store-not-empty',
      facts: { path: place.store, found: 'thesis.txt' },
    })
    expect(readdirSync(place.store)).toEqual(['thesis.txt'])
  })

  it('is made where an earlier attempt was killed', async () => {
    mkdirSync(`${place.store}/objects`, { recursive: true })
    mkdirSync(`${place.store}/locks`)
    const store = await open()
    await store.create(place.request())
    await store.close()
  })

  it.each([
    ['a relative path', 'store'],
    ['a path with NUL', '/tmp/a\0b'],
  ])('is refused at %s', async (_, path) => {
    await expect(openStore({ path, thread: 'caller' })).rejects.toMatchObject({ code: 'option-invalid' })
  })

  it('is refused when others may write to it', async () => {
    await initStore({ path: place.store })
    chmodSync(place.store, 0o777)
    await expect(open()).rejects.toMatchObject({ code: 'store-unsafe' })
  })

  it('is found behind a symlink, and then goes by its real path', async () => {
    await initStore({ path: place.store })
    symlinkSync(place.store, `${place.directory}/way`)
    const store = await open({ path: `${place.directory}/way` })
    expect(store.path).toBe(place.store)
    await store.close()
  })

  it('is refused where there is a file', async () => {
    writeFileSync(`${place.directory}/file`, '')
    for (const path of [`${place.directory}/file`, `${place.directory}/file/below`]) {
      await expect(open({ path })).rejects.toMatchObject({ code: 'store-unsafe', exitStatus: 10 })
    }
  })

  it.skipIf(!AS_ROOT)('of another user is refused (needs root)', async () => {
    await initStore({ path: place.store })
    chownSync(place.store, 1234, 1234)
    await expect(open()).rejects.toMatchObject({ code: 'store-unsafe' })
    chownSync(place.store, 0, 0)
  })

  it('is opened by the driver it was made with only', async () => {
    await initStore({ path: place.store })
    await expect(open({ driver: 'other' })).rejects.toMatchObject({
      code: 'store-driver',
      facts: { asked: 'other', found: DEFAULT_DRIVER },
    })
  })

  it('tells what it has also without the package of its driver, which is missed where it is needed', async () => {
    {
      await using store = await open()
      await store.create(place.request())
    }
    const path = `${place.store}/store.json`
    const descriptor = readFileSync(path, 'utf8')
    writeFileSync(path, descriptor.replace(`"${DEFAULT_DRIVER}"`, '"gone"'))
    {
      await using store = await open()
      expect((await store.list()).map(({ id }) => id)).toEqual(['b1'])
      expect((await store.images()).length).toBe(1)
      const missed = { code: 'driver-unknown', exitStatus: 19, facts: { driver: 'gone' } }
      await expect(store.create({ ...place.request(), id: 'b2' })).rejects.toMatchObject(missed)
      await expect(store.delete('b1')).rejects.toMatchObject(missed)
      expect(await store.delete('b2')).toMatchObject({ existed: false })
      expect(await store.list()).toHaveLength(1)
      for (const force of [false, true])
        await expect(deleteStore({ path: place.store, force })).rejects.toMatchObject(missed)
    }
    writeFileSync(path, descriptor)
    await using store = await open()
    expect(await store.delete('b1')).toMatchObject({ existed: true })
  })

  it.each([
    ['nothing-like-it', 'driver-unknown', 19],
    ['../vfs', 'option-invalid', 2],
    ['Vfs', 'option-invalid', 2],
  ])('is not made with the driver %j', async (driver, code, exitStatus) => {
    await expect(initStore({ path: place.store, driver })).rejects.toMatchObject({ code, exitStatus })
    expect(existsSync(place.store)).toBe(false)
  })
})

describe('deleting a store', () => {
  it('removes it when there are no bundles', async () => {
    const store = await open()
    await store.create(place.request())
    await store.delete('b1')
    await store.close()
    await deleteStore({ path: place.store })
    expect(existsSync(place.store)).toBe(false)
  })

  it('of one that is not there succeeds', async () => {
    await deleteStore({ path: place.store })
  })

  it('refuses with bundles, unless forced', async () => {
    const store = await open()
    await store.create(place.request())
    await store.close()
    await expect(deleteStore({ path: place.store })).rejects.toMatchObject({
      code: 'store-not-empty',
      facts: { bundles: 1 },
    })
    expect(existsSync(`${place.store}/bundles/b1/rootfs`)).toBe(true)
    await deleteStore({ path: place.store, force: true })
    expect(existsSync(place.store)).toBe(false)
  })

  it('by force leaves nothing, also of a create that runs meanwhile', async () => {
    const big = layer()
    for (let i = 0; i < 1500; i++) big.file(`f${i}`, Buffer.alloc(20_000, `${i} `))
    const image = place.image([big])
    for (const delayMs of [0, 50, 150, 300]) {
      await using store = await openStore({ path: place.store })
      let begin = () => {}
      const begun = new Promise<void>((resolve) => {
        begin = resolve
      })
      const onEvent = () => begin()
      const create = store.create(place.request({ image, onEvent })).then(
        () => null,
        (error: unknown) => error,
      )
      await begun
      await setTimeout(delayMs)
      await deleteStore({ path: place.store, force: true })
      expect([null, 'store-missing', 'aborted']).toContain(
        ((await create) as { code?: string } | null)?.code ?? null,
      )
      expect(existsSync(place.store)).toBe(false)
    }
  })

  it('leaves what others put into its directory', async () => {
    await initStore({ path: place.store })
    writeFileSync(`${place.store}/mine.txt`, 'mine')
    await deleteStore({ path: place.store })
    expect(readdirSync(place.store)).toEqual(['mine.txt'])
  })

  it('passes over what was put where bundles and their records are', async () => {
    const store = await open()
    await store.create(place.request())
    await store.close()
    writeFileSync(`${place.store}/bundles/notes.txt`, '')
    writeFileSync(`${place.store}/drivers/notes.txt`, '')
    mkdirSync(`${place.store}/records/notes.json`)
    mkdirSync(`${place.directory}/outside/rootfs`, { recursive: true })
    symlinkSync(`${place.directory}/outside`, `${place.store}/bundles/link`)
    await deleteStore({ path: place.store, force: true })
    expect(existsSync(place.store)).toBe(false)
    expect(readdirSync(`${place.directory}/outside`)).toEqual(['rootfs'])
  })

  it('touches no directory that is not a store', async () => {
    mkdirSync(`${place.store}/objects`, { recursive: true })
    await deleteStore({ path: place.store, force: true })
    expect(readdirSync(place.store)).toEqual(['objects'])
  })
})
