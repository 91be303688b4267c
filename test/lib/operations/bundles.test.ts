import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type CreateRequest, type GrootEvent, type GrootStore, openStore } from '../../../lib/index.js'
import { layer } from '../../../lib/testkit/layer.js'
import { treeLines } from '../../../lib/testkit/tree-lines.js'
import { onFilesystemOf } from '../../support/btrfs.js'
import { DRIVERS } from '../../support/mounts.js'
import { AS_ROOT, EMPTY, Place, sampleLayer } from './testing.js'

describe.each(DRIVERS)('with the driver %s', (driver) => {
  onFilesystemOf(driver)
  let place: Place
  let store: GrootStore
  beforeEach(async () => {
    place = new Place()
    store = await openStore({ path: place.store, driver, thread: 'caller' })
  })
  afterEach(async () => {
    await store.close()
    place.remove()
  })

  const digests = (events: GrootEvent[], kind: string) => events.filter((event) => event.kind === kind)

  describe('create', () => {
    it('makes a bundle of image.json, config.json and rootfs, and says where', async () => {
      const image = place.image([sampleLayer()], {
        User: 'web',
        Env: ['A=1'],
        Cmd: ['/bin/x'],
        Labels: { l: 'v' },
      })
      const info = await store.create(place.request({ image }))
      expect(info).toEqual({
        id: 'b1',
        bundle: `${place.store}/bundles/b1`,
        rootfs: `${place.store}/bundles/b1/rootfs`,
        image: {
          reference: expect.stringContaining(image),
          digest: expect.stringMatching(/^sha256:[0-9a-f]{64}$/),
        },
        digest: expect.stringMatching(/^[0-9a-f]{64}$/),
        driver,
        mounts: [],
      })
      const own = driver === 'overlay' ? ['upper', 'work'] : []
      expect(readdirSync(info.bundle).sort()).toEqual(['config.json', 'image.json', 'rootfs', ...own])
      const config = JSON.parse(readFileSync(`${info.bundle}/config.json`, 'utf8'))
      expect(config.process.args).toEqual(['/bin/x'])
      expect(config.process.user).toEqual(
        AS_ROOT
          ? { uid: 1000, gid: 1001, additionalGids: expect.arrayContaining([2000]) }
          : { uid: 0, gid: 0 },
      )
      expect(config.annotations.l).toBe('v')
      expect(config.root).toEqual({ path: 'rootfs', readonly: false })
      expect(JSON.parse(readFileSync(`${info.bundle}/image.json`, 'utf8')).config.User).toBe('web')
      expect(lstatSync(info.bundle).mode & 0o7777).toBe(0o700)
      expect(place.contents()).toEqual({ ...EMPTY, bundles: ['b1'], records: ['b1.json'] })
    })

    it('reads a layer once, however often it is wanted', async () => {
      const image = place.image([sampleLayer(), layer().file('more', 'x')])
      const first: GrootEvent[] = []
      const second: GrootEvent[] = []
      await store.create(place.request({ image, onEvent: (event) => void first.push(event) }))
      await store.create(place.request({ image, id: 'b2', onEvent: (event) => void second.push(event) }))
      expect(digests(first, 'layer-done')).toHaveLength(2)
      expect([digests(second, 'layer-done'), digests(second, 'layer-known')]).toMatchObject([[], [{}, {}]])
      expect(treeLines(`${place.store}/bundles/b1/rootfs`)).toEqual(
        treeLines(`${place.store}/bundles/b2/rootfs`),
      )
    })

    it('takes an image whose layers are the same one twice', async () => {
      const { rootfs } = await store.create(
        place.request({ image: place.image([sampleLayer(), sampleLayer()]) }),
      )
      expect(existsSync(`${rootfs}/large`)).toBe(true)
    })

    it('tells once of a base whose record is damaged', async () => {
      const image = place.image()
      await store.create(place.request({ image }))
      const [record = ''] = readdirSync(`${place.store}/bases`)
      writeFileSync(`${place.store}/bases/${record}`, '{')
      const warnings: string[] = []
      const onEvent = (event: GrootEvent) =>
        void (event.kind === 'warning' && warnings.push(`${event.code} ${event.facts?.base}`))
      await store.create(place.request({ image, id: 'b2', onEvent }))
      expect(warnings).toEqual([`record-damaged ${record.replace('.json', '')}`])
    })

    it('makes a read-only root when asked', async () => {
      const { bundle } = await store.create(place.request({ readOnly: true }))
      expect(JSON.parse(readFileSync(`${bundle}/config.json`, 'utf8')).root.readonly).toBe(true)
    })

    it.each([
      ['/..', '/'],
      ['/a/../b', '/b'],
      ['/./x', '/x'],
      ['/x/.', '/x'],
    ])('starts in %s, whether the root can be written or not', async (WorkingDir, cwd) => {
      const image = place.image([sampleLayer()], { WorkingDir })
      for (const readOnly of [false, true]) {
        const { bundle, rootfs } = await store.create(place.request({ image, readOnly, id: `${readOnly}` }))
        expect(JSON.parse(readFileSync(`${bundle}/config.json`, 'utf8')).process.cwd).toBe(cwd)
        // Where a runtime could not make it.
        if (readOnly && driver === 'overlay') expect(lstatSync(`${rootfs}${cwd}`).isDirectory()).toBe(true)
        await store.delete(`${readOnly}`)
      }
    })

    it('refuses an image that starts where no directory can be', async () => {
      for (const [readOnly, name] of [
        [false, `/${'n'.repeat(256)}`],
        [true, '/long'.repeat(820)],
      ] as const) {
        const image = place.image([sampleLayer()], { WorkingDir: name })
        await expect(store.create(place.request({ image, readOnly }))).rejects.toMatchObject({
          code: 'config-invalid',
          exitStatus: 17,
        })
      }
      expect(place.contents()).toEqual(EMPTY)
    })

    it('fills volumes with what the image has there', async () => {
      const image = place.image([sampleLayer().dir('data').file('data/seed', 'seed')], {
        Volumes: { '/data': {} },
      })
      const { bundle } = await store.create(place.request({ image }))
      const config = JSON.parse(readFileSync(`${bundle}/config.json`, 'utf8'))
      const mount = config.mounts.find((each: { destination: string }) => each.destination === '/data')
      expect(mount).toMatchObject({ type: 'bind', source: 'volumes/0' })
      expect(readFileSync(`${bundle}/${mount.source}/seed`, 'utf8')).toBe('seed')
    })

    it('fills volumes with no more than an image may have, however often they name it', async () => {
      const layers = [layer().dir('data').dir('data/below').file('data/below/file', Buffer.alloc(4000))]
      const create = (id: string, volumes: string[], limits: CreateRequest['limits'] = {}) => {
        const Volumes = Object.fromEntries(volumes.map((volume) => [volume, {}]))
        return store.create(place.request({ id, image: place.image(layers, { Volumes }), limits }))
      }
      for (let i = 0; i < 5; i++) layers[0]!.symlink(`v${i}`, 'data')
      const links = ['/v0', '/v1', '/v2', '/v3', '/v4']
      const nested = ['/data', '/data/below']
      const refused = (volume: string, facts: object) => ({
        code: 'limit-exceeded',
        exitStatus: 17,
        facts: { document: 'config', field: '$.config.Volumes', volume, ...facts },
      })
      await expect(create('b1', links, { maxTotalBytes: 9000 })).rejects.toMatchObject(
        refused('/v2', { bytes: 12_000, limit: 9000 }),
      )
      await expect(create('b1', nested, { maxTotalBytes: 7999 })).rejects.toMatchObject(
        refused('/data/below', { bytes: 8000, limit: 7999 }),
      )
      await expect(create('b1', links, { maxEntries: 14 })).rejects.toMatchObject(
        refused('/v4', { entries: 15, limit: 14 }),
      )
      expect(place.contents()).toEqual(EMPTY)
      await create('b1', links, { maxTotalBytes: 20_000, maxEntries: 15 })
      await create('b2', nested, { maxTotalBytes: 8000 })
    })

    it('keeps large attributes of volumes out of the record of its base', async () => {
      const xattrs = { 'user.large': Buffer.alloc(3000, 1) }
      const image = place.image([layer().dir('plain').dir('large', { xattrs })], {
        Volumes: { '/large': {}, '/plain': {} },
      })
      const { bundle } = await store.create(place.request({ image }))
      const [record = ''] = readdirSync(`${place.store}/bases`)
      const { volumes } = JSON.parse(readFileSync(`${place.store}/bases/${record}`, 'utf8'))
      expect(Object.keys(volumes)).toEqual(['/plain'])
      const again = await store.create(place.request({ image, id: 'b2' }))
      for (const path of [bundle, again.bundle])
        expect(treeLines(`${path}/volumes/0`)[0]).toContain('user.large')
    })

    it('refuses an id that is taken, and leaves its bundle alone', async () => {
      const { rootfs } = await store.create(place.request())
      writeFileSync(`${rootfs}/mine`, 'mine')
      await expect(store.create(place.request())).rejects.toMatchObject({
        code: 'bundle-exists',
        exitStatus: 12,
        facts: { id: 'b1' },
      })
      expect(readFileSync(`${rootfs}/mine`, 'utf8')).toBe('mine')
    })

    it('lets one of two creates of an id win, and the other leaves the winner whole', async () => {
      const image = place.image()
      const results = await Promise.allSettled([1, 2, 3].map(() => store.create(place.request({ image }))))
      const codes = results.map((result) => (result.status === 'fulfilled' ? 'made' : result.reason.code))
      expect(codes.sort()).toEqual(['bundle-exists', 'bundle-exists', 'made'])
      expect(treeLines(`${place.store}/bundles/b1/rootfs`)).toHaveLength(6)
      expect(place.contents()).toEqual({ ...EMPTY, bundles: ['b1'], records: ['b1.json'] })
    })

    it.each(['', '..', 'a/b', 'a\n', 'x'.repeat(129)])(
      'refuses the id %j before anything is touched',
      async (id) => {
        await expect(store.create(place.request({ id, image: 'oci:/nowhere' }))).rejects.toMatchObject({
          code: 'id-invalid',
        })
        expect(place.contents()).toEqual(EMPTY)
      },
    )

    it.each([
      ['oci:/nowhere', 'file-missing'],
      ['ftp://host/x', 'reference-invalid'],
      ['', 'reference-invalid'],
    ])('refuses the image %j', async (image, code) => {
      await expect(store.create(place.request({ image }))).rejects.toMatchObject({ code })
      expect(place.contents()).toEqual(EMPTY)
    })

    it('refuses a user that the image does not have, before it writes a rootfs', async () => {
      const image = place.image([sampleLayer()], { User: 'nobody-here' })
      await expect(store.create(place.request({ image }))).rejects.toMatchObject({ code: 'user-unknown' })
      expect(place.contents()).toEqual(EMPTY)
    })

    it('removes what a killed create left in its place', async () => {
      mkdirSync(`${place.store}/bundles/b1/rootfs/left/over`, { recursive: true })
      symlinkSync('/etc', `${place.store}/bundles/b1/rootfs/etc`)
      const { rootfs } = await store.create(place.request())
      expect(existsSync(`${rootfs}/left`)).toBe(false)
      expect(lstatSync(`${rootfs}/etc`).isDirectory()).toBe(true)
    })

    it.skipIf(AS_ROOT)(
      'without root refuses owners that it cannot give (needs another user than root)',
      async () => {
        const image = place.image([layer().file('a', 'a', { uid: 4242 })])
        await expect(store.create(place.request({ image, ignoreOwnership: false }))).rejects.toMatchObject({
          code: 'ownership-unsupported',
        })
        expect(place.contents()).toEqual(EMPTY)
      },
    )

    it('ends when it is aborted, at any time, and leaves nothing', async () => {
      const many = layer()
      for (let i = 0; i < 400; i++) many.file(`f${i}`, Buffer.alloc(20_000, `${i} `))
      const image = place.image([many])
      await store.create(place.request({ image, id: 'whole' }))
      for (let wait = 0; wait < 40; wait += 4) {
        const signal = AbortSignal.timeout(wait)
        const result = await store.create(place.request({ image, id: 'b1', signal })).catch((error) => error)
        if ('bundle' in result) await store.delete('b1')
        else expect(result).toMatchObject({ code: 'aborted', exitStatus: 130 })
        expect(place.contents()).toEqual({ ...EMPTY, bundles: ['whole'], records: ['whole.json'] })
      }
    })
  })

  describe('delete', () => {
    it('removes all of a bundle, and says whether there was one', async () => {
      const { rootfs, bundle } = await store.create(place.request())
      mkdirSync(`${rootfs}/closed`, { mode: 0 })
      expect(await store.delete('b1')).toEqual({ id: 'b1', existed: true })
      expect(existsSync(bundle)).toBe(false)
      expect(await store.delete('b1')).toEqual({ id: 'b1', existed: false })
      expect(place.contents()).toEqual(EMPTY)
    })

    it('that finishes an earlier one has deleted the bundle, and one that waited for it has not', async () => {
      await store.create(place.request())
      await store.delete('b1')
      mkdirSync(`${place.store}/bundles/b1/rootfs`, { recursive: true })
      writeFileSync(`${place.store}/trash/b1-0123456789ab.json`, '{}')
      writeFileSync(`${place.store}/trash/other-0123456789ab.json`, '{}')
      const answers = await Promise.all([store.delete('b1'), store.delete('b1')])
      expect(answers.map(({ existed }) => existed).sort()).toEqual([false, true])
      expect(place.contents()).toEqual({ ...EMPTY, trash: ['other-0123456789ab.json'] })
    })

    it('finishes what a killed create left', async () => {
      mkdirSync(`${place.store}/bundles/b1/rootfs`, { recursive: true })
      expect(await store.delete('b1')).toEqual({ id: 'b1', existed: false })
      expect(place.contents()).toEqual(EMPTY)
    })

    it('counts what is no directory as no bundle, and leaves it', async () => {
      mkdirSync(`${place.directory}/outside/rootfs`, { recursive: true })
      symlinkSync(`${place.directory}/outside`, `${place.store}/bundles/link`)
      writeFileSync(`${place.store}/bundles/notes.txt`, '')
      for (const id of ['link', 'notes.txt']) {
        expect(await store.delete(id)).toEqual({ id, existed: false })
        await expect(store.create(place.request({ id }))).rejects.toMatchObject({
          code: 'store-unsafe',
          facts: { path: `${place.store}/bundles/${id}`, cause: 'it is not a directory' },
        })
      }
      expect(place.contents()).toEqual({ ...EMPTY, bundles: ['link', 'notes.txt'] })
      expect(readdirSync(`${place.directory}/outside`)).toEqual(['rootfs'])
    })

    it('removes what came into the place of a bundle', async () => {
      const { bundle } = await store.create(place.request())
      const record = readFileSync(`${place.store}/records/b1.json`)
      await store.delete('b1')
      writeFileSync(`${place.store}/records/b1.json`, record)
      mkdirSync(`${place.directory}/outside/rootfs`, { recursive: true })
      symlinkSync(`${place.directory}/outside`, bundle)
      expect(await store.delete('b1')).toEqual({ id: 'b1', existed: true })
      expect(place.contents()).toEqual(EMPTY)
      expect(readdirSync(`${place.directory}/outside`)).toEqual(['rootfs'])
    })

    it('never follows a link out of a bundle', async () => {
      const { rootfs } = await store.create(place.request())
      mkdirSync(`${place.directory}/outside`)
      writeFileSync(`${place.directory}/outside/kept`, 'kept')
      symlinkSync(`${place.directory}/outside`, `${rootfs}/way`)
      await store.delete('b1')
      expect(readFileSync(`${place.directory}/outside/kept`, 'utf8')).toBe('kept')
    })

    it('refuses what is no id', async () => {
      await expect(store.delete('../records')).rejects.toMatchObject({ code: 'id-invalid' })
    })
  })

  describe('list and stats', () => {
    it('show whole bundles only, by id', async () => {
      const image = place.image()
      for (const id of ['b', 'a', 'c']) await store.create(place.request({ image, id }))
      mkdirSync(`${place.store}/bundles/half`)
      expect((await store.list()).map((bundle) => bundle.id)).toEqual(['a', 'b', 'c'])
      const [first] = await store.list()
      expect(first).toMatchObject({
        bundle: `${place.store}/bundles/a`,
        driver,
        createdAt: expect.stringMatching(/^\d{4}-.*Z$/),
      })
    })

    it('report a damaged record and show the rest', async () => {
      await store.create(place.request())
      writeFileSync(`${place.store}/records/bad.json`, '{"format":1')
      const events: GrootEvent[] = []
      const list = await store.list({ onEvent: (event) => void events.push(event) })
      expect(list.map((bundle) => bundle.id)).toEqual(['b1'])
      expect(events).toMatchObject([{ kind: 'warning', code: 'record-damaged', facts: { id: 'bad' } }])
    })

    it("give GrootFS's shape, and count what was written", async () => {
      const { rootfs } = await store.create(place.request())
      const before = (await store.stats('b1')).disk_usage
      writeFileSync(`${rootfs}/written`, Buffer.alloc(1 << 20, 'x'))
      const after = (await store.stats('b1')).disk_usage
      expect(Object.keys(after)).toEqual(['total_bytes_used', 'exclusive_bytes_used'])
      expect(before.total_bytes_used).toBeGreaterThanOrEqual(200_000)
      expect(after.exclusive_bytes_used - before.exclusive_bytes_used).toBeGreaterThanOrEqual(1 << 20)
    })

    it('say that there is no such bundle', async () => {
      await expect(store.stats('b1')).rejects.toMatchObject({ code: 'bundle-missing', exitStatus: 13 })
    })
  })

  describe('check', () => {
    const objectPath = () => {
      const prefix = readdirSync(`${place.store}/objects`)[0]!
      return `${place.store}/objects/${prefix}/${readdirSync(`${place.store}/objects/${prefix}`)[0]}`
    }
    const flip = (path: string) => {
      const bytes = readFileSync(path)
      bytes[bytes.length >> 1]! ^= 1
      chmodSync(path, 0o644)
      writeFileSync(path, bytes)
    }

    it('finds nothing wrong in a good store, and says what it read', async () => {
      await store.create(place.request())
      expect(await store.check()).toMatchObject({
        objects: 1,
        layers: 1,
        images: 2,
        bundles: 1,
        problems: [],
      })
    })

    it('finds a flipped bit in an object, and in each layer that needs it', async () => {
      await store.create(place.request())
      flip(objectPath())
      const { problems } = await store.check()
      expect(problems.map(({ what, code }) => `${what} ${code}`)).toEqual([
        'layer diff-id-mismatch',
        'object object-damaged',
      ])
    })

    it('finds a flipped bit in a layer record', async () => {
      await store.create(place.request())
      flip(`${place.store}/layers/${readdirSync(`${place.store}/layers`)[0]}`)
      expect((await store.check()).problems).toMatchObject([{ what: 'layer', code: 'layer-damaged' }])
    })

    it('tells of what is no directory where one should be, and mends none', async () => {
      await store.create(place.request())
      mkdirSync(`${place.directory}/outside/rootfs`, { recursive: true })
      symlinkSync(`${place.directory}/outside`, `${place.store}/bundles/link`)
      writeFileSync(`${place.store}/bundles/notes.txt`, '')
      const prefix = ['aa', 'bb'].find((name) => !existsSync(`${place.store}/objects/${name}`))!
      writeFileSync(`${place.store}/objects/${prefix}`, '')
      const { problems } = await store.check({ repair: true })
      expect(problems.map(({ what, code, name, repaired }) => ({ what, code, name, repaired }))).toEqual([
        { what: 'bundle', code: 'stray-file', name: 'link', repaired: false },
        { what: 'bundle', code: 'stray-file', name: 'notes.txt', repaired: false },
        { what: 'object', code: 'stray-file', name: prefix, repaired: false },
      ])
      expect(problems.map(({ remedy }) => remedy)).toEqual(
        Array(3).fill('nothing is known that would mend it'),
      )
      expect(readdirSync(`${place.directory}/outside`)).toEqual(['rootfs'])
    })

    it('finds a missing object, an altered document, an altered image.json, a missing rootfs, an orphan and a stray file', async () => {
      const { bundle } = await store.create(place.request())
      const image = place.image([sampleLayer().file('other', Buffer.alloc(1000, 'o'))])
      await store.create(place.request({ image, id: 'b2' }))
      writeFileSync(`${bundle}/image.json`, '{}')
      mkdirSync(`${place.store}/bundles/orphan`)
      writeFileSync(`${place.store}/layers/stray`, '')
      writeFileSync(`${place.store}/records/bad.json`, '')
      const found = (await store.check()).problems.map(({ what, code, name }) => `${what} ${code} ${name}`)
      expect(found).toEqual([
        'bundle bundle-altered b1',
        'bundle record-damaged bad',
        'bundle bundle-orphan orphan',
        'layer stray-file stray',
      ])
      expect((await store.list()).map((each) => each.id)).toEqual(['b1', 'b2'])
    })
  })
})
