/**
 * Creates from a registry that keeps, breaks and loses its promises, through the whole of groot.
 */
import { readdirSync, writeFileSync } from 'node:fs'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Digest } from '../../lib/digest.js'
import { type GrootEvent, type GrootStore, openStore } from '../../lib/index.js'
import { type StoreLayout, storeLayout } from '../../lib/store/layout.js'
import { layer } from '../../lib/testkit/layer.js'
import { treeLines } from '../../lib/testkit/tree-lines.js'
import { EMPTY, Place } from '../lib/operations/testing.js'
import { type FakeRegistry, REPOSITORY, respond, startRegistry } from '../lib/registry/fake-registry.js'

let place: Place
let registry: FakeRegistry
let store: GrootStore
beforeEach(async () => {
  place = new Place()
  registry = await startRegistry()
  store = await openStore({ path: place.store, thread: 'caller' })
})
afterEach(async () => {
  await store.close()
  await registry[Symbol.asyncDispose]()
  place.remove()
})

const PLATFORM = { os: 'linux', architecture: 'amd64' }
const bytes = layer().dir('etc').file('etc/large', Buffer.alloc(400_000, 'large')).build()
const create = (reference: string, change = {}) =>
  store.create(
    place.request({
      image: `docker://${registry.host}/${REPOSITORY}${reference}`,
      platform: 'linux/amd64',
      ...change,
    }),
  )

