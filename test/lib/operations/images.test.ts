import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type GrootEvent, type GrootStore, type ImageSummary, openStore } from '../../../lib/index.js'
import { LockManager } from '../../../lib/locks/locks.js'
import { type StoreLayout, storeLayout } from '../../../lib/store/layout.js'
import { Lease } from '../../../lib/store/leases.js'
import { layer } from '../../../lib/testkit/layer.js'
import { EMPTY, Place } from './testing.js'

let place: Place
let store: GrootStore
let layout: StoreLayout
beforeEach(async () => {
  place = new Place()
  store = await openStore({ path: place.store, driver: 'vfs', thread: 'caller' })
  layout = storeLayout(place.store)
})
afterEach(async () => {
  await store.close()
  place.remove()
})

/** A layer with contents of its own of so many bytes, whole blocks. */
const layerOf = (name: string, bytes = 100 * 4096) => layer().file(name, Buffer.alloc(bytes, `${name} `))
const create = (id: string, image: string) => store.create(place.request({ id, image }))
const pull = (image: string) => store.pull({ image })
const blocks = (path: string) => statSync(path).blocks * 512
const objects = () =>
  readdirSync(layout.objects).flatMap((prefix) => readdirSync(`${layout.objects}/${prefix}`))
const named = (images: readonly ImageSummary[], reference: string) =>
  images.find(({ references }) => references.includes(reference))

async function listed(): Promise<{ images: ImageSummary[]; warnings: GrootEvent[] }> {
  const warnings: GrootEvent[] = []
  const images = await store.images({ onEvent: (event) => void warnings.push(event) })
  return { images, warnings }
}

/** Everything of images that the store has. */
const remains = () => [
  objects().length,
  readdirSync(layout.layers).length,
  readdirSync(layout.bases).length,
  readdirSync(layout.images).filter((name) => name !== 'refs').length,
  readdirSync(layout.refs).length,
]

