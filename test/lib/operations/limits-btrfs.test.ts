/**
 * Disk limits of drivers that know nothing of btrfs, in a store on btrfs: its simple quotas hold them.
 */
import { execFileSync } from 'node:child_process'
import { closeSync, existsSync, openSync, readdirSync, rmSync, writeFileSync, writeSync } from 'node:fs'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { isErrno } from '../../../lib/errors.js'
import { type GrootStore, openStore } from '../../../lib/index.js'
import { layer } from '../../../lib/testkit/layer.js'
import { treeLines } from '../../../lib/testkit/tree-lines.js'
import { onFilesystemOf, whyNoBtrfs } from '../../support/btrfs.js'
import { Place } from './testing.js'

const MiB = 1024 * 1024
const why = whyNoBtrfs()

/** Writes until it fails. @returns bytes that were written, and why it ended */
function fill(path: string): { bytes: number; code: string } {
  const fd = openSync(path, 'w')
  const buffer = Buffer.alloc(64 * 1024, 'x')
  let bytes = 0
  try {
    for (;;) bytes += writeSync(fd, buffer)
  } catch (error) {
    if (!isErrno(error)) throw error
    return { bytes, code: String(error.code) }
  } finally {
    closeSync(fd)
  }
}

describe.skipIf(why !== null)(`limits in a store on btrfs${why === null ? '' : ` (${why})`}`, () => {
  onFilesystemOf('btrfs')

  describe.each(['vfs', 'overlay'])('with the driver %s', (driver) => {
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
    const bundleOf = (id: string) => `${place.store}/bundles/${id}`
    const image = () => place.image([layer().file('etc/large', 'y'.repeat(3 * MiB))])
    const create = (id: string, bytes: number, excludeImageFromQuota = true) =>
      store.create({ image: image(), id, diskLimitSizeBytes: bytes, excludeImageFromQuota })

    it('are held, the image counted or not, and nothing else changes', async () => {
      const { rootfs } = await create('b1', 8 * MiB)
      await store.create({ image: image(), id: 'free' })
      expect(treeLines(rootfs)).toEqual(treeLines(`${bundleOf('free')}/rootfs`))
      const alone = fill(`${rootfs}/written`)
      expect(alone.code).toBe('EDQUOT')
      expect(alone.bytes).toBeGreaterThan(6 * MiB)
      expect(alone.bytes).toBeLessThanOrEqual(8 * MiB)
      const counted = fill(`${(await create('b2', 8 * MiB, false)).rootfs}/written`)
      expect(counted.bytes).toBeGreaterThan(3 * MiB)
      expect(counted.bytes).toBeLessThanOrEqual(5 * MiB)
    })

    it('can be changed while the rootfs is in use, but not below what is written', async () => {
      const { rootfs } = await create('b1', 4 * MiB)
      fill(`${rootfs}/written`)
      await expect(
        store.limit('b1', { diskLimitSizeBytes: MiB, excludeImageFromQuota: true }),
      ).rejects.toMatchObject({ code: 'quota-exceeded' })
      await store.limit('b1', { diskLimitSizeBytes: 12 * MiB, excludeImageFromQuota: true })
      expect(fill(`${rootfs}/more`).bytes).toBeGreaterThan(6 * MiB)
    })

    it('leave nothing when their bundles go', async () => {
      await create('b1', 8 * MiB)
      const notes = `${place.store}/drivers/${driver}/limits`
      expect(readdirSync(notes)).toEqual(['b1'])
      await store.delete('b1')
      expect(readdirSync(notes)).toEqual([])
      expect(existsSync(bundleOf('b1'))).toBe(false)
      expect(await store.check()).toMatchObject({ problems: [] })
    })

    it('stand after the mounts are gone, with what was written', async () => {
      const { rootfs } = await create('b1', 8 * MiB)
      writeFileSync(`${rootfs}/written`, Buffer.alloc(4 * MiB, 'x'))
      await store.unmount('b1')
      await store.mount('b1')
      const { bytes } = fill(`${rootfs}/more`)
      expect(bytes).toBeGreaterThan(2 * MiB)
      expect(bytes).toBeLessThanOrEqual(4 * MiB)
    })

    it('let a rootfs that is full be mounted again, to be written to', async () => {
      const { rootfs } = await create('b1', 4 * MiB)
      fill(`${rootfs}/written`)
      await store.unmount('b1')
      await store.mount('b1')
      rmSync(`${rootfs}/written`)
      execFileSync('btrfs', ['filesystem', 'sync', place.store])
      const { bytes } = fill(`${rootfs}/again`)
      expect(bytes).toBeGreaterThan(2 * MiB)
      expect(bytes).toBeLessThanOrEqual(4 * MiB)
    })
  })

  it('are left alone by a clean that only looks, which a read-only disk allows', async () => {
    const place = new Place()
    const at = execFileSync('findmnt', ['-n', '-o', 'TARGET', '-T', place.directory], {
      encoding: 'utf8',
    }).trim()
    const remount = (mode: string) => execFileSync('mount', ['-o', `remount,${mode}`, at])
    const store = await openStore({ path: place.store, driver: 'btrfs', thread: 'caller' })
    try {
      for (const id of ['b1', 'b2']) await store.create(place.request({ id, diskLimitSizeBytes: 8 * MiB }))
      await store.delete('b2')
      remount('ro')
      expect(await store.clean({ dryRun: true })).toMatchObject({ skipped: [] })
    } finally {
      remount('rw')
      await store.close()
      place.remove()
    }
  })
})