describe('create from a registry', () => {
  it('makes the same image by tag and by digest', async () => {
    const { digest } = registry.putImage([bytes], { tag: 'v1', platform: PLATFORM })
    const byTag = await create(':v1')
    const byDigest = await create(`@${digest}`, { id: 'b2' })
    expect([byTag.image.digest, byDigest.image.digest]).toEqual([digest, digest])
    expect(treeLines(byTag.rootfs)).toEqual(treeLines(byDigest.rootfs))
  })

  it('asks nobody for a digest that it has, and says so for a tag when nobody answers', async () => {
    const { digest } = registry.putImage([bytes], { tag: 'v1', platform: PLATFORM })
    await create(`@${digest}`)
    await registry[Symbol.asyncDispose]()
    const requests = registry.seen.length
    const again = await create(`@${digest}`, { id: 'b2' })
    expect([again.image.digest, registry.seen.length]).toEqual([digest, requests])
    await expect(create(':v1', { id: 'b3' })).rejects.toMatchObject({
      code: 'registry-unreachable',
      exitStatus: 15,
    })
  })

  it('uses what a tag was last when no registry can be asked, with a warning', async () => {
    const { digest } = registry.putImage([bytes], { tag: 'v1', platform: PLATFORM })
    await create(':v1')
    await registry[Symbol.asyncDispose]()
    const events: GrootEvent[] = []
    const onEvent = (event: GrootEvent) => void events.push(event)
    const again = await create(':v1', { id: 'b2', onEvent })
    expect(again.image.digest).toBe(digest)
    expect(events).toContainEqual(
      expect.objectContaining({
        kind: 'warning',
        code: 'image-from-cache',
        facts: expect.objectContaining({ digest }),
      }),
    )
    await expect(create(':v1', { id: 'b3', pull: 'always' })).rejects.toMatchObject({ kind: 'registry' })
  })

  it('looks a tag up again each time, unless it must not ask', async () => {
    const old = registry.putImage([bytes], { tag: 'v1', platform: PLATFORM })
    await expect(create(':v1', { pull: 'never' })).rejects.toMatchObject({
      code: 'image-missing',
      exitStatus: 13,
    })
    expect(registry.seen).toEqual([])
    await create(':v1')
    const news = registry.putImage([layer().file('news', 'x').build()], { tag: 'v1', platform: PLATFORM })
    const requests = registry.seen.length
    expect((await create(':v1', { id: 'b2', pull: 'never' })).image.digest).toBe(old.digest)
    expect(registry.seen).toHaveLength(requests)
    expect((await create(':v1', { id: 'b3' })).image.digest).toBe(news.digest)
  })

  it.each([
    ['the record of what it was last', ({ refs }: StoreLayout) => `${refs}/${readdirSync(refs)[0]}`],
    ['its manifest', (layout: StoreLayout, digest: Digest) => layout.blob(digest)],
  ])('asks for a tag also where %s is damaged', async (_what, damaged) => {
    const { digest } = registry.putImage([bytes], { tag: 'v1', platform: PLATFORM })
    await create(':v1')
    writeFileSync(damaged(storeLayout(place.store), digest as Digest), 'damaged')
    // Not by the one that has read it.
    await using other = await openStore({ path: place.store, thread: 'caller' })
    const image = `docker://${registry.host}/${REPOSITORY}:v1`
    const again = await other.create(place.request({ id: 'b2', image, platform: 'linux/amd64' }))
    expect(again.image.digest).toBe(digest)
  })

  it('pulls an image so that a create asks nobody', async () => {
    const { digest } = registry.putImage([bytes], { tag: 'v1', platform: PLATFORM })
    const image = `docker://${registry.host}/${REPOSITORY}@${digest}`
    const pulled = await store.pull({ image, platform: 'linux/amd64' })
    expect(pulled.image.digest).toBe(digest)
    expect(place.contents()).toEqual(EMPTY)
    const requests = registry.seen.length
    expect((await create(`@${digest}`)).digest).toBe(pulled.digest)
    expect(registry.seen).toHaveLength(requests)
  })

  it('does not take a cached image for another platform', async () => {
    const { digest } = registry.putImage([bytes], { platform: PLATFORM })
    await create(`@${digest}`)
    await expect(create(`@${digest}`, { id: 'b2', platform: 'linux/arm64' })).rejects.toMatchObject({
      code: 'platform-missing',
    })
  })

  it.each([
    ['a blob that is another', Buffer.from(bytes).fill(1, 600, 700), 'digest-mismatch'],
    ['a blob that is shorter', bytes.subarray(0, 1000), 'size-mismatch'],
    ['nothing in the place of a blob', null, 'blob-missing'],
  ])('refuses %s, and leaves nothing', async (_, body, code) => {
    registry.putImage([bytes], { tag: 'v1', platform: PLATFORM })
    const { digest } = registry.putBlob(bytes)
    registry.fault = (request, response) => {
      if (request.url !== `/v2/${REPOSITORY}/blobs/${digest}`) return false
      respond(response, body === null ? 404 : 200, body ?? Buffer.from('none'), {})
      return true
    }
    await expect(create(':v1')).rejects.toMatchObject({ code })
    expect(place.contents()).toEqual(EMPTY)
  })

  it('ends when it is aborted while a blob does not come', async () => {
    registry.putImage([bytes], { tag: 'v1', platform: PLATFORM })
    const { digest } = registry.putBlob(bytes)
    const controller = new AbortController()
    registry.fault = (request, response) => {
      if (request.url !== `/v2/${REPOSITORY}/blobs/${digest}`) return false
      response.writeHead(200, { 'content-length': bytes.length })
      response.write(bytes.subarray(0, 1000))
      setTimeout(() => controller.abort(), 50)
      return true
    }
    await expect(create(':v1', { signal: controller.signal })).rejects.toMatchObject({ code: 'aborted' })
    expect(place.contents()).toEqual(EMPTY)
  })

  it('reads a layer once for many creates at once', async () => {
    registry.putImage([bytes], { tag: 'v1', platform: PLATFORM })
    const { digest } = registry.putBlob(bytes)
    const events: GrootEvent[] = []
    const ids = Array.from({ length: 12 }, (_, i) => `b${i}`)
    await Promise.all(
      ids.map((id) => create(':v1', { id, onEvent: (event: GrootEvent) => void events.push(event) })),
    )
    expect(registry.seen.filter(({ path }) => path.endsWith(`/blobs/${digest}`))).toHaveLength(1)
    expect(events.filter(({ kind }) => kind === 'layer-done')).toHaveLength(1)
  })
})