describe('images', () => {
  it('finds nothing in an empty store', async () => {
    expect(await listed()).toEqual({ images: [], warnings: [] })
  })

  it('tells names, digests, bytes, users and the last use of each image', async () => {
    const image = place.image([layerOf('one')])
    const bundle = await create('b1', image)
    const { images, warnings } = await listed()
    expect(warnings).toEqual([])
    const documents = readdirSync(layout.images).filter((name) => name !== 'refs')
    const total = [
      ...documents.map((name) => `${layout.images}/${name}`),
      ...readdirSync(layout.refs).map((name) => `${layout.refs}/${name}`),
      ...readdirSync(layout.layers).map((name) => `${layout.layers}/${name}`),
      ...readdirSync(layout.bases).map((name) => `${layout.bases}/${name}`),
      ...readdirSync(layout.objects).flatMap((prefix) =>
        readdirSync(`${layout.objects}/${prefix}`).map((name) => `${layout.objects}/${prefix}/${name}`),
      ),
    ].reduce((sum, path) => sum + blocks(path), 0)
    expect(images).toEqual([
      {
        digest: bundle.image.digest,
        references: [image],
        platform: 'linux/amd64',
        tree: bundle.digest,
        complete: true,
        totalBytes: total,
        sharedBytes: 0,
        ownBytes: total,
        lastUsedAt: expect.any(String),
        pinned: false,
        bundles: 1,
      },
    ])
    expect(Math.abs(Date.now() - Date.parse(images[0]!.lastUsedAt))).toBeLessThan(120_000)
  })

  it('counts what images share for each of them, and what is in two layers of one image once', async () => {
    const shared = layerOf('shared')
    const one = place.image([shared, layerOf('one', 10 * 4096)])
    // Its second layer has the contents of the first again, under another name.
    const two = place.image([shared, layer().file('again', Buffer.alloc(100 * 4096, 'shared '))])
    await pull(one)
    await pull(two)
    const { images } = await listed()
    const [a, b] = [named(images, one)!, named(images, two)!]
    for (const each of [a, b]) {
      expect(each.sharedBytes).toBeGreaterThanOrEqual(100 * 4096)
      expect(each.sharedBytes).toBeLessThan(105 * 4096)
      expect(each.totalBytes).toBe(each.sharedBytes + each.ownBytes)
    }
    expect(a.ownBytes).toBeGreaterThanOrEqual(10 * 4096)
    expect(a.ownBytes).toBeLessThan(30 * 4096)
    expect(b.ownBytes).toBeLessThan(20 * 4096)
  })

  it('counts what removing an image would free as its own, to the byte', async () => {
    const shared = layerOf('shared')
    const one = place.image([shared, layerOf('one')])
    const two = place.image([shared, layerOf('two')])
    await pull(one)
    await pull(two)
    const own = named((await listed()).images, one)!.ownBytes
    expect((await store.removeImages({ images: [one] })).freedBytes).toBe(own)
  })

  it('knows what is pinned, by name, by digest, and by what a name meant once', async () => {
    const one = place.image([layerOf('one')])
    const two = place.image([layerOf('two')])
    const { image } = await pull(one)
    await pull(two)
    await store.pin(image.digest)
    const { images } = await listed()
    expect([named(images, one)?.pinned, named(images, two)?.pinned]).toEqual([true, false])
    await store.pin(two)
    expect(named((await listed()).images, two)?.pinned).toBe(true)
  })

  it('lists several names of one image in one entry', async () => {
    const [one, two] = [place.image([layerOf('same')]), place.image([layerOf('same')])]
    await pull(one)
    await pull(two)
    const { images } = await listed()
    expect(images.map(({ references }) => references)).toEqual([[one, two]])
  })

  it('says so when layers are missing, and that the tree is not known without a base', async () => {
    const image = place.image([layerOf('one')])
    await store.digest({ image })
    expect((await listed()).images[0]).toMatchObject({ complete: true, tree: null })
    const { unlinkSync } = await import('node:fs')
    for (const name of readdirSync(layout.layers)) unlinkSync(`${layout.layers}/${name}`)
    expect((await listed()).images[0]).toMatchObject({ complete: false })
  })

  it('leaves out what is damaged with a warning, and lists the rest', async () => {
    const [one, two] = [place.image([layerOf('one')]), place.image([layerOf('two')])]
    await create('b1', one)
    const { image } = await pull(two)
    const manifest = `${layout.images}/${image.digest.replace(':', '-')}`
    writeFileSync(manifest, 'other bytes')
    writeFileSync(`${layout.record('b1' as never)}`, '{')
    writeFileSync(`${layout.refs}/${'0'.repeat(64)}.json`, 'no json')
    const { images, warnings } = await listed()
    expect(images.map(({ references, bundles }) => [references, bundles])).toEqual([[[one], 0]])
    const facts = warnings.map((event) => event.kind === 'warning' && [event.code, event.facts?.what])
    expect(facts.sort()).toEqual([
      ['record-damaged', 'bundle'],
      ['record-damaged', 'image'],
      ['record-damaged', 'image'],
    ])
  })

  it('counts what it can of a damaged layer', async () => {
    const image = place.image([layerOf('one')])
    await pull(image)
    const [record = ''] = readdirSync(layout.layers)
    const bytes = readFileSync(`${layout.layers}/${record}`)
    writeFileSync(`${layout.layers}/${record}`, bytes.subarray(0, bytes.length - 4))
    const { images, warnings } = await listed()
    expect(images.map(({ references }) => references)).toEqual([[image]])
    expect(warnings).toMatchObject([{ code: 'record-damaged', facts: { what: 'layer' } }])
  })

  it('counts many images that share their layers in little time', async () => {
    const base = Array.from({ length: 2000 }, (_, at) => at).reduce(
      (each, at) => each.file(`f${at}`, Buffer.alloc(5000, `content ${at} `)),
      layer(),
    )
    const first = place.image([base])
    await pull(first)
    const document = JSON.parse(
      readFileSync(`${layout.images}/${(await listed()).images[0]!.digest.replace(':', '-')}`, 'utf8'),
    )
    const { createHash } = await import('node:crypto')
    for (let at = 0; at < 500; at++) {
      const bytes = JSON.stringify({ ...document, annotations: { at: String(at) } })
      const digest = createHash('sha256').update(bytes).digest('hex')
      writeFileSync(`${layout.images}/sha256-${digest}`, bytes)
    }
    const before = performance.now()
    const { images } = await listed()
    expect(images.length).toBe(501)
    expect(images.every(({ totalBytes }) => totalBytes > 2000 * 8192)).toBe(true)
    expect(performance.now() - before).toBeLessThan(5000)
  })
})

