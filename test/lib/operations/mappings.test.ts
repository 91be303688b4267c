import { existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { byteString, toBytes } from '../../../lib/bytes.js'
import {
  type CreateRequest,
  type GrootEvent,
  type GrootStore,
  type IdMappingRequest,
  initStore,
  openStore,
  parseIdRange,
} from '../../../lib/index.js'
import { pathString } from '../../../lib/linux/c-string.js'
import { close, openDirectory } from '../../../lib/linux/files.js'
import { xattrsAt } from '../../../lib/linux/xattr.js'
import { layer } from '../../../lib/testkit/layer.js'
import { treeLines } from '../../../lib/testkit/tree-lines.js'
import { onFilesystemOf } from '../../support/btrfs.js'
import { DRIVERS } from '../../support/mounts.js'
import { AS_ROOT, EMPTY, Place, sampleLayer } from './testing.js'

const mapping = (uid: string, gid = uid): IdMappingRequest => ({
  uid: uid.split(',').map((each) => parseIdRange(each, 'uid-mapping')),
  gid: gid.split(',').map((each) => parseIdRange(each, 'gid-mapping')),
})
const ONE = mapping('0:100000:65536')
const TWO = mapping('0:200000:1000,1000:500000:64536')
/** What the mappings do to an id, said in another way than the mapping says it. */
const HOST_IDS = {
  one: (id: number) => id + 100_000,
  two: (id: number) => (id < 1000 ? id + 200_000 : id + 499_000),
}

/** Owners of every kind, two names of one file, and modes that a change of owner would spoil. */
const ownedLayer = () =>
  sampleLayer()
    .dir('./', { uid: 0, gid: 0, mode: 0o755 })
    .dir('home/web', { uid: 1000, gid: 1001, mode: 0o2750 })
    .file('home/web/setuid', 'set-user-id', { uid: 999, gid: 1000, mode: 0o6755 })
    .hardlink('home/web/again', 'home/web/setuid')
    .symlink('home/web/link', '/etc', { uid: 1, gid: 65_535 })
    .fifo('fifo', { uid: 65_535, gid: 0 })
    .char('null', 1, 3, { uid: 0, gid: 5, mode: 0o666 })
    .file('nobody', 'x'.repeat(5000), { uid: 65_534, gid: 65_534 })

let place: Place
let store: GrootStore
let events: GrootEvent[]
beforeEach(() => {
  place = new Place()
  events = []
})
afterEach(async () => {
  await store?.close()
  place.remove()
})
const open = async (driver: string) => {
  store = await openStore({ path: place.store, driver, thread: 'caller' })
}
const create = (change: Partial<CreateRequest>) =>
  store.create({ ...place.request(change), onEvent: (event) => events.push(event) })
const warnings = () => events.flatMap((event) => (event.kind === 'warning' ? [event.code] : []))
const withOwners = (lines: readonly string[], map: (id: number) => number) =>
  lines.map((line) =>
    line.replace(/ (\d+):(\d+) /, (_, uid, gid) => ` ${map(Number(uid))}:${map(Number(gid))} `),
  )
const bases = () => readdirSync(`${place.store}/bases`).sort()
const baseIds = () => bases().map((name) => name.slice(0, -'.json'.length))

describe.skipIf(!AS_ROOT).each(DRIVERS)('a mapped rootfs of the driver %s (needs root)', (driver) => {
  onFilesystemOf(driver)
  beforeEach(() => open(driver))

  it('is the tree of the image with the owners of the host, all else the same', async () => {
    const image = place.image([ownedLayer()])
    const plain = await create({ image })
    const one = await create({ image, id: 'b2', mapping: ONE })
    const two = await create({ image, id: 'b3', mapping: TWO })
    const lines = treeLines(plain.rootfs)
    expect(treeLines(one.rootfs)).toEqual(withOwners(lines, HOST_IDS.one))
    expect(treeLines(two.rootfs)).toEqual(withOwners(lines, HOST_IDS.two))
    expect([one.digest, two.digest]).toEqual([plain.digest, plain.digest])
    expect(await store.digest(place.request({ image }))).toMatchObject({ digest: plain.digest })
  })

  it('shares its contents, and adds no more than a base', async () => {
    const image = place.image([ownedLayer()])
    await create({ image, mapping: ONE })
    const objects = readdirSync(`${place.store}/objects`, { recursive: true }).sort()
    await create({ image, id: 'b2', mapping: TWO })
    expect(readdirSync(`${place.store}/objects`, { recursive: true }).sort()).toEqual(objects)
    const [one = '', two = ''] = baseIds()
    expect(one.slice(0, 71)).toBe(two.slice(0, 71))
    expect(bases()).toHaveLength(2)
  })

  it('demands the digest that the image has without mapping', async () => {
    const image = place.image([ownedLayer()])
    const { digest } = await store.digest(place.request({ image }))
    await create({ image, mapping: ONE, expectDigest: digest })
    await expect(
      create({ image, id: 'b2', mapping: ONE, expectDigest: 'ab'.repeat(32) }),
    ).rejects.toMatchObject({
      code: 'digest-unexpected',
      facts: { found: digest },
    })
  })

  it('may be reached by root of its container, and by nobody else', async () => {
    const { bundle } = await create({
      image: place.image([sampleLayer()], { Volumes: { '/data': {} } }),
      mapping: TWO,
    })
    const owner = (path: string) => {
      const { uid, gid, mode } = statSync(path)
      return [uid, gid, (mode & 0o7777).toString(8)]
    }
    expect(owner(bundle)).toEqual([0, 200_000, '710'])
    expect(owner(`${bundle}/volumes`)).toEqual([0, 200_000, '710'])
    expect(owner(`${bundle}/volumes/0`)).toEqual([200_000, 200_000, '755'])
    expect(owner(`${bundle}/config.json`)).toEqual([0, 0, '644'])
    expect(owner(`${bundle}/image.json`)).toEqual([0, 0, '644'])
  })

  it('has volumes that begin with what the image has there, mapped', async () => {
    const image = place.image([ownedLayer()], { Volumes: { '/home/web': {} } })
    const { bundle, rootfs } = await create({ image, mapping: TWO })
    expect(treeLines(`${bundle}/volumes/0`)).toEqual(treeLines(`${rootfs}/home/web`))
    const again = await create({ image, id: 'b2', mapping: TWO })
    expect(treeLines(`${again.bundle}/volumes/0`)).toEqual(treeLines(`${rootfs}/home/web`))
  })

  it('has a config.json with the user namespace and its maps', async () => {
    const { bundle } = await create({ mapping: { ...TWO, gid: ONE.gid } })
    const { linux, mounts } = JSON.parse(readFileSync(`${bundle}/config.json`, 'utf8'))
    expect(linux.namespaces).toContainEqual({ type: 'user' })
    expect(linux.uidMappings).toEqual([
      { containerID: 0, hostID: 200_000, size: 1000 },
      { containerID: 1000, hostID: 500_000, size: 64_536 },
    ])
    expect(linux.gidMappings).toEqual([{ containerID: 0, hostID: 100_000, size: 65_536 }])
    const pts = mounts.find((each: { destination: string }) => each.destination === '/dev/pts')
    expect(pts.options).toContain('gid=5')
  })

  it('has ids mapped in access lists, and capabilities that count in its namespaces only', async () => {
    const acl = (uid: string, gid: string) =>
      Buffer.from(
        `0200000001000600ffffffff02000400${uid}04000400ffffffff08000400${gid}10000400ffffffff20000400ffffffff`,
        'hex',
      )
    const sets = '0004000000000000000000000000000000000000'.slice(8)
    const image = place.image([
      layer()
        .file('acl', 'x', { mode: 0o644, xattrs: { 'system.posix_acl_access': acl('e8030000', '07000000') } })
        .file('capable', 'x', { xattrs: { 'security.capability': Buffer.from(`01000002${sets}`, 'hex') } })
        .file('capable-of', 'x', {
          xattrs: { 'security.capability': Buffer.from(`01000003${sets}05000000`, 'hex') },
        }),
    ])
    const { rootfs } = await create({ image, mapping: TWO })
    const fd = openDirectory(pathString(rootfs))
    const value = (file: string, name: string) =>
      toBytes(xattrsAt(fd, byteString(file)).get(byteString(name))!).toString('hex')
    try {
      expect(value('acl', 'system.posix_acl_access')).toBe(acl('20a10700', '470d0300').toString('hex'))
      expect(value('capable', 'security.capability')).toBe(`01000003${sets}400d0300`)
      expect(value('capable-of', 'security.capability')).toBe(`01000003${sets}450d0300`)
    } finally {
      close(fd)
    }
  })

  it('is refused for an owner without an id, by name, and leaves nothing', async () => {
    const image = place.image([layer().file('home/far', 'x', { uid: 70_000 })])
    await expect(create({ image, mapping: ONE })).rejects.toMatchObject({
      code: 'id-unmapped',
      exitStatus: 17,
      facts: { entry: 'home/far', kind: 'uid', id: 70_000, ranges: '0:100000:65536' },
    })
    expect(place.contents()).toEqual(EMPTY)
    expect(bases()).toEqual([])
    const { rootfs } = await create({ image, mapping: { ...ONE, unmapped: 'squash' } })
    expect(statSync(`${rootfs}/home/far`)).toMatchObject({ uid: 165_534, gid: 100_000 })
  })

  it.each([
    ['70000', 'uid', 70_000],
    ['0:70000', 'gid', 70_000],
  ])('is refused for the user %s of an image, also where files would be squashed', async (User, kind, id) => {
    const image = place.image([sampleLayer()], { User })
    await expect(create({ image, mapping: { ...ONE, unmapped: 'squash' } })).rejects.toMatchObject({
      code: 'id-unmapped',
      facts: { entry: null, kind, id },
    })
    expect(place.contents()).toEqual(EMPTY)
  })

  it('is not to be had together with ignored owners', async () => {
    await expect(create({ mapping: ONE, ignoreOwnership: true })).rejects.toMatchObject({
      code: 'option-invalid',
      message: expect.stringContaining('--ignore-ownership together'),
      facts: { option: 'ignore-ownership' },
    })
  })

  it('is refused for a mapping that cannot be, before anything is fetched', async () => {
    await expect(
      create({ image: 'oci:/nowhere:at-all', mapping: { ...ONE, gid: [] } }),
    ).rejects.toMatchObject({
      code: 'option-invalid',
      facts: { option: 'gid-mapping' },
    })
  })

  it('is made of a base that a pull with the same mapping has made', async () => {
    const image = place.image([ownedLayer()])
    const pulled = await store.pull(place.request({ image, mapping: TWO }))
    const made = await create({ image, mapping: TWO })
    expect(events.filter(({ kind }) => kind === 'base-ready')).toEqual([])
    expect(made.digest).toBe(pulled.digest)
    await create({ image, id: 'b2', mapping: ONE })
    expect(events.filter(({ kind }) => kind === 'base-ready')).toHaveLength(1)
  })

  it('keeps its base from being cleaned, which others of the image do not', async () => {
    const image = place.image([ownedLayer()])
    await create({ image, mapping: TWO })
    const used = baseIds()
    await store.pull(place.request({ image, mapping: ONE }))
    await store.pull(place.request({ image }))
    expect(baseIds()).toHaveLength(3)
    await store.clean()
    expect(baseIds()).toEqual(used)
    await store.pull(place.request({ image, mapping: ONE }))
    await store.delete('b1')
    await store.clean({ keep: [image] })
    expect(baseIds()).toHaveLength(2)
    await store.clean()
    expect(baseIds()).toEqual([])
  })

  it('is one of those that a pin of the image keeps the bases of', async () => {
    const image = place.image([ownedLayer()])
    await store.pull(place.request({ image, mapping: TWO }))
    await store.pull(place.request({ image }))
    const both = baseIds()
    const { image: pinned } = await store.pin(image)
    await store.clean()
    expect(baseIds()).toEqual(both)
    await store.unpin(pinned)
    await store.clean()
    expect(baseIds()).toEqual([])
  })

  it('keeps its base also when its record is damaged', async () => {
    await create({ image: place.image([ownedLayer()]), mapping: TWO })
    const used = baseIds()
    writeFileSync(`${place.store}/records/b1.json`, '{')
    await store.clean()
    expect(baseIds()).toEqual(used)
  })

  it('is checked, and its base made again with the same mapping', async () => {
    const image = place.image([ownedLayer()])
    const { rootfs } = await create({ image, mapping: TWO })
    expect((await store.check()).problems).toEqual([])
    const lines = treeLines(rootfs)
    const [id = ''] = baseIds()
    const record = readFileSync(`${place.store}/bases/${id}.json`, 'utf8')
    writeFileSync(`${place.store}/bases/${id}.json`, '{')
    const { problems } = await store.check({ repair: true })
    expect(problems).toMatchObject([{ code: 'record-damaged', what: 'base', name: id, repaired: true }])
    const { createdAt: _, ...mended } = JSON.parse(readFileSync(`${place.store}/bases/${id}.json`, 'utf8'))
    expect(JSON.parse(record)).toMatchObject(mended)
    await store.unmount('b1')
    await store.mount('b1')
    expect(treeLines(rootfs)).toEqual(lines)
  })

  it('that no bundle has any more has no base after a repair', async () => {
    const image = place.image([ownedLayer()])
    await store.pull(place.request({ image, mapping: TWO }))
    const [id = ''] = baseIds()
    writeFileSync(`${place.store}/bases/${id}.json`, '{')
    const { problems } = await store.check({ repair: true })
    expect(problems).toMatchObject([{ what: 'base', name: id, repaired: true }])
    expect(baseIds()).toEqual([])
    await create({ image, mapping: TWO })
    expect(baseIds()).toEqual([id])
  })

  it('of a version without mappings is read as one without', async () => {
    const image = place.image([ownedLayer()])
    const { rootfs, digest } = await create({ image })
    const lines = treeLines(rootfs)
    for (const path of [`records/b1.json`, `bases/${bases()[0]}`]) {
      const {
        mapping: _,
        rootfsDigest: __,
        ...rest
      } = JSON.parse(readFileSync(`${place.store}/${path}`, 'utf8'))
      writeFileSync(`${place.store}/${path}`, JSON.stringify(rest))
    }
    await store.close()
    await open(driver)
    expect(await store.list()).toMatchObject([{ id: 'b1', digest }])
    expect((await store.check()).problems).toEqual([])
    await store.unmount('b1')
    await store.mount('b1')
    expect(treeLines(rootfs)).toEqual(lines)
    expect(treeLines((await create({ image, id: 'b2' })).rootfs)).toEqual(lines)
    expect(events.filter(({ kind }) => kind === 'base-ready')).toHaveLength(1)
  })

  it('warns where a directory above the store is closed to its root', async () => {
    await create({ mapping: ONE })
    // What mkdtemp(3) makes has mode 0700.
    expect(warnings()).toEqual(['mapping-unreachable'])
    expect(events.find(({ kind }) => kind === 'warning')).toMatchObject({
      facts: { path: place.directory, uid: 100_000, gid: 100_000 },
    })
  })
})

describe.skipIf(!AS_ROOT)('a mapped rootfs that is mounted (needs root)', () => {
  beforeEach(() => open('overlay'))

  it('adds the size of its image to the store, whatever the image holds', async () => {
    const image = place.image([ownedLayer().file('big', Buffer.alloc(5_000_000, 'big'))])
    await create({ image, mapping: ONE })
    const bytes = (directory: string) =>
      readdirSync(`${place.store}/${directory}`, { recursive: true, withFileTypes: true })
        .filter((each) => each.isFile())
        .reduce((sum, each) => sum + statSync(`${each.parentPath}/${each.name}`).size, 0)
    const before = { objects: bytes('objects'), layers: bytes('layers'), driver: bytes('drivers') }
    await create({ image, id: 'b2', mapping: TWO })
    expect({ objects: bytes('objects'), layers: bytes('layers') }).toEqual({
      objects: before.objects,
      layers: before.layers,
    })
    expect(bytes('drivers') - before.driver).toBeLessThan(30_000)
  })

  it('has its top and its upper directory of its root, and keeps what was written', async () => {
    const { rootfs, bundle } = await create({ mapping: ONE })
    expect(statSync(rootfs)).toMatchObject({ uid: 100_000, gid: 100_000 })
    expect(statSync(`${bundle}/upper`)).toMatchObject({ uid: 100_000, gid: 100_000 })
    expect(statSync(`${bundle}/work`)).toMatchObject({ uid: 0, gid: 0 })
    writeFileSync(`${rootfs}/large`, 'changed')
    const lines = treeLines(rootfs)
    await store.unmount('b1')
    await store.mount('b1')
    expect(treeLines(rootfs)).toEqual(lines)
  })

  it('has mount points of its root where nobody may write', async () => {
    const { rootfs } = await create({ mapping: TWO, readOnly: true })
    for (const name of ['proc', 'sys', 'dev'])
      expect(statSync(`${rootfs}/${name}`)).toMatchObject({ uid: 200_000, gid: 200_000 })
  })

  it('is not left to the runtime, which could not mount it', async () => {
    await expect(create({ mapping: ONE, withoutMount: true })).rejects.toMatchObject({
      code: 'option-invalid',
      facts: { option: 'without-mount' },
    })
  })

  it('is found damaged by a check when its image is, and mended', async () => {
    await create({ mapping: ONE })
    const [id = ''] = baseIds()
    const path = `${place.store}/drivers/overlay/bases/${id}/image`
    const image = readFileSync(path)
    rmSync(path)
    writeFileSync(path, image.fill(1, 2000, 2001))
    expect((await store.check()).problems).toMatchObject([{ code: 'base-damaged', name: id }])
    await store.check({ repair: true })
    expect((await store.check()).problems).toEqual([])
    expect(baseIds()).toEqual([id])
  })
})

describe.skipIf(!AS_ROOT)('a store with a mapping (needs root)', () => {
  const init = () => initStore({ path: place.store, driver: 'vfs', mapping: TWO })

  it('has it for every create that does not say otherwise', async () => {
    await init()
    await open('vfs')
    const image = place.image([sampleLayer()])
    const uidOf = async (id: string, change: Partial<CreateRequest>) =>
      statSync((await create({ image, id, ...change })).rootfs).uid
    expect(await uidOf('b1', {})).toBe(200_000)
    expect(await uidOf('b2', { mapping: ONE })).toBe(100_000)
    expect(await uidOf('b3', { mapping: null })).toBe(0)
    await store.pull(place.request({ image }))
    expect(events.filter(({ kind }) => kind === 'base-ready')).toHaveLength(3)
  })

  it('says so in store.json, so that a version without mappings changes nothing there', async () => {
    await init()
    const descriptor = JSON.parse(readFileSync(`${place.store}/store.json`, 'utf8'))
    expect(descriptor).toMatchObject({
      mapping: { ...TWO, unmapped: 'refuse' },
      features: { compatible: [], readOnlyCompatible: ['id-mapping'], incompatible: [] },
    })
  })

  it('is refused when its mapping cannot be', async () => {
    await expect(initStore({ path: place.store, mapping: { ...TWO, uid: [] } })).rejects.toMatchObject({
      code: 'option-invalid',
    })
    expect(existsSync(place.store)).toBe(false)
    await init()
    const descriptor = JSON.parse(readFileSync(`${place.store}/store.json`, 'utf8'))
    descriptor.mapping.uid[1].hostId = 200_000
    writeFileSync(`${place.store}/store.json`, JSON.stringify(descriptor))
    await expect(open('vfs')).rejects.toMatchObject({ code: 'store-invalid' })
  })
})

describe.skipIf(AS_ROOT)('without root', () => {
  it('nothing is mapped, and it is said why', async () => {
    await open('vfs')
    await expect(create({ mapping: ONE, ignoreOwnership: false })).rejects.toMatchObject({
      code: 'mapping-unsupported',
      exitStatus: 19,
    })
  })
})
