import { existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type GrootStore, initStore, openStore } from '../../../lib/index.js'
import { isMountPoint } from '../../../lib/linux/mount-points.js'
import { layer } from '../../../lib/testkit/layer.js'
import { treeLines } from '../../../lib/testkit/tree-lines.js'
import { AS_ROOT, EMPTY, Place, sampleLayer } from './testing.js'

let place: Place
let store: GrootStore
beforeEach(async () => {
  place = new Place()
})
afterEach(async () => {
  await store?.close()
  place.remove()
})
const open = async (driver: string) => {
  store = await openStore({ path: place.store, driver, thread: 'caller' })
}

describe.skipIf(!AS_ROOT)('a rootfs that is mounted (needs root)', () => {
  beforeEach(() => open('overlay'))

  it('is the only thing that is mounted, and is gone with its bundle', async () => {
    const before = mounts()
    const { rootfs } = await store.create(place.request())
    expect(mounts()).toHaveLength(before.length + 1)
    expect(isMountPoint(rootfs)).toBe(true)
    await store.delete('b1')
    expect(mounts()).toEqual(before)
  })

  it('keeps what was written over unmount and mount, each of which may be said twice', async () => {
    const { rootfs } = await store.create(place.request())
    writeFileSync(`${rootfs}/large`, 'changed')
    const lines = treeLines(rootfs)
    expect(await store.mount('b1')).toEqual({ id: 'b1', changed: false })
    expect(await store.unmount('b1')).toEqual({ id: 'b1', changed: true })
    expect(await store.unmount('b1')).toEqual({ id: 'b1', changed: false })
    expect(readdirSync(rootfs)).toEqual([])
    expect(await store.mount('b1')).toEqual({ id: 'b1', changed: true })
    expect(treeLines(rootfs)).toEqual(lines)
  })

  it('is refused to be deleted while somebody is in it, and the next delete finishes', async () => {
    const { rootfs, bundle } = await store.create(place.request())
    const before = process.cwd()
    process.chdir(rootfs)
    try {
      await expect(store.delete('b1')).rejects.toMatchObject({ code: 'mount-busy', exitStatus: 11 })
    } finally {
      process.chdir(before)
    }
    await store.delete('b1')
    expect(existsSync(bundle)).toBe(false)
  })

  it('shares contents between images, and never hands them to writers', async () => {
    const content = Buffer.alloc(300_000, 'shared ')
    const one = await store.create(place.request({ image: place.image([layer().file('a', content)]) }))
    const other = await store.create(
      place.request({ image: place.image([layer().file('b', content).file('c', 'x')]), id: 'b2' }),
    )
    const [prefix = ''] = readdirSync(`${place.store}/objects`)
    const object = `${place.store}/objects/${prefix}/${readdirSync(`${place.store}/objects/${prefix}`)[0]}`
    expect(statSync(object).nlink).toBe(1)
    writeFileSync(`${one.rootfs}/a`, 'mine now')
    expect(readFileSync(object).equals(content)).toBe(true)
    expect(readFileSync(`${other.rootfs}/b`).equals(content)).toBe(true)
    expect((await store.stats('b1')).disk_usage.exclusive_bytes_used).toBeLessThan(100_000)
  })

  it('mounts an image of 300 layers as one of one', async () => {
    const layers = Array.from({ length: 300 }, (_, i) => layer().file(`f${i}`, `content ${i}`))
    const { rootfs } = await store.create(place.request({ image: place.image(layers) }))
    expect(readdirSync(rootfs)).toHaveLength(300)
    const line = mounts().find((each) => each.includes(` ${rootfs} `))!
    expect(line.match(/lowerdir\+=/g)).toHaveLength(1)
    expect(line.match(/datadir\+=/g)).toHaveLength(1)
  })

  it('without upper directory cannot be written to', async () => {
    const { rootfs, bundle } = await store.create(place.request({ readOnly: true }))
    expect(() => writeFileSync(`${rootfs}/new`, '')).toThrow(expect.objectContaining({ code: 'EROFS' }))
    // The image has no /proc: a runtime needs one, and could not make it.
    expect(readdirSync(bundle).sort()).toEqual(['config.json', 'image.json', 'points', 'rootfs'])
    expect(readdirSync(rootfs).sort()).toEqual(['dev', 'etc', 'large', 'link', 'proc', 'sys'])
    expect(statSync(`${rootfs}/etc`).mode & 0o7777).toBe(0o755)
  })

  it('without upper directory may have a working directory that can be named within it only', async () => {
    const WorkingDir = '/n'.repeat(2047)
    const image = place.image([layer().dir('proc').dir('sys').dir('dev').dir(WorkingDir.slice(1))], {
      WorkingDir,
    })
    const { bundle } = await store.create(place.request({ image, readOnly: true }))
    expect(JSON.parse(readFileSync(`${bundle}/config.json`, 'utf8')).process.cwd).toBe(WorkingDir)
    expect(readdirSync(bundle).sort()).toEqual(['config.json', 'image.json', 'rootfs'])
  })

  it('is left to the runtime when asked, with mounts in config.json', async () => {
    const made = await store.create(place.request({ withoutMount: true }))
    expect(isMountPoint(made.rootfs)).toBe(false)
    expect(made.mounts.map(({ destination, type }) => [destination, type])).toEqual([
      ['/', 'erofs'],
      ['/', 'overlay'],
    ])
    const { mounts: written } = JSON.parse(readFileSync(`${made.bundle}/config.json`, 'utf8'))
    expect(written.slice(0, 2)).toEqual(made.mounts)
    await expect(store.mount('b1')).rejects.toMatchObject({ code: 'option-invalid' })
    expect((await store.list())[0]?.mounts).toEqual(made.mounts)
  })

  it('says why it cannot demand fs-verity where there is none', async () => {
    const result = await store.create(place.request({ verity: 'require' })).catch((error) => error)
    if ('bundle' in result) return
    expect(result).toMatchObject({ code: 'verity-unsupported', exitStatus: 19 })
    expect(place.contents()).toEqual(EMPTY)
  })
})

