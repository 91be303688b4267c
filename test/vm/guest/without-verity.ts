/**
 * The overlay driver where the kernel cannot check contents: `require` is refused and says why, `try` does without.
 */
import assert from 'node:assert/strict'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { deleteStore, initStore } from '../../../lib/index.js'
import type { Checks } from './check.js'
import { loopFiles, mountAt, mountTable } from './mounts.js'
import { refused } from './refused.js'
import { contentOf, imageNamed, storeIn } from './sample.js'

export const CHECKS: Checks = {
  'refuses to make a store that requires it, and leaves nothing': async ({ other }) => {
    const path = `${other}/required`
    const making = initStore({ path, driver: 'overlay', driverOptions: { verity: 'require' } })
    await refused(making, { code: 'driver-unusable', driver: 'overlay', feature: 'fs-verity' })
    assert.equal(existsSync(path), false)
  },

  'says that the kernel does not check what is read': async ({ other }) => {
    const path = `${other}/noted`
    const { notes } = await initStore({ path, driver: 'overlay' })
    await deleteStore({ path })
    assert.match(notes.join('\n'), /fs-verity: not in this kernel or filesystem/)
  },

  'makes bundles in a store that does not require it': async ({ other }) => {
    await using store = await storeIn(other, 'overlay')
    const { id, rootfs } = await store.create({ image: imageNamed('sealed'), id: 'tried' })
    assert.ok(!mountAt(rootfs).options.includes('verity=require'))
    assert.equal(readFileSync(`${rootfs}/files/read`, 'utf8'), contentOf('read'))
    await store.delete(id)
  },

  'refuses a bundle that requires it': async ({ other }) => {
    await using store = await storeIn(other, 'overlay')
    const request = { image: imageNamed('sealed'), id: 'required', verity: 'require' } as const
    await refused(store.create(request), { code: 'verity-unsupported', feature: 'fs-verity' })
    assert.deepEqual(await store.list(), [])
    assert.deepEqual(readdirSync(`${store.path}/bundles`), [])
  },

  'refuses a bundle that requires it of the vfs driver': async ({ other }) => {
    await using store = await storeIn(other, 'vfs')
    const request = { image: imageNamed('sealed'), id: 'required', verity: 'require' } as const
    await refused(store.create(request), { code: 'verity-unsupported', feature: 'fs-verity' })
  },

  // A filesystem in memory cannot be the source of an EROFS mount, as no file can before Linux 6.12.
  'mounts by a loop device where an image cannot be mounted from its file': async () => {
    await using store = await storeIn('/tmp', 'overlay')
    const { id, rootfs } = await store.create({ image: imageNamed('sealed'), id: 'looped' })
    assert.equal(readFileSync(`${rootfs}/files/read`, 'utf8'), contentOf('read'))
    assert.deepEqual(
      loopFiles().map((path) => path.replace(/sha256-\w+/, 'ID')),
      [`${store.path}/drivers/overlay/bases/ID/image`],
    )
    await store.delete(id)
  },

  'leaves nothing mounted, and no loop device': ({ other }) => {
    const left = mountTable().filter(({ at }) => at.startsWith(`${other}/`) || at.startsWith('/tmp/'))
    assert.deepEqual(left, [])
    assert.deepEqual(loopFiles(), [])
  },
}
