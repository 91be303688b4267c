import {
  appendFileSync,
  copyFileSync,
  readdirSync,
  readFileSync,
  renameSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { DiffId } from '../../../lib/digest.js'
import { type GrootEvent, type GrootStore, openStore } from '../../../lib/index.js'
import { DEFAULT_LIMITS } from '../../../lib/layer/limits.js'
import { EarlyMerge } from '../../../lib/operations/early-merge.js'
import { type StoreLayout, storeLayout } from '../../../lib/store/layout.js'
import { layer } from '../../../lib/testkit/layer.js'
import { Place } from './testing.js'

let place: Place
let store: GrootStore
let layout: StoreLayout
let order: DiffId[]
let digest: string
beforeEach(async () => {
  place = new Place()
  store = await openStore({ path: place.store, driver: 'vfs', thread: 'caller' })
  layout = storeLayout(place.store)
  const image = place.image([
    layer()
      .dir('etc')
      .pax([['SCHILY.xattr.security.selinux', 'label']])
      .file('etc/a', 'one')
      .file('etc/b', 'two'),
    layer().whiteout('etc/a').file('etc/c', Buffer.alloc(9999, 'c')),
  ])
  const events: GrootEvent[] = []
  const made = await store.create({
    ...place.request({ id: 'model', image }),
    onEvent: (event) => events.push(event),
  })
  digest = made.digest
  order = events.flatMap((event) => (event.kind === 'layer-queued' ? [event.diffId as DiffId] : []))
  expect(order.length).toBe(2)
})
afterEach(async () => {
  await store.close()
  place.remove()
})

const { signal } = new AbortController()
const early = () => new EarlyMerge(order, DEFAULT_LIMITS, signal)

describe('layers that are merged while others are still coming', () => {
  it('become the tree that they are in the store, whatever order they come in', async () => {
    for (const coming of [order, [...order].reverse()]) {
      using merge = early()
      for (const diffId of coming) merge.recorded(diffId, layout.layer(diffId))
      for (const diffId of coming) merge.announced(diffId)
      const merged = await merge.result()
      expect([merged?.image.digest(), merged?.entries]).toEqual([digest, 5])
      expect([...merged!.dropped.counts]).toEqual([['security.selinux', 1]])
    }
  })

  it('are read also when their records move meanwhile', async () => {
    using merge = early()
    for (const diffId of order) {
      const moved = `${layout.layer(diffId)}-moved`
      merge.recorded(diffId, layout.layer(diffId))
      renameSync(layout.layer(diffId), moved)
      merge.announced(diffId)
    }
    expect((await merge.result())?.image.digest()).toBe(digest)
  })

  it('are merged while their records grow, whatever of them is there', async () => {
    const growing = `${layout.layer(order[0]!)}-growing`
    const whole = readFileSync(layout.layer(order[0]!))
    // The magic and the only block; its lengths stand before it.
    const blockEnd = 8 + 8 + whole.readUInt32LE(8)
    using merge = early()
    merge.known(order[1]!, layout.layer(order[1]!))
    writeFileSync(growing, whole.subarray(0, blockEnd))
    merge.recording(order[0]!, growing)
    await new Promise((resolve) => setTimeout(resolve, 20))
    appendFileSync(growing, whole.subarray(blockEnd))
    merge.recorded(order[0]!, growing)
    merge.announced(order[0]!)
    expect((await merge.result())?.image.digest()).toBe(digest)
  })

  it('come to nothing when a layer is read again from elsewhere, or is never whole', async () => {
    const other = `${layout.layer(order[0]!)}-other`
    copyFileSync(layout.layer(order[0]!), other)
    for (const end of [(merge: EarlyMerge) => merge.recorded(order[0]!, layout.layer(order[0]!)), () => {}]) {
      using merge = early()
      merge.recording(order[0]!, other)
      end(merge)
      for (const diffId of order) merge.announced(diffId)
      merge.recorded(order[1]!, layout.layer(order[1]!))
      expect(await merge.result()).toBeNull()
    }
  })

  it('come to nothing when one is not told of, is gone, or is no layer record', async () => {
    {
      using merge = early()
      merge.known(order[0]!, layout.layer(order[0]!))
      expect(await merge.result()).toBeNull()
    }
    {
      using merge = early()
      merge.known(order[0]!, layout.descriptor)
      merge.known(order[1]!, layout.layer(order[1]!))
      expect(await merge.result()).toBeNull()
    }
    unlinkSync(layout.layer(order[1]!))
    using merge = early()
    for (const diffId of order) merge.known(diffId, layout.layer(diffId))
    expect(await merge.result()).toBeNull()
  })

  it('are let go of, whatever was read of them', async () => {
    const open = () => readdirSync('/proc/self/fd').length
    const before = open()
    for (const count of [0, 1, 2]) {
      using merge = early()
      for (const diffId of order.slice(0, count)) merge.known(diffId, layout.layer(diffId))
    }
    await new Promise((resolve) => setTimeout(resolve, 20))
    expect(open()).toBe(before)
  })
})

describe('an image whose layers do not fit on each other', () => {
  it('is refused by name all the same, and its layers stay', async () => {
    const image = place.image([layer().file('a', 'x'), layer().hardlink('b', 'nowhere')])
    await expect(store.create(place.request({ id: 'bad', image }))).rejects.toMatchObject({
      code: 'layer-invalid',
    })
    expect(readdirSync(layout.layers).length).toBe(4)
  })
})
