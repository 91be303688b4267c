/**
 * Disk limits of the btrfs driver, held by the kernel.
 */
import { execFileSync } from 'node:child_process'
import { closeSync, mkdirSync, openSync, readdirSync, writeFileSync, writeSync } from 'node:fs'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { byteString } from '../../../lib/bytes.js'
import { type GrootStore, openStore } from '../../../lib/index.js'
import { groupId, groupLimit, groupUsage, quotaState } from '../../../lib/linux/btrfs-quota.js'
import { createSnapshot, createSubvolume, subvolumeIdOf } from '../../../lib/linux/btrfs-subvolume.js'
import { withoutSyncs } from '../../../lib/linux/sync-mode.js'
import { Place, sampleLayer } from '../../lib/operations/testing.js'
import { onFilesystemOf, whyNoBtrfs } from '../../support/btrfs.js'

const MIB = 1024 * 1024
/** EDQUOT, for which Node has no name. */
const FULL = expect.objectContaining({ errno: -122 })
const why = whyNoBtrfs()
// What is removed is done away with by the kernel in its own time.
vi.setConfig({ testTimeout: 120_000 })

let place: Place
let store: GrootStore

async function limited(id: string, diskLimitSizeBytes: number): Promise<string> {
  const request = place.request({ id, diskLimitSizeBytes, excludeImageFromQuota: true })
  return (await store.create(request)).rootfs
}

function write(path: string, bytes: number): void {
  const fd = openSync(path, 'w')
  try {
    for (let left = bytes; left > 0; left -= 4096) writeSync(fd, Buffer.alloc(Math.min(left, 4096), 'x'))
  } finally {
    closeSync(fd)
  }
}

function at<T>(path: string, work: (fd: number) => T): T {
  const fd = openSync(path, 'r')
  try {
    return work(fd)
  } finally {
    closeSync(fd)
  }
}

/** Ids of all groups but that of the filesystem's top, once the kernel has done away with what was removed. */
function groups(): string[] {
  execFileSync('btrfs', ['subvolume', 'sync', place.directory])
  const text = execFileSync('btrfs', ['qgroup', 'show', '--raw', place.directory], { encoding: 'utf8' })
  return [...text.matchAll(/^([0-9]+\/[0-9]+) /gm)].map(([, id]) => id!).filter((id) => id !== '0/5')
}

const noted = (name: string) => readdirSync(`${place.store}/drivers/btrfs/${name}`)

