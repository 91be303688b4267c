import { chmodSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type GrootStore, openStore } from '../../../lib/index.js'
import { treeLines } from '../../../lib/testkit/tree-lines.js'
import { onFilesystemOf } from '../../support/btrfs.js'
import { DRIVERS } from '../../support/mounts.js'
import { Place, sampleLayer } from './testing.js'

let place: Place
let store: GrootStore

describe.each(DRIVERS)('check --repair with the driver %s', (driver) => {
  onFilesystemOf(driver)
  beforeEach(async () => {
    place = new Place()
    store = await openStore({ path: place.store, driver, thread: 'caller' })
  })
  afterEach(async () => {
    await store.close()
    place.remove()
  })

  const files = (directory: string): string[] =>
    readdirSync(directory, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => `${entry.parentPath}/${entry.name}`)
  const flip = (path: string) => {
    const bytes = readFileSync(path)
    bytes[bytes.length >> 1]! ^= 1
    chmodSync(path, 0o644)
    writeFileSync(path, bytes)
  }
  const object = () => files(`${place.store}/objects`)[0]!

  async function expectMended(damage: () => void): Promise<void> {
    const image = place.image([sampleLayer()])
    const { rootfs } = await store.create(place.request({ image }))
    const lines = treeLines(rootfs)
    damage()
    const found = (await store.check()).problems
    expect(found).not.toEqual([])
    expect(found.every(({ repaired }) => !repaired)).toBe(true)
    const { problems } = await store.check({ repair: true })
    expect(problems.filter(({ repaired }) => !repaired)).toEqual([])
    expect((await store.check()).problems).toEqual([])
    const again = await store.create(place.request({ image, id: 'again' }))
    expect(treeLines(again.rootfs)).toEqual(lines)
  }

  it('brings back an altered object', () => expectMended(() => flip(object())))
  it('brings back an object that is gone', () => expectMended(() => rmSync(object())))
  it('brings back an altered layer', () => expectMended(() => flip(files(`${place.store}/layers`)[0]!)))
  it('brings back altered documents', () =>
    expectMended(() => {
      for (const file of files(`${place.store}/images`)) if (!file.includes('/refs/')) flip(file)
    }))
  it('brings back a base record', () =>
    expectMended(() => writeFileSync(files(`${place.store}/bases`)[0]!, '{')))
  it('mends what a killed create and a careless hand left in bundles', () =>
    expectMended(() => {
      writeFileSync(`${place.store}/bundles/b1/image.json`, '{}')
      mkdirSync(`${place.store}/bundles/orphan/rootfs/etc`, { recursive: true })
    }))
  it.skipIf(driver !== 'overlay')('brings back an altered base', () =>
    expectMended(() =>
      flip(files(`${place.store}/drivers/overlay/bases`).find((file) => file.endsWith('/image'))!),
    ),
  )

  it('says what is lost when the image cannot be had again', async () => {
    const image = place.image([sampleLayer()])
    await store.create(place.request({ image }))
    renameSync(image.slice('oci:'.length), `${place.directory}/elsewhere`)
    flip(object())
    const { problems } = await store.check({ repair: true })
    expect(problems.map(({ what, repaired }) => [what, repaired])).toEqual([
      ['layer', false],
      ['object', false],
    ])
    expect(problems[0]!.remedy).toMatch(/^the layer is lost: .*image1/)
  })

  it('leaves files alone that are not its own', async () => {
    await store.create(place.request())
    writeFileSync(`${place.store}/layers/stray`, '')
    const { problems } = await store.check({ repair: true })
    expect(problems).toMatchObject([{ code: 'stray-file', repaired: false }])
    expect(readdirSync(`${place.store}/layers`)).toContain('stray')
  })
})
