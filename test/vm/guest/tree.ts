/**
 * What is mounted, against what the vfs driver writes: every entry of an image that has all kinds of them.
 */
import assert from 'node:assert/strict'
import { treeLines } from '../../../lib/testkit/tree-lines.js'
import type { Checks } from './check.js'
import { imageNamed, storeIn } from './sample.js'

export const CHECKS: Checks = {
  'mounts the same tree as vfs writes': async ({ data }) => {
    const image = imageNamed('odd')
    await using overlay = await storeIn(data, 'overlay', { verity: 'require' })
    await using vfs = await storeIn(data, 'vfs')
    const mounted = await overlay.create({ image, id: 'odd' })
    const written = await vfs.create({ image, id: 'odd' })
    assert.equal(mounted.digest, written.digest)
    assert.deepEqual(treeLines(mounted.rootfs), treeLines(written.rootfs))
    await overlay.delete('odd')
    await vfs.delete('odd')
  },
}