describe.skipIf(why !== null)(`limits of the btrfs driver${why === null ? '' : ` (${why})`}`, () => {
  onFilesystemOf('btrfs')

  beforeEach(async () => {
    place = new Place()
    store = await openStore({ path: place.store, driver: 'btrfs', thread: 'caller' })
  })
  afterEach(async () => {
    // A tree that is held to a limit cannot be emptied by others.
    for (const { id } of await store.list()) await store.delete(id)
    await store.close()
    place.remove()
  })

  it('enable simple quotas with the first of them, and not before', async () => {
    await store.create(place.request({ id: 'unlimited' }))
    expect(at(place.directory, quotaState).mode).toMatch(/off|simple/)
    await limited('b1', MIB)
    expect(at(place.directory, quotaState)).toMatchObject({ mode: 'simple', isConsistent: true })
  })

  it('are exact: 11 kB do not fit into 10000 bytes', async () => {
    const rootfs = await limited('b1', 10_000)
    expect(() => write(`${rootfs}/file`, 11_000)).toThrow(FULL)
  })

  it('let a container write what it may and nothing more, whatever the image takes', async () => {
    const rootfs = await limited('b1', 4 * MIB)
    write(`${rootfs}/first`, 3 * MIB)
    expect(() => write(`${rootfs}/second`, 2 * MIB)).toThrow(FULL)
    expect(() => write(`${rootfs}/large`, 2 * MIB)).toThrow(FULL)
    const { disk_usage: usage } = await store.stats('b1')
    expect(usage.exclusive_bytes_used).toBeGreaterThan(3 * MIB)
    expect(usage.exclusive_bytes_used).toBeLessThanOrEqual(4 * MIB + 16_384)
  })

  it('count what subvolumes take that the container makes', async () => {
    const rootfs = await limited('b1', 4 * MIB)
    at(rootfs, (fd) => createSubvolume(fd, byteString('nested')))
    at(`${rootfs}/nested`, (fd) => createSubvolume(fd, byteString('deeper')))
    const top = openSync(rootfs, 'r')
    await createSnapshot(top, byteString('copy'), top, { readOnly: false, groups: null })
    closeSync(top)
    for (const name of ['nested', 'nested/deeper', 'copy']) {
      expect(() => write(`${rootfs}/${name}/file`, 5 * MIB)).toThrow(FULL)
    }
    const { disk_usage: usage } = await store.stats('b1')
    expect(usage.exclusive_bytes_used).toBeLessThanOrEqual(4 * MIB + 16_384)
  })

  it('are told as they are beside an operation that does without syncs', async () => {
    const rootfs = await limited('b1', 8 * MIB)
    write(`${rootfs}/file`, 5 * MIB)
    await withoutSyncs(async () => {
      // It belongs to no operation, as it writes nothing.
      const { disk_usage: usage } = await store.stats('b1')
      expect(usage.exclusive_bytes_used).toBeGreaterThan(5 * MIB)
    })
    await expect(store.limit('b1', { diskLimitSizeBytes: 4 * MIB })).rejects.toMatchObject({
      code: 'quota-exceeded',
    })
  })

  /** The kernel lets whoever makes a subvolume say which groups it is in, and none is an answer (Linux 6.18). */
  it('are evaded by a subvolume that is made to be in no group, and stats tell', async () => {
    const rootfs = await limited('b1', MIB)
    at(rootfs, (fd) => createSubvolume(fd, byteString('nested'), []))
    write(`${rootfs}/nested/file`, 5 * MIB)
    expect((await store.stats('b1')).disk_usage.exclusive_bytes_used).toBeGreaterThan(5 * MIB)
  })

  it('can be changed, but not below what is written', async () => {
    const rootfs = await limited('b1', MIB)
    expect(() => write(`${rootfs}/file`, 3 * MIB)).toThrow(FULL)
    await store.limit('b1', { diskLimitSizeBytes: 8 * MIB })
    write(`${rootfs}/file`, 3 * MIB)
    await expect(store.limit('b1', { diskLimitSizeBytes: 2 * MIB })).rejects.toMatchObject({
      code: 'quota-exceeded',
    })
    expect(() => write(`${rootfs}/other`, 6 * MIB)).toThrow(FULL)
    // A full one too.
    await store.limit('b1', { diskLimitSizeBytes: 32 * MIB })
    write(`${rootfs}/other`, 6 * MIB)
  })

  it('leave no group behind, neither of bundles with subvolumes in them nor of bases', async () => {
    const image = place.image()
    for (const id of ['b1', 'b2']) {
      const request = { image, id, diskLimitSizeBytes: 4 * MIB, excludeImageFromQuota: true }
      const { rootfs } = await store.create(place.request(request))
      at(rootfs, (fd) => createSubvolume(fd, byteString('nested')))
      writeFileSync(`${rootfs}/nested/file`, 'x')
    }
    const before = groups()
    expect(before.filter((id) => id.startsWith('1/'))).toHaveLength(2)
    await store.delete('b1')
    await store.delete('b2')
    await store.clean({ thresholdBytes: 0 })
    groups()
    await store.clean()
    expect(groups().filter((id) => before.includes(id))).toEqual([])
    expect([noted('limits'), noted('dropped')]).toEqual([[], []])
  })

  it('are removed with a bundle that is full', async () => {
    const rootfs = await limited('b1', MIB)
    expect(() => write(`${rootfs}/file`, 3 * MIB)).toThrow(FULL)
    at(rootfs, (fd) => {
      expect(() => createSubvolume(fd, byteString('nested'))).toThrow(FULL)
    })
    await store.delete('b1')
    expect(noted('limits')).toEqual([])
  })

  it('that a killed create had begun are taken back by clean', async () => {
    await limited('b1', MIB)
    execFileSync('btrfs', ['qgroup', 'create', '1/4711', place.directory])
    execFileSync('ln', ['-s', String(groupId(1, 4711n)), `${place.store}/drivers/btrfs/limits/lost`])
    await store.clean()
    expect(groups()).not.toContain('1/4711')
    expect(noted('limits')).toEqual(['b1'])
  })

  it('are refused by a file, which a snapshot could not be in', async () => {
    const request = place.request({
      diskLimitSizeBytes: MIB,
      excludeImageFromQuota: true,
      quotaBackend: 'loop',
    })
    await expect(store.create(request)).rejects.toMatchObject({ code: 'quota-unsupported', exitStatus: 19 })
    expect(place.contents().bundles).toEqual([])
  })
})

