import { spawnSync } from 'node:child_process'
import { existsSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type GrootEvent, openStore } from '../../../lib/index.js'
import { layer } from '../../../lib/testkit/layer.js'
import { EMPTY, Place } from '../operations/testing.js'

let place: Place
beforeEach(() => {
  place = new Place()
})
afterEach(() => place.remove())

describe('the library on its engine thread', () => {
  it('does all that it does on the calling thread, events included', async () => {
    await using store = await openStore({ path: place.store })
    const events: GrootEvent[] = []
    const info = await store.create(place.request({ onEvent: (event) => void events.push(event) }))
    expect(existsSync(`${info.rootfs}/large`)).toBe(true)
    expect(events.map((event) => event.kind)).toEqual(
      expect.arrayContaining(['image-resolved', 'layer-start', 'layer-done', 'tree-merged', 'rootfs-ready']),
    )
    expect((await store.list()).map((bundle) => bundle.id)).toEqual(['b1'])
    expect((await store.stats('b1')).disk_usage.total_bytes_used).toBeGreaterThan(200_000)
    expect((await store.check()).problems).toEqual([])
    expect(await store.delete('b1')).toEqual({ id: 'b1', existed: true })
  })

  it('works in a thread of the caller without a word on its streams', async () => {
    const path = `${place.directory}/in-thread.mjs`
    writeFileSync(
      path,
      `import { isMainThread, Worker } from 'node:worker_threads'
       import { openStore } from ${JSON.stringify(fileURLToPath(new URL('../../../dist/bundle/lib/index.js', import.meta.url)))}
       if (isMainThread) new Worker(new URL(import.meta.url))
       else {
         const store = await openStore({ path: ${JSON.stringify(place.store)} })
         await store.create(${JSON.stringify(place.request({ id: 'a' }))})
         await store.unmount('a')
         await store.mount('a')
         await store.delete('a')
         await store.close()
       }`,
    )
    const { status, stdout, stderr } = spawnSync(process.execPath, [path], { encoding: 'utf8' })
    expect({ status, stdout, stderr }).toEqual({ status: 0, stdout: '', stderr: '' })
  })

  it('cleans, pins and shows locks', async () => {
    await using store = await openStore({ path: place.store })
    const info = await store.create(place.request())
    await store.delete('b1')
    const pin = await store.pin(info.image.digest)
    expect(pin).toEqual({ image: info.image.digest, changed: true })
    expect(await store.clean({ thresholdBytes: 1 })).toMatchObject({ removed: [], pinned: [pin.image] })
    expect(await store.unpin(info.image.digest)).toEqual(pin)
    const events: GrootEvent[] = []
    const report = await store.clean({ onEvent: (event) => void events.push(event) })
    expect(report).toMatchObject({ objects: 1, skipped: [], complete: true })
    expect(events.map((event) => event.kind)).toContain('clean-removed')
    expect(await store.locks()).toEqual([])
  })

  it('throws the same errors, of the same classes', async () => {
    await using store = await openStore({ path: place.store })
    await expect(store.stats('b1')).rejects.toMatchObject({
      name: 'NotFoundError',
      code: 'bundle-missing',
      facts: { id: 'b1' },
    })
    await expect(store.create(place.request({ id: '' }))).rejects.toMatchObject({
      name: 'UsageError',
      exitStatus: 2,
    })
    await expect(openStore({ path: 'relative' })).rejects.toMatchObject({ code: 'option-invalid' })
    await expect(openStore({ path: `${place.directory}/none`, make: false })).rejects.toMatchObject({
      code: 'store-missing',
    })
  })

  it('runs calls side by side', async () => {
    await using store = await openStore({ path: place.store })
    const image = place.image()
    const ids = Array.from({ length: 8 }, (_, i) => `b${i}`)
    await Promise.all(ids.map((id) => store.create(place.request({ image, id }))))
    expect((await store.list()).map((bundle) => bundle.id)).toEqual(ids)
  })

  it('aborts a call and leaves nothing', async () => {
    await using store = await openStore({ path: place.store })
    const big = layer()
    for (let i = 0; i < 500; i++) big.file(`f${i}`, Buffer.alloc(30_000, `${i} `))
    const controller = new AbortController()
    const create = store.create(
      place.request({
        image: place.image([big]),
        signal: controller.signal,
        onEvent: () => controller.abort(),
      }),
    )
    await expect(create).rejects.toMatchObject({ code: 'aborted' })
    expect(place.contents()).toEqual(EMPTY)
    await expect(store.create(place.request({ signal: AbortSignal.abort() }))).rejects.toMatchObject({
      code: 'aborted',
    })
  })

  it('closes by aborting what runs, so that nothing is left', async () => {
    const store = await openStore({ path: place.store })
    const big = layer()
    for (let i = 0; i < 500; i++) big.file(`f${i}`, Buffer.alloc(30_000, `${i} `))
    const create = store.create(place.request({ image: place.image([big]) })).catch((error) => error)
    await new Promise((resolve) => setTimeout(resolve, 20))
    await store.close()
    expect(await create).toMatchObject({ code: 'aborted' })
    expect(place.contents()).toEqual(EMPTY)
    await expect(store.list()).rejects.toMatchObject({ code: 'store-closed' })
  })
})
