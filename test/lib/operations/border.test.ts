import { getEventListeners } from 'node:events'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import {
  composefs,
  deleteStore,
  initStore,
  login,
  logout,
  mountStore,
  openStore,
} from '../../../lib/index.js'
import { layer } from '../../../lib/testkit/layer.js'
import { rejectionOf } from '../linux/scratch.js'
import { Place } from './testing.js'

let place: Place
beforeEach(() => {
  place = new Place()
})
afterEach(() => place.remove())

/** What a caller without types may give. */
const wrong = (value: unknown) => value as never

describe('a field of a wrong type', () => {
  it.each<[string, string, () => Promise<unknown>]>([
    ['openStore', 'request', () => openStore(wrong(null))],
    ['openStore', 'path', () => openStore(wrong({}))],
    ['openStore', 'make', () => openStore({ path: '/s', make: wrong('no') })],
    ['initStore', 'storeSizeBytes', () => initStore({ path: '/s', storeSizeBytes: wrong('1G') })],
    ['mountStore', 'path', () => mountStore({ path: wrong(1) })],
    ['deleteStore', 'force', () => deleteStore({ path: '/s', force: wrong(1) })],
    ['login', 'credentials', () => login({ host: 'h', credentials: wrong(undefined) })],
    ['login', 'credentials.password', () => login({ host: 'h', credentials: wrong({ username: 'u' }) })],
    ['logout', 'host', () => logout({ host: wrong(['h']) })],
    ['composefs.make', 'directory', () => composefs.make({ directory: wrong(5) })],
    ['composefs.make', 'strict', () => composefs.make({ dump: 'd', strict: wrong(1) })],
    ['composefs.info', 'images', () => composefs.info({ images: wrong('image') })],
    ['composefs.list', 'filter', () => composefs.list({ images: [], filter: wrong([1]) })],
    ['composefs.measure', 'files', () => composefs.measure({ files: wrong([5]) })],
    ['composefs.mount', 'objects', () => composefs.mount({ image: 'i', target: 't', objects: wrong('o') })],
  ])('of %s is told as %s', async (_, option, call) => {
    expect(await rejectionOf(call())).toMatchObject({ code: 'option-invalid', facts: { option } })
  })

  it.each(['engine', 'caller'] as const)('of a call of a store on thread %s is told', async (thread) => {
    await using store = await openStore({ path: place.store, driver: 'vfs', thread })
    const calls: [string, Promise<unknown>][] = [
      ['request', store.create(wrong(undefined))],
      ['image', store.create({ image: wrong(5), id: 'a' })],
      ['id', store.create({ image: 'a', id: wrong(5) })],
      ['insecureRegistries', store.create(place.request({ insecureRegistries: wrong('h') }))],
      ['limits.maxEntries', store.create(place.request({ limits: { maxEntries: wrong('5') } }))],
      ['onEvent', store.create(place.request({ onEvent: wrong('log') }))],
      ['pull', store.pull({ image: 'a', pull: wrong(true) })],
      ['signal', store.digest({ image: 'a', signal: wrong({ aborted: false }) })],
      ['id', store.delete(wrong(5))],
      ['lockTimeoutMs', store.stats('a', { lockTimeoutMs: wrong('5') })],
      ['id', store.mount(wrong(undefined))],
      ['id', store.unmount(wrong({}))],
      ['diskLimitSizeBytes', store.limit('a', wrong({}))],
      ['image', store.pin(wrong(5))],
      ['image', store.unpin(wrong(null))],
      ['images', store.removeImages({ images: wrong('a') })],
      ['keep', store.clean({ keep: wrong('a') })],
      ['repair', store.check({ repair: wrong('yes') })],
    ]
    for (const [option, call] of calls) {
      expect(await rejectionOf(call)).toMatchObject({ code: 'option-invalid', facts: { option } })
    }
  })

  it('is told without what may be a secret, and with a word that no option knows', async () => {
    const secret = await rejectionOf(login({ host: 'h', credentials: wrong('user:secret') }))
    expect(secret.message).toBe(
      'Cannot use what is given as credentials: an object is needed, and it is of type string',
    )
    const word = await rejectionOf(openStore({ path: '/s', thread: wrong('Caller') }))
    expect(word.message).toBe(
      'Cannot use what is given as thread: one of engine, caller is needed, and it is "Caller"',
    )
  })

  it('is told with what it is and what is needed', async () => {
    expect(await rejectionOf(openStore({ path: wrong(5) }))).toMatchObject({
      message: 'Cannot use what is given as path: a string is needed, and it is of type number',
      facts: { option: 'path', found: 'number', wanted: 'a string' },
    })
  })
})

