/**
 * What becomes of overlays when their bundles are deleted, on a filesystem that can be told what it wrote and that
 * nobody holds any longer.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { closeSync, existsSync, openSync, readFileSync, statfsSync, writeFileSync } from 'node:fs'
import { basename } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { type CreateRequest, type GrootStore, openStore } from '../../../lib/index.js'
import { AS_ROOT, Place } from '../../lib/operations/testing.js'
import { mountNewDisk } from '../../support/new-disk.js'

const WRITTEN_KIB = 64 * 1024

const canRun = AS_ROOT && spawnSync('mkfs.ext4', ['-V']).status === 0

describe.skipIf(!canRun)('deleted overlays (needs root and mkfs.ext4)', () => {
  let place: Place
  let disk: string
  let store: GrootStore
  beforeEach(async () => {
    place = new Place()
    disk = `${place.directory}/disk`
    const options = ['-E', 'lazy_itable_init=0,lazy_journal_init=0']
    mountNewDisk(`${place.directory}/disk.image`, disk, { type: 'ext4', megabytes: 512, options })
    // What is let go of after a while is not here, if nobody asks for it.
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    store = await openStore({ path: `${disk}/store`, driver: 'overlay', thread: 'caller' })
  })
  afterEach(async () => {
    await store.close()
    try {
      // Fails where anything is held; for a moment others may, who copy all mounts for a namespace of their own.
      execFileSync('sh', ['-c', 'for n in 1 2 3 4 5; do umount "$0" && exit; sleep 0.2; done; exit 1', disk])
    } finally {
      vi.useRealTimers()
      place.remove()
    }
  })

  const create = async (change: Partial<CreateRequest> = {}) => {
    await store.create({ ...place.request(change), id: 'b1' })
    return `${disk}/store/bundles/b1/rootfs`
  }
  const writtenKib = () => {
    const device = execFileSync('findmnt', ['-n', '-o', 'SOURCE', disk], { encoding: 'utf8' }).trim()
    return Number(readFileSync(`/sys/fs/ext4/${basename(device)}/session_write_kbytes`, 'utf8'))
  }

  it('are deleted without that what was in them is written to the disk', async () => {
    const rootfs = await create()
    writeFileSync(`${rootfs}/big`, Buffer.alloc(WRITTEN_KIB * 1024, 'big'))
    const before = writtenKib()
    expect(await store.delete('b1')).toMatchObject({ existed: true })
    await store.close()
    execFileSync('sync', ['--file-system', disk])
    expect(writtenKib() - before).toBeLessThan(WRITTEN_KIB / 4)
  })

  it('free the space of what was in them a moment later, while the store is open', async () => {
    const rootfs = await create()
    const freeKib = () => {
      const { bavail, bsize } = statfsSync(disk)
      return (bavail * bsize) / 1024
    }
    writeFileSync(`${rootfs}/big`, Buffer.alloc(WRITTEN_KIB * 1024, 'big'))
    const before = freeKib()
    await store.delete('b1')
    expect(freeKib() - before).toBeLessThan(WRITTEN_KIB / 4)
    vi.advanceTimersByTime(1000)
    await vi.waitFor(() => expect(freeKib() - before).toBeGreaterThan(WRITTEN_KIB / 2), 5000)
  })

  it('are kept with all that was written while they are used', async () => {
    const rootfs = await create()
    writeFileSync(`${rootfs}/file`, 'written')
    const user = openSync(`${rootfs}/file`, 'r')
    try {
      await expect(store.delete('b1')).rejects.toMatchObject({ code: 'mount-busy' })
      expect(readFileSync(`${rootfs}/file`, 'utf8')).toBe('written')
    } finally {
      closeSync(user)
    }
    expect(await store.delete('b1')).toMatchObject({ existed: true })
    expect(existsSync(`${disk}/store/bundles/b1`)).toBe(false)
  })

  it('keep no device of a limit', async () => {
    await create({ diskLimitSizeBytes: 64 * 1024 ** 2, quotaBackend: 'loop', excludeImageFromQuota: true })
    await store.delete('b1')
    expect(execFileSync('losetup', ['--list', '--output', 'BACK-FILE'], { encoding: 'utf8' })).not.toContain(
      `${disk}/store`,
    )
  })
})
