/**
 * Bases and bundles of the btrfs driver as subvolumes: what they share, and that all of them can be taken away.
 */
import { execFileSync } from 'node:child_process'
import {
  appendFileSync,
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  writeFileSync,
} from 'node:fs'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import btrfs from '../../../drivers/btrfs/index.js'
import { byteString } from '../../../lib/bytes.js'
import { deleteStore, type GrootStore, openStore } from '../../../lib/index.js'
import { createSubvolume, setSubvolumeReadOnly } from '../../../lib/linux/btrfs-subvolume.js'
import { layer } from '../../../lib/testkit/layer.js'
import { treeLines } from '../../../lib/testkit/tree-lines.js'
import { Place, sampleLayer } from '../../lib/operations/testing.js'
import { onFilesystemOf, useBtrfs, whyNoBtrfs } from '../../support/btrfs.js'

const why = whyNoBtrfs()
const titled = (title: string) => `${title}${why === null ? '' : ` (${why})`}`

let place: Place
let store: GrootStore

function at<T>(path: string, work: (fd: number) => T): T {
  const fd = openSync(path, 'r')
  try {
    return work(fd)
  } finally {
    closeSync(fd)
  }
}

const bases = () => readdirSync(`${place.store}/drivers/btrfs/bases`).map((id) => treeOf(id))
const treeOf = (id: string) => `${place.store}/drivers/btrfs/bases/${id}/tree`

/** Whether a subvolume began as a snapshot of another. */
function isSnapshot(path: string): boolean {
  const text = execFileSync('btrfs', ['subvolume', 'show', path], { encoding: 'utf8' })
  return !/Parent UUID:\s*-\n/.test(text)
}

describe.skipIf(why !== null)(titled('the btrfs driver'), () => {
  onFilesystemOf('btrfs')

  beforeEach(async () => {
    place = new Place()
    store = await openStore({ path: place.store, driver: 'btrfs', thread: 'caller' })
  })
  afterEach(async () => {
    await store.close()
    place.remove()
  })

  const upper = () =>
    layer()
      .file('large', Buffer.alloc(100_000, 'other'))
      .hardlink('etc/same', 'large')
      .whiteout('link')
      .dir('new')
      .file('new/file', 'new')

  it('starts a base from the nearest that there is, and makes it exact', async () => {
    const image = [sampleLayer(), upper(), layer().whiteout('new').file('last', 'last')]
    const near = await store.create(place.request({ image: place.image(image.slice(0, 1)), id: 'near' }))
    const all = await store.create(place.request({ image: place.image(image), id: 'all' }))
    expect(bases().map(isSnapshot).sort()).toEqual([false, true])
    // Reads every base and compares its digest with that of the tree.
    expect((await store.check()).problems).toEqual([])
    const alone = new Place()
    try {
      await using other = await openStore({ path: alone.store, driver: 'vfs', thread: 'caller' })
      for (const [bundle, layers] of [[near, image.slice(0, 1)] as const, [all, image] as const]) {
        const copy = await other.create(alone.request({ image: alone.image(layers), id: bundle.id }))
        expect(treeLines(bundle.rootfs)).toEqual(treeLines(copy.rootfs))
      }
    } finally {
      alone.remove()
    }
  })

  it('starts a base of other owners from that of the same layers', async () => {
    const image = place.image()
    await store.create(place.request({ image }))
    const ids = [{ containerId: 0, hostId: 100_000, size: 65_536 }]
    await store.create(place.request({ image, id: 'mapped', mapping: { uid: ids, gid: ids } }))
    expect(bases().map(isSnapshot).sort()).toEqual([false, true])
    expect((await store.check()).problems).toEqual([])
  })

  it('makes the whole base where the nearest is gone', async () => {
    await store.create(place.request({ image: place.image([sampleLayer()]), id: 'near' }))
    const [near] = readdirSync(`${place.store}/drivers/btrfs/bases`)
    execFileSync('btrfs', ['subvolume', 'delete', treeOf(near!)])
    await store.create(place.request({ image: place.image([sampleLayer(), upper()]), id: 'all' }))
    expect((await store.check()).problems).toMatchObject([{ code: 'base-missing', name: near }])
  })

  it('finds a base that somebody changed, and makes it again', async () => {
    await store.create(place.request())
    const [tree] = bases()
    expect(() => appendFileSync(`${tree}/large`, 'x')).toThrow(expect.objectContaining({ code: 'EROFS' }))
    at(tree!, (fd) => setSubvolumeReadOnly(fd, false))
    appendFileSync(`${tree}/large`, 'x')
    expect((await store.check()).problems).toMatchObject([{ code: 'base-damaged' }])
    await store.check({ repair: true })
    expect((await store.check()).problems).toEqual([])
  })

  it('removes a bundle with subvolumes in it, read-only ones too', async () => {
    const { rootfs } = await store.create(place.request())
    at(rootfs, (fd) => createSubvolume(fd, byteString('nested')))
    mkdirSync(`${rootfs}/nested/below`)
    at(`${rootfs}/nested/below`, (fd) => createSubvolume(fd, byteString('deeper')))
    writeFileSync(`${rootfs}/nested/below/deeper/file`, 'x')
    at(`${rootfs}/nested/below/deeper`, (fd) => setSubvolumeReadOnly(fd, true))
    at(`${rootfs}/nested`, (fd) => setSubvolumeReadOnly(fd, true))
    at(rootfs, (fd) => setSubvolumeReadOnly(fd, true))
    await store.delete('b1')
    expect(place.contents().bundles).toEqual([])
  })

  it('never removes what is mounted in a bundle, nor takes it off', async () => {
    const { rootfs } = await store.create(place.request())
    at(rootfs, (fd) => createSubvolume(fd, byteString('nested')))
    mkdirSync(`${rootfs}/nested/mounted`)
    execFileSync('mount', ['-t', 'tmpfs', 'groot-test', `${rootfs}/nested/mounted`])
    try {
      writeFileSync(`${rootfs}/nested/mounted/file`, 'kept')
      await expect(store.delete('b1')).rejects.toMatchObject({ code: 'mount-busy' })
      expect(readFileSync(`${rootfs}/nested/mounted/file`, 'utf8')).toBe('kept')
    } finally {
      execFileSync('umount', [`${rootfs}/nested/mounted`])
    }
    await store.delete('b1')
    expect(place.contents().bundles).toEqual([])
  })

  it('removes what killed processes left: half a base, half a bundle, bases without records', async () => {
    await store.create(place.request())
    const [id] = readdirSync(`${place.store}/drivers/btrfs/bases`)
    const lost = `${place.store}/drivers/btrfs/bases/sha256-${'1'.repeat(64)}`
    mkdirSync(lost)
    execFileSync('btrfs', ['subvolume', 'snapshot', '-r', treeOf(id!), `${lost}/tree`])
    mkdirSync(`${place.store}/bundles/half`)
    execFileSync('btrfs', ['subvolume', 'snapshot', treeOf(id!), `${place.store}/bundles/half/rootfs`])
    await store.clean()
    expect(readdirSync(`${place.store}/drivers/btrfs/bases`)).toEqual([id])
    expect(place.contents().bundles).toEqual(['b1'])
  })

  it('makes a base again where a killed process left half of it', async () => {
    const image = place.image()
    await store.create(place.request({ image }))
    const [id] = readdirSync(`${place.store}/drivers/btrfs/bases`)
    await store.delete('b1')
    execFileSync('rm', [
      `${place.store}/bases/${id}.json`,
      `${place.store}/drivers/btrfs/bases/${id}/base.json`,
    ])
    const { rootfs } = await store.create(place.request({ image }))
    expect(existsSync(`${rootfs}/etc/passwd`)).toBe(true)
    expect((await store.check()).problems).toEqual([])
  })

  it('is removed with its store, bases and bundles', async () => {
    const { rootfs } = await store.create(place.request())
    at(rootfs, (fd) => createSubvolume(fd, byteString('nested')))
    await store.close()
    await deleteStore({ path: place.store, force: true })
    expect(existsSync(place.store)).toBe(false)
    store = await openStore({ path: place.store, driver: 'btrfs', thread: 'caller' })
  })

  it('makes a tree of its own for root that ignores owners', async () => {
    const mine = layer().file('theirs', 'x', { uid: 1000, gid: 1000 })
    const { rootfs } = await store.create(
      place.request({ image: place.image([mine]), ignoreOwnership: true }),
    )
    expect(treeLines(rootfs).find((line) => line.includes('theirs'))).toMatch(/ 0:0 |uid=0|0 0/)
  })
})

