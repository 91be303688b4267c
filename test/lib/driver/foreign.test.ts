import { describe, expect, it } from 'vitest'
import type { Driver, DriverModule, RootfsPlace, RootfsSpec } from '../../../lib/driver/contract.js'
import { checkedModule } from '../../../lib/driver/foreign.js'
import { QuotaError } from '../../../lib/errors.js'
import { rejectionOf } from '../linux/scratch.js'

const TRAITS = {
  bases: true,
  mounts: false,
  verity: false,
  diskLimits: false,
  nearBases: false,
  rootless: true,
}
const BASE = `sha256-${'a'.repeat(64)}`

const GOOD = {
  traits: TRAITS,
  prepare: async () => ({ bytes: 5 }),
  removeBase: async () => {},
  create: async () => ({ mounts: [{ destination: '/', type: 'x', source: 'y', options: ['ro'] }] }),
  remove: async () => {},
  usage: async () => ({ totalBytes: 1, exclusiveBytes: 0 }),
  async *listBases() {
    yield BASE
  },
  async *listBundles() {
    yield 'web-1'
  },
}

/** A driver as somebody without types may write it. */
function moduleOf(driver: unknown, more: object = {}): DriverModule {
  const open = async () => driver
  const module = {
    api: 1,
    name: 'bad',
    parseOptions: (raw: unknown) => raw,
    probe: async () => null,
    open,
    ...more,
  }
  return checkedModule(module as unknown as DriverModule)
}
const opened = (fields: object = {}): Promise<Driver> =>
  moduleOf({ ...GOOD, ...fields }).open({} as never, null)
const INVALID = { code: 'driver-invalid', kind: 'unsupported' }

async function all<T>(each: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = []
  for await (const one of each) found.push(one)
  return found
}

describe('a driver of another package', () => {
  it('works when its answers are those of the contract, and only they go on', async () => {
    const extra = { mounts: [{ ...(await GOOD.create()).mounts[0], more: () => {} }], more: () => {} }
    const driver = await opened({ create: async () => extra, unknown: 5 })
    expect(driver.traits).toEqual(TRAITS)
    expect(await driver.create({} as RootfsSpec)).toEqual(await GOOD.create())
    expect(await driver.prepare({} as never, {} as never)).toEqual({ bytes: 5 })
    expect(await driver.usage({} as RootfsPlace)).toEqual({ totalBytes: 1, exclusiveBytes: 0 })
    expect(await all(driver.listBases())).toEqual([BASE])
    expect(await all(driver.listBundles())).toEqual(['web-1'])
    expect(Object.keys(driver).sort()).toEqual(Object.keys(GOOD).sort())
  })

  it('keeps its own this, and its methods that not all have', async () => {
    class Whole {
      readonly traits = TRAITS
      readonly told = true
      prepare = GOOD.prepare
      removeBase = GOOD.removeBase
      create = GOOD.create
      remove = GOOD.remove
      usage = GOOD.usage
      listBases = GOOD.listBases
      listBundles = GOOD.listBundles
      async mount() {
        return this.told
      }
      async close() {
        if (!this.told) throw new Error('lost')
      }
    }
    const driver = await moduleOf(new Whole()).open({} as never, null)
    expect(await driver.mount?.({} as RootfsPlace)).toBe(true)
    await driver.close?.()
    expect(driver.unmount).toBeUndefined()
  })

  it.each([
    undefined,
    null,
    5,
    {},
    { ...GOOD, create: 5 },
    { ...GOOD, traits: null },
    { ...GOOD, traits: {} },
  ])('that opens as %s is invalid', async (driver) => {
    expect(await rejectionOf(moduleOf(driver).open({} as never, null))).toMatchObject(INVALID)
  })

  it.each(['', '.', '..', '../../victim', 'web-1/rootfs', '/etc', 'a\0b', 5, null])(
    'that tells of a bundle or base %j is invalid, and the name goes no further',
    async (name) => {
      const list = async function* () {
        yield name
      }
      const driver = await opened({ listBundles: list, listBases: list })
      expect(await rejectionOf(all(driver.listBundles()))).toMatchObject(INVALID)
      expect(await rejectionOf(all(driver.listBases()))).toMatchObject(INVALID)
    },
  )

  it.each([undefined, null, 5, {}, { mounts: {} }, { mounts: [null] }, { mounts: [{ destination: '/' }] }])(
    'that creates %j is invalid',
    async (rootfs) => {
      const driver = await opened({ create: async () => rootfs })
      expect(await rejectionOf(driver.create({} as RootfsSpec))).toMatchObject(INVALID)
    },
  )

  it.each([
    {},
    { totalBytes: '5', exclusiveBytes: 0 },
    { totalBytes: Number.NaN, exclusiveBytes: 0 },
    { totalBytes: -5, exclusiveBytes: 0 },
  ])('that tells of the usage %j is invalid', async (usage) => {
    const driver = await opened({ usage: async () => usage })
    expect(await rejectionOf(driver.usage({} as RootfsPlace))).toMatchObject(INVALID)
  })

  it.each(['a text', undefined, null, Symbol('s'), new Error('why'), { facts: 5 }])(
    'that throws %s is told, whichever method it is',
    async (thrown) => {
      const thrower = () => {
        throw thrown
      }
      const driver = await opened({ create: thrower, listBundles: thrower, close: thrower })
      const calls = [
        driver.create({} as RootfsSpec),
        all(driver.listBundles()),
        driver.close!(),
        moduleOf(GOOD, { probe: thrower }).probe({} as never, null),
        moduleOf(GOOD, { open: thrower }).open({} as never, null),
        (async () => moduleOf(GOOD, { parseOptions: thrower }).parseOptions(null))(),
        moduleOf(GOOD).probe({} as never, null),
      ]
      for (const call of calls) expect(await rejectionOf(call)).toMatchObject(INVALID)
    },
  )

  it('throws what has a code of its own, and the reasons of aborts', async () => {
    const quota = new QuotaError('quota-exceeded', 'full')
    const abort = new DOMException('stopped', 'AbortError')
    for (const error of [quota, abort]) {
      const driver = await opened({ create: () => Promise.reject(error) })
      expect(await rejectionOf(driver.create({} as RootfsSpec))).toBe(error)
    }
  })
})
