/**
 * Kills and full disks: whatever happens in the middle of a create, the next one succeeds and no bundle is half.
 */
import { execFileSync, spawn } from 'node:child_process'
import { mkdirSync, readdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { openStore } from '../../lib/index.js'
import { type LayerBuilder, layer } from '../../lib/testkit/layer.js'
import { treeLines } from '../../lib/testkit/tree-lines.js'
import { AS_ROOT, EMPTY, Place } from '../lib/operations/testing.js'
import { DRIVERS } from '../support/mounts.js'

const COMMAND = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))
const KILLS = 48

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

/** Runs the command and kills it after a while. @returns whether it was killed before it ended */
async function killed(words: readonly string[], afterMs: number): Promise<boolean> {
  const child = spawn(process.execPath, [COMMAND, '--store', place.store, ...words], { stdio: 'ignore' })
  const timer = setTimeout(() => child.kill('SIGKILL'), afterMs)
  const signal = await new Promise((resolve) => child.on('exit', (_status, name) => resolve(name)))
  clearTimeout(timer)
  return signal === 'SIGKILL'
}

const owner = AS_ROOT ? [] : ['--ignore-ownership']

describe.each(DRIVERS)('with the driver %s', (driver) => {
  describe('killed at any moment', () => {
    it('a create leaves no half bundle, and the next one makes the exact tree', async () => {
      const image = place.image([files(300, 9000), files(200, 100)])
      await using store = await openStore({ path: place.store, driver, thread: 'caller' })
      const { rootfs } = await store.create(place.request({ image, id: 'model' }))
      const model = treeLines(rootfs)
      let kills = 0
      for (let i = 0; i < KILLS; i++) {
        // Every third from an empty store, so that ingests are hit as well.
        if (i % 3 === 0)
          for (const name of readdirSync(`${place.store}/layers`))
            execFileSync('rm', [`${place.store}/layers/${name}`])
        if (await killed(['create', ...owner, image, 'b1'], 60 + Math.random() * 500)) kills++
        for (const { id } of await store.list())
          expect(treeLines(`${place.store}/bundles/${id}/rootfs`)).toEqual(model)
        await store.delete('b1')
      }
      const again = await store.create(place.request({ image }))
      expect(treeLines(again.rootfs)).toEqual(model)
      expect((await store.check()).problems).toEqual([])
      expect(readdirSync(`${place.store}/bundles`).sort()).toEqual(['b1', 'model'])
      expect(kills).toBeGreaterThan(KILLS / 4)
    }, 240_000)

    it('a delete leaves nothing that the next one does not finish', async () => {
      const image = place.image([files(400, 100)])
      await using store = await openStore({ path: place.store, driver, thread: 'caller' })
      for (let i = 0; i < KILLS / 3; i++) {
        await store.create(place.request({ image }))
        await killed(['delete', 'b1'], 60 + Math.random() * 120)
        await store.delete('b1')
        expect(readdirSync(`${place.store}/bundles`)).toEqual([])
        expect(await store.list()).toEqual([])
      }
    }, 120_000)
  })

  describe('on a full disk', () => {
    it.skipIf(!AS_ROOT)(
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