describe('rmi', () => {
  it('removes an image with its name, base, layers and objects, and nothing of the others', async () => {
    const shared = layerOf('shared')
    const one = place.image([shared, layerOf('one')])
    const two = place.image([shared, layerOf('two')])
    const { image } = await pull(one)
    await pull(two)
    const report = await store.removeImages({ images: [one] })
    expect(report.images).toEqual([{ digest: image.digest, untagged: [one], removed: true }])
    expect(report.removed.map(({ what }) => what).sort()).toEqual(['base', 'image', 'layer'])
    expect(report).toMatchObject({ objects: 1, skipped: [] })
    expect((await listed()).images.map(({ references }) => references)).toEqual([[two]])
    expect((await store.check()).problems).toEqual([])
    await store.removeImages({ images: [two] })
    expect(remains()).toEqual([0, 0, 0, 0, 0])
    expect(place.contents()).toEqual(EMPTY)
  })

  it('takes a name away while there is another, and the image with the last one', async () => {
    const [one, two] = [place.image([layerOf('same')]), place.image([layerOf('same')])]
    const { image } = await pull(one)
    await pull(two)
    const first = await store.removeImages({ images: [one] })
    expect(first.images).toEqual([{ digest: image.digest, untagged: [one], removed: false }])
    expect([first.objects, first.removed]).toEqual([0, []])
    expect((await listed()).images[0]?.references).toEqual([two])
    const second = await store.removeImages({ images: [two] })
    expect(second.images).toEqual([{ digest: image.digest, untagged: [two], removed: true }])
    expect(remains()).toEqual([0, 0, 0, 0, 0])
  })

  it('refuses a digest with several names, unless each is named or it is forced', async () => {
    const [one, two] = [place.image([layerOf('same')]), place.image([layerOf('same')])]
    const { image } = await pull(one)
    await pull(two)
    await expect(store.removeImages({ images: [image.digest] })).rejects.toMatchObject({
      code: 'image-in-use',
      exitStatus: 11,
      temporary: false,
      facts: { references: [one, two], bundles: [] },
    })
    expect((await listed()).images[0]?.references).toEqual([one, two])
    const report = await store.removeImages({ images: [image.digest], force: true })
    expect(report.images).toEqual([{ digest: image.digest, untagged: [one, two], removed: true }])
    await pull(one)
    await pull(two)
    expect((await store.removeImages({ images: [one, two] })).images[0]?.removed).toBe(true)
    await pull(one)
    expect((await store.removeImages({ images: [image.digest] })).images[0]?.removed).toBe(true)
    expect(remains()).toEqual([0, 0, 0, 0, 0])
  })

  it('refuses an image that a bundle was made from; forced, it takes the name, and the bundle stays whole', async () => {
    const image = place.image([layerOf('one')])
    const bundle = await create('b1', image)
    await expect(store.removeImages({ images: [image] })).rejects.toMatchObject({
      code: 'image-in-use',
      facts: { image, bundles: ['b1'], references: [] },
    })
    const report = await store.removeImages({ images: [image], force: true })
    expect(report.images).toEqual([{ digest: bundle.image.digest, untagged: [image], removed: false }])
    expect((await listed()).images).toMatchObject([{ references: [], bundles: 1, complete: true }])
    expect(readFileSync(`${bundle.rootfs}/one`).length).toBe(100 * 4096)
    expect((await store.check()).problems).toEqual([])
    await store.delete('b1')
    await store.clean()
    expect(remains()).toEqual([0, 0, 0, 0, 0])
  })

  it('takes a name from an image in use that has others, without force', async () => {
    const [one, two] = [place.image([layerOf('same')]), place.image([layerOf('same')])]
    await create('b1', one)
    await pull(two)
    expect((await store.removeImages({ images: [two] })).images[0]).toMatchObject({
      untagged: [two],
      removed: false,
    })
  })

  it.each(['name', 'digest', 'meaning'] as const)(
    'refuses an image that is pinned by %s, forced or not',
    async (by) => {
      const image = place.image([layerOf('one')])
      const pulled = await pull(image)
      const { digest } = pulled.image
      const pin = by === 'digest' ? digest : image
      await store.pin(pin)
      const asked = by === 'meaning' ? digest : image
      for (const force of [false, true]) {
        await expect(store.removeImages({ images: [asked], force })).rejects.toMatchObject({
          code: 'image-pinned',
          exitStatus: 11,
          facts: { image: asked, pin },
        })
      }
      expect((await listed()).images[0]).toMatchObject({ references: [image], pinned: true })
      await store.unpin(pin)
      expect((await store.removeImages({ images: [asked] })).images[0]?.removed).toBe(true)
    },
  )

  it('refuses an image that a running operation needs', async () => {
    const image = place.image([layerOf('one')])
    const { image: known } = await pull(image)
    const locks = new LockManager(layout.locks, { command: 'test' })
    {
      await using lease = new Lease(layout, locks, { timeoutMs: 1000 })
      await lease.need({ image: known.digest })
      await expect(store.removeImages({ images: [image] })).rejects.toMatchObject({ code: 'image-in-use' })
    }
    expect((await store.removeImages({ images: [image] })).images[0]?.removed).toBe(true)
  })

  it('removes nothing when one of the images is not there', async () => {
    const image = place.image([layerOf('one')])
    await pull(image)
    const missing = `oci:${place.directory}/nowhere`
    await expect(store.removeImages({ images: [image, missing] })).rejects.toMatchObject({
      code: 'image-missing',
      exitStatus: 13,
      facts: { image: missing },
    })
    await expect(store.removeImages({ images: [`sha256:${'0'.repeat(64)}`] })).rejects.toMatchObject({
      code: 'image-missing',
    })
    await expect(store.removeImages({ images: [] })).rejects.toMatchObject({ code: 'usage-invalid' })
    expect((await listed()).images.length).toBe(1)
  })

  it('leaves what is merely unused to clean', async () => {
    const [one, two] = [place.image([layerOf('one')]), place.image([layerOf('two')])]
    await pull(one)
    await pull(two)
    const before = remains()
    await pull(place.image([layerOf('three')]))
    await store.removeImages({ images: [(await listed()).images[2]!.digest] })
    expect(remains()).toEqual(before)
  })

  it('says nothing of what is strange in the store, unless it is why something stays', async () => {
    const [one, two] = [place.image([layerOf('one')]), place.image([layerOf('two')])]
    await pull(one)
    await pull(two)
    writeFileSync(`${layout.objects}/stray`, '')
    writeFileSync(`${layout.layers}/stray`, '')
    expect((await store.removeImages({ images: [one] })).skipped).toEqual([])
    // What this bundle needs nobody knows.
    writeFileSync(layout.record('lost' as never), '{')
    const report = await store.removeImages({ images: [two] })
    expect(report.skipped).toMatchObject([{ what: 'bundle', name: 'lost', code: 'record-damaged' }])
  })

  it('removes damaged images by digest', async () => {
    const { image } = await pull(place.image([layerOf('one')]))
    writeFileSync(`${layout.images}/${image.digest.replace(':', '-')}`, 'other bytes')
    const report = await store.removeImages({ images: [image.digest] })
    expect(report.images[0]?.removed).toBe(true)
    expect((await listed()).images).toEqual([])
  })

  it('works beside creates of the same image: each of them has a whole bundle', async () => {
    const image = place.image([layerOf('one'), layerOf('two')])
    await pull(image)
    const removals = (async () => {
      for (let at = 0; at < 10; at++)
        await store
          .removeImages({ images: [image] })
          .catch((error) => expect(error.kind).toMatch(/busy|not-found/))
    })()
    for (let at = 0; at < 10; at++) {
      const { rootfs } = await create(`b${at}`, image)
      expect(readFileSync(`${rootfs}/two`).length).toBe(100 * 4096)
      await store.delete(`b${at}`)
    }
    await removals
    expect((await store.check()).problems).toEqual([])
  })

  it('answers on the engine thread too', async () => {
    const image = place.image([layerOf('one')])
    await using other = await openStore({ path: place.store })
    await other.pull({ image })
    expect((await other.images()).map(({ references }) => references)).toEqual([[image]])
    expect((await other.removeImages({ images: [image] })).images[0]?.removed).toBe(true)
  })
})
