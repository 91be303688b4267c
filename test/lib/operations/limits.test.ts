/**
 * Disk limits: what is refused, and with a filesystem in a file what is held, on whatever filesystem the tests run.
 */
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  closeSync,
  existsSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statfsSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type CreateRequest, type GrootStore, openStore } from '../../../lib/index.js'
import { layer } from '../../../lib/testkit/layer.js'
import { treeLines } from '../../../lib/testkit/tree-lines.js'
import { findTool } from '../../images/tools.js'
import { AS_ROOT, EMPTY, Place } from './testing.js'

const KiB = 1024
const MiB = 1024 * KiB
const mkfs = findTool('mkfs.ext4') ?? findTool('/usr/sbin/mkfs.ext4')
const LOOP: Pick<CreateRequest, 'quotaBackend' | 'excludeImageFromQuota'> = {
  quotaBackend: 'loop',
  excludeImageFromQuota: true,
}

let place: Place
let store: GrootStore
beforeEach(() => {
  place = new Place()
})
afterEach(async () => {
  await store?.close()
  place.remove()
})
const open = async (driver: string) => {
  store = await openStore({ path: place.store, driver, thread: 'caller' })
}

/** Writes until it fails. @returns bytes that were written, and why it ended */
function fill(path: string, piece = 4 * KiB): { bytes: number; code: string } {
  const fd = openSync(path, 'w')
  const buffer = Buffer.alloc(piece, 'x')
  let bytes = 0
  try {
    for (;;) bytes += writeSync(fd, buffer)
  } catch (error) {
    return { bytes, code: String((error as { code?: unknown }).code) }
  } finally {
    closeSync(fd)
  }
}

const loops = () =>
  execFileSync('losetup', ['--list', '--noheadings', '--output', 'BACK-FILE'], { encoding: 'utf8' })
    .split('\n')
    .filter((file) => file.startsWith(place.directory))
const mounts = () =>
  readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .filter((line) => line.includes(` ${place.directory}`))

describe('a limit that the image does not fit in', () => {
  beforeEach(() => open('vfs'))

  it.each([
    ['of one byte less than its files have', 200_000 - 1, undefined],
    ['that its layers alone exceed', 1000, 'loop' as const],
  ])('%s is refused, and leaves nothing', async (_what, diskLimitSizeBytes, quotaBackend) => {
    const image = place.image([layer().file('large', incompressible(200_000))])
    const request = place.request({ image, diskLimitSizeBytes, ...(quotaBackend ? { quotaBackend } : {}) })
    await expect(store.create(request)).rejects.toMatchObject({
      code: 'quota-exceeded',
      exitStatus: 18,
      facts: { id: 'b1', limitBytes: diskLimitSizeBytes },
    })
    expect(place.contents()).toEqual(EMPTY)
  })

  it('is refused by the size of its tree when its layers are here already', async () => {
    const image = place.image([
      layer().file('large', Buffer.alloc(100_000, 'a')),
      layer().file('more', Buffer.alloc(100_000, 'b')).hardlink('again', 'more'),
    ])
    await store.pull(place.request({ image }))
    await expect(store.create(place.request({ image, diskLimitSizeBytes: 199_999 }))).rejects.toMatchObject({
      code: 'quota-exceeded',
      facts: { id: 'b1', imageBytes: 200_000, limitBytes: 199_999 },
    })
  })

  it('is refused before anything is fetched where the manifest tells', async () => {
    const image = place.image([layer().file('large', incompressible(200_000))])
    const kinds: string[] = []
    const onEvent = ({ kind }: { kind: string }) => void kinds.push(kind)
    const request = place.request({ image, diskLimitSizeBytes: 100_000, onEvent })
    await expect(store.create(request)).rejects.toMatchObject({ code: 'quota-exceeded' })
    expect(kinds).not.toContain('layer-start')
  })

  it('is refused while unpacking where it does not', async () => {
    const image = place.image([layer().file('large', Buffer.alloc(2 * MiB))])
    const request = place.request({ image, diskLimitSizeBytes: MiB })
    await expect(store.create(request)).rejects.toMatchObject({
      code: 'quota-exceeded',
      facts: { id: 'b1', limitBytes: MiB },
    })
  })

  it('is told as the cap that it is when that is lower', async () => {
    const image = place.image([layer().file('large', Buffer.alloc(2000))])
    const limits = { maxTotalBytes: 1000 }
    await expect(
      store.create(place.request({ image, limits, diskLimitSizeBytes: MiB })),
    ).rejects.toMatchObject({
      code: 'limit-exceeded',
    })
  })
})