const THREADS = ['engine', 'caller'] as const

describe('a request', () => {
  it.each(THREADS)('on thread %s has what it inherits', async (thread) => {
    await using store = await openStore({ path: place.store, driver: 'vfs', thread })
    const inherited = Object.create({ expectDigest: '0'.repeat(64) })
    const request = Object.assign(inherited, place.request({ id: 'a' }))
    expect(await rejectionOf(store.create(request))).toMatchObject({ code: 'digest-unexpected' })
    class Request {
      get image() {
        return place.request({}).image
      }
      get id() {
        return 'b'
      }
    }
    expect(await store.create(new Request())).toMatchObject({ id: 'b' })
  })

  it.each(THREADS)('on thread %s is refused when reading it fails', async (thread) => {
    await using store = await openStore({ path: place.store, driver: 'vfs', thread })
    const thrower = {
      get image(): string {
        throw new Error('no')
      },
      id: 'a',
    }
    expect(await rejectionOf(store.create(thrower))).toMatchObject({
      code: 'option-invalid',
      facts: { option: 'image' },
    })
  })

  it.each(THREADS)('on thread %s may have more than is asked for', async (thread) => {
    await using store = await openStore({
      path: place.store,
      driver: 'vfs',
      thread,
      ...{ onEvent: () => {} },
    })
    const keep = new Proxy(['nothing'], {})
    expect(await store.clean({ keep })).toMatchObject({ skipped: [] })
    expect(await store.create({ ...place.request({ id: 'a' }), ...{ progress: () => {} } })).toMatchObject({
      id: 'a',
    })
  })

  it.each<[string, string, object]>([
    ['verity', 'one of require, try, off', { verity: 'Require' }],
    ['pull', 'one of missing, always, never', { pull: 'Never' }],
    ['quotaBackend', 'one of native, loop', { quotaBackend: 'xfs' }],
    ['limits.maxEntries', 'a number', { limits: { maxEntries: Number.NaN } }],
    ['lockTimeoutMs', 'a number of milliseconds, from 0', { lockTimeoutMs: -1 }],
    [
      'mapping.uid.size',
      'a number',
      { mapping: { uid: [{ containerId: 0, hostId: 1, size: 5n }], gid: [] } },
    ],
    ['mapping.uid', 'a list of ranges', { mapping: { uid: () => {}, gid: [] } }],
    ['registry.environment', 'an object of strings', { registry: { environment: { HOME: 5 } } }],
  ])('with a value of %s that is not %s is refused', async (option, wanted, fields) => {
    await using store = await openStore({ path: place.store, driver: 'vfs' })
    const error = await rejectionOf(store.create({ ...place.request({}), ...fields }))
    expect(error).toMatchObject({ code: 'option-invalid', facts: { option, wanted } })
  })

  it.each<[string, () => Promise<unknown>]>([
    ['thread', () => openStore({ path: '/s', thread: wrong('Caller') })],
    ['driverOptions', () => initStore({ path: '/s', driverOptions: 5n })],
    ['driverOptions', () => initStore({ path: '/s', driverOptions: wrong(() => {}) })],
    ['filesystem', () => initStore({ path: '/s', filesystem: wrong('zfs') })],
    ['xattrs', () => composefs.make({ directory: '/', xattrs: wrong('nonee') })],
    ['hardLinks', () => composefs.make({ directory: '/', hardLinks: wrong('x') })],
    ['hash', () => composefs.make({ directory: '/', hash: wrong('md5') })],
    ['directory', () => composefs.make({ directory: 'a\0b' })],
    ['hash', () => composefs.measure({ files: [], hash: wrong('SHA256') })],
    ['files', () => composefs.measure({ files: ['a\0b'] })],
    ['verity', () => composefs.mount({ image: 'i', target: 't', objects: [], verity: wrong('try') })],
  ])('with a value of %s that there is not is refused', async (option, call) => {
    expect(await rejectionOf(call())).toMatchObject({ code: 'option-invalid', facts: { option } })
  })
})

