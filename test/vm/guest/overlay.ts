/**
 * The overlay driver where the kernel checks contents, used as it is meant to be.
 */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { appendFileSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { deleteStore, initStore } from '../../../lib/index.js'
import type { Checks } from './check.js'
import { loopFiles, mountAt, mountTable } from './mounts.js'
import { refused } from './refused.js'
import { contentOf, FILES, INLINE } from './sample.js'
import {
  fileOf,
  imageOf,
  inStore,
  measured,
  objectOf,
  objectsOf,
  SEALED,
  withBundle,
} from './sealed-store.js'

export const CHECKS: Checks = {
  'says that the kernel checks what is read': async ({ data }) => {
    const path = `${data}/noted`
    const { notes } = await initStore({ path, driver: 'overlay', driverOptions: { verity: 'require' } })
    await deleteStore({ path })
    assert.match(notes.join('\n'), /composefs image/)
    assert.match(notes.join('\n'), /fs-verity: on/)
  },

  'mounts an image of the expected digest, and reads its files': inStore(async (store) => {
    const { digest } = await store.digest({ image: SEALED })
    await withBundle(store, { expectDigest: digest, verity: 'require' }, (bundle) => {
      assert.equal(bundle.digest, digest)
      for (const name of FILES) assert.equal(readFileSync(fileOf(bundle, name), 'utf8'), contentOf(name))
      assert.equal(readFileSync(`${bundle.rootfs}/inline`, 'utf8'), INLINE)
    })
  }),

  'demands fs-verity of the mount': inStore(async (store) => {
    await withBundle(store, {}, ({ rootfs }) => {
      const { type, options } = mountAt(rootfs)
      assert.equal(type, 'overlay')
      assert.ok(options.includes('verity=require'), options.join())
      // Nothing else stays mounted, and no loop device is needed.
      assert.deepEqual(
        mountTable()
          .filter(({ at }) => at.startsWith(store.path))
          .map(({ at }) => at),
        [rootfs],
      )
      assert.deepEqual(loopFiles(), [])
    })
  }),

  'mounts without fs-verity when told to': inStore(async (store) => {
    await withBundle(store, { verity: 'off' }, ({ rootfs }) => {
      assert.ok(!mountAt(rootfs).options.includes('verity=require'))
    })
  }),

  'gives each object fs-verity, with the digest that it is named by': inStore(async (store) => {
    await withBundle(store, {}, () => {
      const names = objectsOf(store)
      assert.ok(names.length >= FILES.length)
      for (const name of names) {
        assert.deepEqual(
          { name, measured: measured(`${store.path}/objects/${name}`) },
          { name, measured: name.replace('/', '') },
        )
      }
    })
  }),

  'gives the image fs-verity, with the digest that create tells': inStore(async (store) => {
    await withBundle(store, {}, ({ digest }) => {
      assert.equal(measured(imageOf(store, digest)), digest)
    })
  }),

  'refuses another digest than the expected, and leaves nothing': inStore(async (store) => {
    const wrong = 'e'.repeat(64)
    const request = { image: SEALED, id: 'wrong', expectDigest: wrong }
    await refused(store.create(request), { code: 'digest-unexpected', expected: wrong })
    assert.deepEqual(await store.list(), [])
    assert.deepEqual(readdirSync(`${store.path}/bundles`), [])
  }),

  'copies a file up to write to it, and leaves its object alone': inStore(async (store) => {
    await withBundle(store, {}, (bundle) => {
      appendFileSync(fileOf(bundle, 'appended'), 'more')
      assert.equal(readFileSync(fileOf(bundle, 'appended'), 'utf8'), `${contentOf('appended')}more`)
      assert.equal(readFileSync(objectOf(store, 'appended'), 'utf8'), contentOf('appended'))
      writeFileSync(fileOf(bundle, 'read'), 'written anew')
      assert.equal(readFileSync(objectOf(store, 'read'), 'utf8'), contentOf('read'))
    })
  }),

  'refuses writes to a read-only rootfs': inStore(async (store) => {
    await withBundle(store, { readOnly: true }, (bundle) => {
      assert.throws(() => appendFileSync(fileOf(bundle, 'read'), 'x'), { code: 'EROFS' })
      assert.equal(readFileSync(fileOf(bundle, 'read'), 'utf8'), contentOf('read'))
    })
  }),

  'mounts again what was unmounted, with what was written': inStore(async (store) => {
    await withBundle(store, {}, async ({ id, rootfs }) => {
      writeFileSync(`${rootfs}/written`, 'by the container')
      assert.deepEqual(await store.unmount(id), { id, changed: true })
      assert.deepEqual(readdirSync(rootfs), [])
      assert.deepEqual(await store.mount(id), { id, changed: true })
      assert.equal(readFileSync(`${rootfs}/written`, 'utf8'), 'by the container')
      assert.ok(mountAt(rootfs).options.includes('verity=require'))
    })
  }),

  'mounts what is made without syncs so that nothing in it waits for the disk, and again': inStore(
    async (store) => {
      await withBundle(store, { noSync: true }, async ({ id, rootfs }) => {
        assert.match(mountAt(rootfs).options.join(), /\bvolatile\b/)
        writeFileSync(`${rootfs}/written`, 'by the container')
        assert.deepEqual(await store.unmount(id), { id, changed: true })
        assert.deepEqual(await store.mount(id), { id, changed: true })
        assert.match(mountAt(rootfs).options.join(), /\bvolatile\b/)
        assert.equal(readFileSync(`${rootfs}/written`, 'utf8'), 'by the container')
      })
    },
  ),

  'tells a runtime mounts that demand fs-verity too': inStore(async (store) => {
    await withBundle(store, { withoutMount: true }, ({ rootfs, mounts }) => {
      assert.ok(mounts.at(-1)!.options.includes('verity=require'))
      for (const { type, source, options } of mounts)
        execFileSync('mount', ['-t', type, '-o', options.join(), source, rootfs])
      try {
        assert.equal(readFileSync(`${rootfs}/files/read`, 'utf8'), contentOf('read'))
      } finally {
        for (const _ of mounts) execFileSync('umount', [rootfs])
      }
    })
  }),
}