describe.skipIf(why !== null).each([
  ['with user_subvol_rm_allowed', ['user_subvol_rm_allowed']],
  ['without mount options', []],
])(titled('the btrfs driver for an ordinary user, %s'), (_title, mountOptions) => {
  const path = useBtrfs({ mountOptions })

  it('makes bundles of the caller’s own files, says what it left out, and removes them', async () => {
    mkdirSync(`${path()}/own`, { mode: 0o777 })
    execFileSync('chown', ['1054321', `${path()}/own`])
    execFileSync('chmod', ['755', path()])
    const images = new Place()
    execFileSync('chmod', ['-R', 'a+rX', images.directory])
    try {
      const image = images.image([sampleLayer().file('theirs', 'x', { uid: 7 })])
      execFileSync('chmod', ['-R', 'a+rX', images.directory])
      process.setegid!(1054321)
      process.seteuid!(1054321)
      const events: string[] = []
      const probe = await btrfs.probe({ directory: `${path()}/own`, effectiveUid: 1054321 }, null)
      expect(probe.usable).toBe(true)
      expect(readdirSync(`${path()}/own`)).toEqual([])
      await using own = await openStore({ path: `${path()}/own/store`, driver: 'btrfs', thread: 'caller' })
      const { rootfs } = await own.create({
        image,
        id: 'b1',
        ignoreOwnership: true,
        onEvent: (event) => void (event.kind === 'warning' && events.push(event.code)),
      })
      expect(events).toContain('owner-left-out')
      expect(readFileSync(`${rootfs}/theirs`, 'utf8')).toBe('x')
      at(rootfs, (fd) => createSubvolume(fd, byteString('nested')))
      expect((await own.stats('b1')).disk_usage.total_bytes_used).toBeGreaterThan(200_000)
      await expect(own.create({ image, id: 'b2' })).rejects.toMatchObject({ code: 'ownership-unsupported' })
      const limited = { image, id: 'b3', ignoreOwnership: true, diskLimitSizeBytes: 10_000_000 }
      await expect(own.create(limited)).rejects.toMatchObject({ code: 'quota-unsupported' })
      await own.delete('b1')
      await own.clean({ thresholdBytes: 0 })
      expect(readdirSync(`${path()}/own/store/drivers/btrfs/bases`)).toEqual([])
      expect(readdirSync(`${path()}/own/store/bundles`)).toEqual([])
    } finally {
      process.seteuid!(0)
      process.setegid!(0)
      images.remove()
    }
  })
})