describe('a store that is closed', () => {
  it.each(THREADS)('on thread %s ends what runs, whoever waits, and takes no more', async (thread) => {
    const store = await openStore({ path: place.store, driver: 'vfs', thread })
    const big = layer()
    for (let i = 0; i < 500; i++) big.file(`f${i}`, Buffer.alloc(30_000, `${i} `))
    let hasEnded = false
    const create = rejectionOf(store.create(place.request({ image: place.image([big]) }))).finally(() => {
      hasEnded = true
    })
    const closes = [store.close(), store.close()]
    expect(await rejectionOf(store.list())).toMatchObject({ code: 'store-closed', kind: 'usage' })
    await Promise.all(closes)
    expect(hasEnded).toBe(true)
    expect(await create).toMatchObject({ code: 'aborted' })
    for (const call of [store.create(place.request({})), store.delete('a'), store.unpin('a')])
      expect(await rejectionOf(call)).toMatchObject({ code: 'store-closed' })
  })
})

describe('an abort', () => {
  it('ends a wait for a sink or an input that never answers', async () => {
    const never = new Promise<never>(() => {})
    const silent = { [Symbol.asyncIterator]: () => ({ next: () => never }) }
    const calls = [
      (signal: AbortSignal) =>
        composefs.make({ directory: place.directory, image: { write: () => never }, signal }),
      (signal: AbortSignal) => composefs.make({ dump: silent, signal }),
      (signal: AbortSignal) => composefs.info({ images: [silent], signal }),
      (signal: AbortSignal) => composefs.measure({ files: [silent], signal }),
    ]
    for (const call of calls)
      expect(await rejectionOf(call(AbortSignal.timeout(100)))).toMatchObject({ code: 'aborted' })
  })

  it.each(THREADS)('before the call is an answer on thread %s', async (thread) => {
    await using store = await openStore({ path: place.store, driver: 'vfs', thread })
    const options = { signal: AbortSignal.abort() }
    const calls = [
      store.list(options),
      store.locks(options),
      store.stats('a', options),
      store.unpin('a', options),
      store.delete('a', options),
    ]
    for (const call of calls) expect(await rejectionOf(call)).toMatchObject({ code: 'aborted' })
  })

  it.each(THREADS)('signal that outlives calls remembers none of them on thread %s', async (thread) => {
    await using store = await openStore({ path: place.store, driver: 'vfs', thread })
    const { signal } = new AbortController()
    const image = place.image([layer().file('f', 'f')])
    for (let i = 0; i < 3; i++) {
      await store.create(place.request({ id: 'a', image, signal }))
      await store.delete('a', { signal })
    }
    // Those that Node keeps in one of its own are symbols.
    const kept = Object.getOwnPropertySymbols(signal)
      .map((key) => (signal as unknown as Record<symbol, { readonly size?: number } | undefined>)[key])
      .filter((value) => (value?.size ?? 0) > 0)
    expect([kept, getEventListeners(signal, 'abort')]).toEqual([[], []])
  })

  it.each(['engine', 'caller'] as const)(
    'in the middle of work on thread %s has the reason of the signal',
    async (thread) => {
      await using store = await openStore({ path: place.store, driver: 'vfs', thread })
      const big = layer()
      for (let i = 0; i < 500; i++) big.file(`f${i}`, Buffer.alloc(30_000, `${i} `))
      const controller = new AbortController()
      const { signal } = controller
      const reason = new DOMException('The operation was aborted due to timeout', 'TimeoutError')
      const onEvent = () => controller.abort(reason)
      const error = await rejectionOf(
        store.create(place.request({ image: place.image([big]), signal, onEvent })),
      )
      expect(error).toMatchObject({ code: 'aborted' })
      expect(error.cause).toBe(reason)
    },
  )
})