describe('a request', () => {
  beforeEach(() => open('vfs'))

  it.each([0, -1, 1.5, Number.POSITIVE_INFINITY])('for %s bytes is refused', async (bytes) => {
    await expect(store.create(place.request({ diskLimitSizeBytes: bytes }))).rejects.toMatchObject({
      code: 'option-invalid',
      facts: { option: 'disk-limit-size-bytes', value: String(bytes) },
    })
  })

  it('for a backend without a limit is refused', async () => {
    await expect(store.create(place.request({ quotaBackend: 'loop' }))).rejects.toMatchObject({
      code: 'usage-invalid',
    })
  })

  it('to change a limit of a bundle without one is refused', async () => {
    await store.create(place.request())
    await expect(store.limit('b1', { diskLimitSizeBytes: MiB })).rejects.toMatchObject({
      code: 'quota-unsupported',
      exitStatus: 19,
    })
    await expect(store.limit('b2', { diskLimitSizeBytes: MiB })).rejects.toMatchObject({
      code: 'bundle-missing',
    })
    expect((await store.stats('b1')).disk_limit).toBeNull()
  })
})

/** Where the tests run on a filesystem without project quotas, which is nearly everywhere. */
describe.skipIf(!AS_ROOT)('a limit that nobody holds (needs root)', () => {
  it.each(['vfs', 'overlay'])('is refused by %s, which says what would help', async (driver) => {
    await open(driver)
    const made = await store.create(place.request({ diskLimitSizeBytes: MiB })).catch((error) => error)
    if ('bundle' in made) return
    expect(made).toMatchObject({ code: 'quota-unsupported', exitStatus: 19, facts: { id: 'b1' } })
    expect(made.message).toContain('loop')
    expect(place.contents()).toEqual(EMPTY)
  })
})