describe('the digest of a tree', () => {
  it('is the same with every driver, for create and for digest, and whatever the layers', async () => {
    const image = place.image([sampleLayer(), layer().file('more', 'x')])
    await open('vfs')
    const asked = await store.digest(place.request({ image }))
    const made = await store.create(place.request({ image }))
    expect(made.digest).toBe(asked.digest)
    expect((await store.stats('b1')).digest).toBe(asked.digest)
    expect((await store.list())[0]?.digest).toBe(asked.digest)
    await store.close()
    if (AS_ROOT) {
      store = await openStore({ path: `${place.directory}/other`, driver: 'overlay', thread: 'caller' })
      expect((await store.create(place.request({ image }))).digest).toBe(asked.digest)
    }
    const other = await store.digest(place.request({ image: place.image([sampleLayer()]) }))
    expect(other.digest).not.toBe(asked.digest)
  })

  it.each(AS_ROOT ? ['vfs', 'overlay'] : ['vfs'])('is demanded of %s', async (driver) => {
    await open(driver)
    const image = place.image()
    const { digest } = await store.digest(place.request({ image }))
    await expect(store.create(place.request({ image, expectDigest: 'ab'.repeat(32) }))).rejects.toMatchObject(
      {
        code: 'digest-unexpected',
        exitStatus: 16,
        facts: { expected: 'ab'.repeat(32), found: digest },
      },
    )
    expect(place.contents()).toEqual(EMPTY)
    await expect(store.create(place.request({ image, expectDigest: 'ab' }))).rejects.toMatchObject({
      code: 'option-invalid',
    })
    expect(await store.create(place.request({ image, expectDigest: digest.toUpperCase() }))).toMatchObject({
      digest,
    })
  })

  it.skipIf(!AS_ROOT)('needs no driver that works (needs root)', async () => {
    await initStore({ path: place.store, driver: 'overlay' })
    const descriptor = JSON.parse(readFileSync(`${place.store}/store.json`, 'utf8'))
    descriptor.driverOptions = { verity: 'require' }
    writeFileSync(`${place.store}/store.json`, JSON.stringify(descriptor))
    rmSync(`${place.store}/drivers/overlay`, { recursive: true, force: true })
    await open('overlay')
    const image = place.image()
    expect((await store.digest(place.request({ image }))).digest).toMatch(/^[0-9a-f]{64}$/)
    expect(await store.list()).toEqual([])
    const created = await store.create(place.request({ image })).catch((error) => error.code)
    expect(['driver-unusable', 'verity-unsupported']).toContain(created)
  })
})

function mounts(): string[] {
  // Other tests mount too, elsewhere.
  const table = readFileSync('/proc/self/mountinfo', 'utf8').trim().split('\n')
  return table.filter((line) => line.includes(` ${place.directory}/`))
}
