/**
 * A bundle over a reboot: its mount is gone, and comes back with what was written.
 */
import assert from 'node:assert/strict'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import type { Checks } from './check.js'
import { mountAt } from './mounts.js'
import { contentOf, imageNamed, storeIn } from './sample.js'

export const BEFORE: Checks = {
  'makes a bundle and writes to it': async ({ data }) => {
    await using store = await storeIn(data, 'overlay', { verity: 'require' })
    const { rootfs } = await store.create({ image: imageNamed('sealed'), id: 'kept' })
    writeFileSync(`${rootfs}/files/read`, 'written before')
  },
}

export const AFTER: Checks = {
  'has the bundle, not mounted': async ({ data }) => {
    await using store = await storeIn(data, 'overlay')
    const bundles = await store.list()
    assert.deepEqual(
      bundles.map(({ id }) => id),
      ['kept'],
    )
    assert.deepEqual(readdirSync(bundles[0]!.rootfs), [])
  },

  'mounts it again, with what was written and with fs-verity': async ({ data }) => {
    await using store = await storeIn(data, 'overlay')
    assert.deepEqual(await store.mount('kept'), { id: 'kept', changed: true })
    assert.deepEqual(await store.mount('kept'), { id: 'kept', changed: false })
    const { rootfs } = (await store.list())[0]!
    assert.ok(mountAt(rootfs).options.includes('verity=require'))
    assert.equal(readFileSync(`${rootfs}/files/read`, 'utf8'), 'written before')
    assert.equal(readFileSync(`${rootfs}/files/altered`, 'utf8'), contentOf('altered'))
  },

  'has a store without problems': async ({ data }) => {
    await using store = await storeIn(data, 'overlay')
    assert.deepEqual((await store.check()).problems, [])
    assert.deepEqual(await store.delete('kept'), { id: 'kept', existed: true })
  },
}