describe.skipIf(!AS_ROOT || mkfs === null)('a limit held by a file (needs root and mkfs.ext4)', () => {
  describe.each(['vfs', 'overlay'])('of %s', (driver) => {
    beforeEach(() => open(driver))

    it.each([10_000, 100 * KiB, 5 * MiB, 40 * MiB])(
      'lets %i bytes be written, and no more',
      async (limit) => {
        const { rootfs } = await store.create(place.request({ ...LOOP, diskLimitSizeBytes: limit }))
        const { bytes, code } = fill(`${rootfs}/filled`)
        expect(code).toBe('ENOSPC')
        // A file in several pieces needs a block that says where they are.
        expect(bytes).toBeGreaterThanOrEqual(Math.floor(limit / 4096) * 4096 - (limit > 5 * MiB ? 4096 : 0))
        expect(bytes).toBeLessThanOrEqual(limit)
        rmSync(`${rootfs}/filled`)
        expect(Math.abs(fill(`${rootfs}/again`).bytes - bytes)).toBeLessThanOrEqual(4096)
      },
    )

    it('counts the image unless it is left out of account', async () => {
      const image = place.image([layer().file('large', Buffer.alloc(MiB, 'i'))])
      const { rootfs } = await store.create(
        place.request({ image, quotaBackend: 'loop', diskLimitSizeBytes: 3 * MiB }),
      )
      expect(fill(`${rootfs}/filled`)).toEqual({ bytes: 2 * MiB, code: 'ENOSPC' })
      expect((await store.stats('b1')).disk_limit).toEqual({
        size_bytes: 3 * MiB,
        exclude_image: false,
        writable_bytes: 2 * MiB,
        backend: 'loop',
      })
    })

    it('is the same rootfs as without', async () => {
      const image = place.image()
      const limited = await store.create(place.request({ ...LOOP, image, diskLimitSizeBytes: MiB }))
      const other = await store.create(place.request({ image, id: 'b2' }))
      expect(treeLines(limited.rootfs)).toEqual(treeLines(other.rootfs))
    })

    it('can be raised and lowered, but not below what is written', async () => {
      const { rootfs } = await store.create(place.request({ ...LOOP, diskLimitSizeBytes: MiB }))
      expect(fill(`${rootfs}/one`).bytes).toBe(MiB)
      const raised = await store.limit('b1', { diskLimitSizeBytes: 3 * MiB })
      expect(raised.disk_limit).toMatchObject({ size_bytes: 3 * MiB, writable_bytes: 3 * MiB })
      expect(fill(`${rootfs}/two`).bytes).toBe(2 * MiB)
      await expect(store.limit('b1', { diskLimitSizeBytes: 2 * MiB })).rejects.toMatchObject({
        code: 'quota-exceeded',
        facts: { id: 'b1', writtenBytes: 3 * MiB, writableBytes: 2 * MiB },
      })
      rmSync(`${rootfs}/two`)
      await store.limit('b1', { diskLimitSizeBytes: 2 * MiB })
      expect(fill(`${rootfs}/three`).bytes).toBe(MiB)
      expect((await store.stats('b1')).disk_limit).toMatchObject({ size_bytes: 2 * MiB })
    })

    it('can be raised far above the file that it began with', async () => {
      const { rootfs } = await store.create(place.request({ ...LOOP, diskLimitSizeBytes: MiB }))
      await store.limit('b1', { diskLimitSizeBytes: 400 * MiB })
      const { bytes } = fill(`${rootfs}/filled`, MiB)
      expect(bytes).toBeGreaterThanOrEqual(399 * MiB)
      expect(bytes).toBeLessThanOrEqual(400 * MiB)
      await store.limit('b1', { diskLimitSizeBytes: 401 * MiB })
    })

    it('can be raised above all that was thought of, or says what it takes', async () => {
      const { rootfs } = await store.create(place.request({ ...LOOP, diskLimitSizeBytes: MiB }))
      const raised = await store.limit('b1', { diskLimitSizeBytes: 900 * MiB }).catch((error) => error)
      if ('disk_limit' in raised) expect(statfsSync(rootfs).bavail * 4096).toBe(900 * MiB)
      else expect(raised).toMatchObject({ code: 'quota-unsupported', exitStatus: 19 })
    })

    it('leaves no mount, device or file when its bundle goes', async () => {
      const { bundle } = await store.create(place.request({ ...LOOP, diskLimitSizeBytes: MiB }))
      expect(loops()).toEqual([`${bundle}/limited.img`])
      await store.delete('b1')
      expect({ loops: loops(), mounts: mounts() }).toEqual({ loops: [], mounts: [] })
      expect(place.contents()).toEqual(EMPTY)
    })

    it('is taken away by clean when the create was killed', async () => {
      const { bundle } = await store.create(place.request({ ...LOOP, diskLimitSizeBytes: MiB }))
      rmSync(`${place.store}/records/b1.json`)
      const { removed, skipped } = await store.clean()
      expect(removed.map(({ what, name }) => `${what} ${name}`)).toContain('bundle b1')
      expect({ skipped, loops: loops(), mounts: mounts() }).toEqual({ skipped: [], loops: [], mounts: [] })
      expect(existsSync(bundle)).toBe(false)
    })

    it('is made anew where a killed create left half of it', async () => {
      await store.create(place.request({ ...LOOP, diskLimitSizeBytes: MiB }))
      rmSync(`${place.store}/records/b1.json`)
      const { rootfs } = await store.create(place.request({ ...LOOP, diskLimitSizeBytes: 2 * MiB }))
      expect(loops()).toHaveLength(1)
      expect(fill(`${rootfs}/filled`).bytes).toBe(2 * MiB)
    })

    it('leaves nothing when the create fails', async () => {
      const controller = new AbortController()
      const onEvent = ({ kind }: { kind: string }) => {
        if (kind === 'base-ready') setTimeout(() => controller.abort(), 5)
      }
      const request = place.request({ ...LOOP, diskLimitSizeBytes: MiB, signal: controller.signal, onEvent })
      await store.create(request).catch(() => {})
      await store.delete('b1')
      expect({ loops: loops(), mounts: mounts() }).toEqual({ loops: [], mounts: [] })
      expect(place.contents()).toEqual(EMPTY)
    })

    it('stands after a reboot, with what was written', async () => {
      const { rootfs } = await store.create(place.request({ ...LOOP, diskLimitSizeBytes: MiB }))
      writeFileSync(`${rootfs}/written`, 'kept')
      const lines = treeLines(rootfs)
      expect(await store.unmount('b1')).toEqual({ id: 'b1', changed: true })
      expect(await store.unmount('b1')).toEqual({ id: 'b1', changed: false })
      expect({ loops: loops(), mounts: mounts() }).toEqual({ loops: [], mounts: [] })
      expect(await store.mount('b1')).toEqual({ id: 'b1', changed: true })
      expect(await store.mount('b1')).toEqual({ id: 'b1', changed: false })
      expect(treeLines(rootfs)).toEqual(lines)
      expect(fill(`${rootfs}/filled`).bytes).toBe(MiB - 4096)
    })

    it('is changed as well where it is not mounted, and nothing is written below its place', async () => {
      const { rootfs } = await store.create(place.request({ ...LOOP, diskLimitSizeBytes: MiB }))
      await store.unmount('b1')
      await expect(store.stats('b1')).rejects.toMatchObject({ code: 'store-unmounted' })
      await store.limit('b1', { diskLimitSizeBytes: 3 * MiB })
      expect(readdirSync(`${place.store}/bundles/b1/limited`)).toEqual([])
      expect(loops()).toEqual([])
      await store.mount('b1')
      expect(fill(`${rootfs}/filled`)).toEqual({ bytes: 3 * MiB, code: 'ENOSPC' })
      await store.stats('b1')
    })

    it('is one filesystem for all mount namespaces', async () => {
      const { rootfs } = await store.create(place.request({ ...LOOP, diskLimitSizeBytes: MiB }))
      await store.unmount('b1')
      const space = `${place.store}/bundles/b1/limited`
      // Mounted where nobody else sees it, until it is told to end.
      const script = 'mount -o loop "$1.img" "$1"; echo there > "$1/file"; echo mounted; read end'
      const other = spawn('unshare', ['--mount', 'sh', '-euc', script, 'sh', space])
      expect(String((await once(other.stdout, 'data'))[0])).toBe('mounted\n')
      await store.mount('b1')
      expect(loops()).toHaveLength(1)
      expect(readFileSync(`${space}/file`, 'utf8')).toBe('there\n')
      other.stdin.end('\n')
      await once(other, 'exit')
      writeFileSync(`${rootfs}/here`, 'here')
      expect(loops()).toHaveLength(1)
    })

    it('takes no room that nobody wrote to', async () => {
      const before = statfsSync(place.store)
      await store.create(place.request({ ...LOOP, diskLimitSizeBytes: 64 * 1024 * MiB }))
      const after = statfsSync(place.store)
      expect((before.bfree - after.bfree) * before.bsize).toBeLessThan(64 * MiB)
    })
  })

  it('cannot be left to a runtime to mount', async () => {
    await open('overlay')
    const request = place.request({ ...LOOP, diskLimitSizeBytes: MiB, withoutMount: true })
    await expect(store.create(request)).rejects.toMatchObject({ code: 'usage-invalid' })
  })

  it('is accepted for a rootfs that nobody can write to', async () => {
    await open('overlay')
    const request = place.request({ ...LOOP, diskLimitSizeBytes: MiB, readOnly: true })
    const { rootfs } = await store.create(request)
    expect(() => writeFileSync(`${rootfs}/new`, '')).toThrow(expect.objectContaining({ code: 'EROFS' }))
    expect(loops()).toEqual([])
  })
})

function incompressible(length: number): Buffer {
  const bytes = Buffer.alloc(length)
  let state = 12345
  for (let i = 0; i < length; i++) {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0
    bytes[i] = state >>> 16
  }
  return bytes
}