describe.skipIf(why !== null)(`limits by full quotas${why === null ? '' : ` (${why})`}`, () => {
  onFilesystemOf('btrfs')

  it('are held where somebody enabled those, of each subvolume alone', async () => {
    place = new Place()
    try {
      execFileSync('btrfs', ['quota', 'enable', place.directory])
      execFileSync('btrfs', ['quota', 'rescan', '-w', place.directory])
      store = await openStore({ path: place.store, driver: 'btrfs', thread: 'caller' })
      const rootfs = await limited('b1', 4 * MIB)
      expect(at(place.directory, quotaState).mode).toBe('full')
      const own = groupId(0, at(rootfs, subvolumeIdOf))
      expect(at(place.directory, (fd) => groupLimit(fd, own))).toEqual({
        maxExclusiveBytes: 4 * MIB + 16_384,
      })
      expect(() => write(`${rootfs}/file`, 5 * MIB)).toThrow(FULL)
      const usage = (await store.stats('b1')).disk_usage
      const counted = at(place.directory, (fd) => groupUsage(fd, own))
      expect(usage).toMatchObject({
        total_bytes_used: counted!.referencedBytes,
        exclusive_bytes_used: counted!.exclusiveBytes,
      })
      await store.limit('b1', { diskLimitSizeBytes: 16 * MIB })
      write(`${rootfs}/other`, 5 * MIB)
      await store.delete('b1')
      await store.close()
    } finally {
      mkdirSync(place.store, { recursive: true })
      place.remove()
    }
  })
})

describe.skipIf(why !== null)(`usage of the btrfs driver${why === null ? '' : ` (${why})`}`, () => {
  onFilesystemOf('btrfs')

  it('is that of the extents where there are no quotas, and where they came later', async () => {
    place = new Place()
    store = await openStore({ path: place.store, driver: 'btrfs', thread: 'caller' })
    try {
      expect(at(place.directory, quotaState).mode).toBe('off')
      const { rootfs } = await store.create(place.request({ image: place.image([sampleLayer()]) }))
      const before = (await store.stats('b1')).disk_usage
      expect(before.exclusive_bytes_used).toBe(0)
      expect(before.total_bytes_used).toBeGreaterThan(200_000)
      write(`${rootfs}/file`, MIB)
      const usage = {
        total_bytes_used: before.total_bytes_used + MIB,
        exclusive_bytes_used: MIB,
      }
      expect((await store.stats('b1')).disk_usage).toEqual(usage)
      await limited('b2', MIB)
      expect(at(place.directory, quotaState).mode).toBe('simple')
      expect((await store.stats('b1')).disk_usage).toEqual(usage)
    } finally {
      await store.close()
      place.remove()
    }
  })
})
