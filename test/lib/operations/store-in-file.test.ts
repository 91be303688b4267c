/**
 * Stores in a file: made, found unmounted as after a reboot, mounted again, and taken away.
 */
import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, statfsSync, statSync, writeFileSync } from 'node:fs'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { deleteStore, type InitStoreOptions, initStore, mountStore, openStore } from '../../../lib/index.js'
import { statFilesystem } from '../../../lib/linux/statfs.js'
import { findTool } from '../../images/tools.js'
import { AS_ROOT, Place } from './testing.js'

const MiB = 1024 * 1024
const KINDS = [
  { filesystem: 'ext4', driver: 'overlay', type: 0xef53 },
  { filesystem: 'xfs', driver: 'vfs', type: 0x58465342 },
  { filesystem: 'btrfs', driver: 'vfs', type: 0x9123683e },
] as const
const known = readFileSync('/proc/filesystems', 'utf8').split(/\s+/)
const usable = KINDS.filter(
  ({ filesystem }) =>
    known.includes(filesystem) &&
    (findTool(`mkfs.${filesystem}`) ?? findTool(`/usr/sbin/mkfs.${filesystem}`)),
)

let place: Place
let file: string
beforeEach(() => {
  place = new Place()
  file = `${place.directory}/backing`
})
afterEach(() => place.remove())

const options = (change: Partial<InitStoreOptions> = {}): InitStoreOptions => ({
  path: place.store,
  driver: 'vfs',
  filesystem: 'ext4',
  storeSizeBytes: 320 * MiB,
  backingFile: file,
  ...change,
})
const loops = () =>
  execFileSync('losetup', ['--list', '--noheadings', '--output', 'BACK-FILE'], { encoding: 'utf8' })
    .split('\n')
    .filter((name) => name.startsWith(place.directory))
const mounts = () =>
  readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .filter((line) => line.includes(` ${place.directory}`))
/** What a reboot does. */
const reboot = () => {
  for (const line of mounts().reverse()) execFileSync('umount', [line.split(' ')[4]!])
}
const nothingLeft = () => {
  expect({ loops: loops(), mounts: mounts() }).toEqual({ loops: [], mounts: [] })
  expect({ store: existsSync(place.store), file: existsSync(file) }).toEqual({ store: false, file: false })
}

describe.skipIf(!AS_ROOT || usable.length === 0)('a store in a file (needs root and mkfs)', () => {
  it.each(usable)(
    'is made on $filesystem, survives a reboot, and leaves nothing',
    async ({ filesystem, driver, type }) => {
      // The directory of the test may be on such a filesystem already; then no file is wanted.
      if (statFilesystem(place.directory).type === type && filesystem === 'btrfs') return
      const made = await initStore(options({ filesystem, driver }))
      expect(made.notes.join()).toContain(file)
      expect(statFilesystem(place.store).type).toBe(type)
      expect(statSync(place.store).mode & 0o7777).toBe(0o711)
      expect(statfsSync(place.store).blocks * statfsSync(place.store).bsize).toBeLessThanOrEqual(320 * MiB)
      const request = place.request()
      {
        await using store = await openStore({ path: place.store, thread: 'caller' })
        const { rootfs } = await store.create(request)
        writeFileSync(`${rootfs}/written`, 'kept')
      }
      reboot()
      expect(loops()).toEqual([])
      await expect(openStore({ path: place.store, thread: 'caller' })).rejects.toMatchObject({
        code: 'store-unmounted',
        exitStatus: 10,
      })
      expect(readdirSync(place.store)).toEqual(['backing.json'])
      expect(await mountStore({ path: place.store })).toEqual({ path: place.store, changed: true })
      expect(await mountStore({ path: place.store })).toEqual({ path: place.store, changed: false })
      {
        await using store = await openStore({ path: place.store, thread: 'caller' })
        expect(store.driver).toBe(driver)
        await store.mount('b1')
        const { rootfs } = (await store.list())[0]!
        expect(readFileSync(`${rootfs}/written`, 'utf8')).toBe('kept')
      }
      await expect(deleteStore({ path: place.store })).rejects.toMatchObject({ code: 'store-not-empty' })
      await deleteStore({ path: place.store, force: true })
      nothingLeft()
    },
  )

  it('is deleted when it is not mounted too, and twice', async () => {
    await initStore(options())
    reboot()
    await deleteStore({ path: place.store })
    nothingLeft()
    await deleteStore({ path: place.store })
  })

  it('is deleted when its file is lost', async () => {
    await initStore(options())
    reboot()
    execFileSync('rm', [file])
    await expect(mountStore({ path: place.store })).rejects.toMatchObject({ code: 'store-invalid' })
    await deleteStore({ path: place.store })
    nothingLeft()
  })

  it('is not made where a file is already, which stays', async () => {
    writeFileSync(file, 'mine')
    await expect(initStore(options())).rejects.toMatchObject({ code: 'store-not-empty' })
    expect(readFileSync(file, 'utf8')).toBe('mine')
    expect({ loops: loops(), mounts: mounts() }).toEqual({ loops: [], mounts: [] })
  })

  it.each([
    ['the filesystem cannot be so small', { storeSizeBytes: 4096 }, 'system-call'],
    [
      'the driver does not work on it',
      { driver: 'overlay', driverOptions: { verity: 'require' }, filesystem: 'xfs' },
      'driver-unusable',
    ],
  ] as const)('leaves nothing when %s', async (_what, change, code) => {
    await expect(initStore(options(change))).rejects.toMatchObject({ code })
    expect({ loops: loops(), mounts: mounts() }).toEqual({ loops: [], mounts: [] })
    expect(existsSync(file)).toBe(false)
  })

  it('is not mounted from a file that others may write to', async () => {
    await initStore(options())
    reboot()
    execFileSync('chmod', ['666', file])
    await expect(mountStore({ path: place.store })).rejects.toMatchObject({ code: 'store-unsafe' })
    execFileSync('chmod', ['600', file])
    await deleteStore({ path: place.store })
    nothingLeft()
  })
})

describe('a request for a store in a file', () => {
  it.each([
    ['without a file', { backingFile: undefined }, 'usage-invalid'],
    ['without a size', { storeSizeBytes: undefined }, 'usage-invalid'],
    ['without a filesystem', { filesystem: undefined }, 'usage-invalid'],
    ['of no size', { storeSizeBytes: 0 }, 'option-invalid'],
    ['in a relative file', { backingFile: 'file' }, 'option-invalid'],
    ['for btrfs on another filesystem', { driver: 'btrfs' }, 'option-invalid'],
  ])('%s is refused', async (_what, change, code) => {
    const wrong = { ...options(), ...change } as InitStoreOptions
    await expect(initStore(wrong)).rejects.toMatchObject({ code })
    expect(existsSync(place.store)).toBe(false)
  })

  it('in a file of the store itself is refused', async () => {
    const request = options({ backingFile: `${place.store}/file` })
    await expect(initStore(request)).rejects.toMatchObject({ code: 'option-invalid' })
  })
})

it('a store in no file needs no mounting', async () => {
  await initStore({ path: place.store, driver: 'vfs' })
  expect(await mountStore({ path: place.store })).toEqual({ path: place.store, changed: false })
  expect(await mountStore({ path: `${place.directory}/none` })).toMatchObject({ changed: false })
})
