/**
 * Full disks: a create says so, leaves nothing, and the next one succeeds. Kills and other faults: test/crash.
 */
import { execFileSync } from 'node:child_process'
import { mkdirSync, readdirSync } from 'node:fs'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { openStore } from '../../lib/index.js'
import { type LayerBuilder, layer } from '../../lib/testkit/layer.js'
import { AS_ROOT, EMPTY, Place } from '../lib/operations/testing.js'
import { onFilesystemOf } from '../support/btrfs.js'
import { DRIVERS } from '../support/mounts.js'

let place: Place
beforeEach(() => {
  place = new Place()
})
afterEach(() => place.remove())

function files(count: number, bytes: number): LayerBuilder {
  const made = layer()
  for (let i = 0; i < count; i++) made.file(`d${i % 7}/f${i}`, Buffer.alloc(bytes, `content ${i} `))
  return made
}

describe.each(DRIVERS)('with the driver %s', (driver) => {
  onFilesystemOf(driver)
  describe('on a full disk', () => {
    // The smallest btrfs has a hundred megabytes; how its driver does is in test/drivers/btrfs.
    it.skipIf(!AS_ROOT || driver === 'btrfs')(
      'a create says so, leaves nothing, and works again when there is room (needs root)',
      async () => {
        const large = place.image([files(50, 100_000)])
        const small = place.image([files(5, 1000)])
        // The image has 5 MB: a bundle of copies needs them twice, one of mounts once.
        const sizes =
          driver === 'vfs' ? [200, 1000, 3000, 5200, 7000, 9000] : [200, 1000, 2000, 3000, 4000, 4700]
        for (const kilobytes of sizes) {
          const disk = `${place.directory}/disk${kilobytes}`
          mkdirSync(disk)
          execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${kilobytes}k,mode=700`, 'groot-test', disk])
          try {
            await using store = await openStore({ path: `${disk}/store`, driver, thread: 'caller' })
            await expect(store.create(place.request({ image: large }))).rejects.toMatchObject({
              code: 'disk-full',
              exitStatus: 20,
              facts: { errno: 'ENOSPC' },
            })
            const left = Object.fromEntries(
              Object.keys(EMPTY).map((name) => [name, readdirSync(`${disk}/store/${name}`)]),
            )
            expect(left).toEqual(EMPTY)
            if (kilobytes < 1000) continue
            // What was verified before the disk was full stays; without it there is room again.
            await store
              .create(place.request({ image: small }))
              .catch((error) => expect(error).toMatchObject({ code: 'disk-full' }))
            expect((await store.check()).problems).toEqual([])
            await store.delete('b1')
          } finally {
            execFileSync('umount', [disk])
          }
        }
      },
    )
  })
})
