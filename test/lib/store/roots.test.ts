import { mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { beforeEach, describe, expect, it } from 'vitest'
import { baseIdOf } from '../../../lib/store/base-id.js'
import { pinFile, writePin } from '../../../lib/store/pins.js'
import { RootReader } from '../../../lib/store/roots.js'
import { useScratch } from '../linux/scratch.js'
import { diffIdOf, SyntheticStore } from './synthetic-store.js'

const scratch = useScratch()
let store: SyntheticStore
beforeEach(async () => {
  store = await SyntheticStore.make(`${scratch.path}/store`)
})

const a = diffIdOf('a')
const b = diffIdOf('b')
const read = (isGone?: (what: 'lease' | 'bundle', name: string) => boolean) => {
  const { documents, layers, bases, pins, bundles, damaged } = new RootReader(store.layout, isGone).read()
  return {
    documents: [...documents],
    layers: [...layers],
    bases: [...bases],
    pins: [...pins],
    bundles: bundles.map(({ id }) => id),
    damaged: damaged.map(({ what, name, needsUnknown }) => ({ what, name, needsUnknown })),
  }
}
const NONE = { documents: [], layers: [], bases: [], pins: [], bundles: [], damaged: [] }

describe('roots', () => {
  it('of an empty store are none', () => {
    expect(read()).toEqual(NONE)
  })

  it('are what leases, bundles and pins say', () => {
    store.lease({
      bundle: 'x',
      image: diffIdOf('i'),
      config: diffIdOf('c'),
      layers: [a],
      base: baseIdOf([a]),
    })
    store.lease({})
    store.bundle('web', [b])
    const pinned = { documents: [diffIdOf('p')], layers: [] }
    writePin(store.layout, { format: 1, image: 'docker://r/a:1', pinnedAt: '', images: [pinned] })
    expect(read()).toEqual({
      documents: [diffIdOf('i'), diffIdOf('c'), diffIdOf('manifest'), diffIdOf('config'), diffIdOf('p')],
      layers: [a, b],
      bases: [baseIdOf([a]), baseIdOf([b]), baseIdOf([])],
      pins: [pinFile('docker://r/a:1')],
      bundles: ['web'],
      damaged: [],
    })
  })

  it('are not what dead leases say', () => {
    const dead = store.lease({ layers: [a] })
    store.lease({ layers: [b] })
    expect(read((what, name) => what === 'lease' && name === dead)).toEqual({ ...NONE, layers: [b] })
  })

  it('are bundles that are being deleted, for as long as they are there', () => {
    store.bundle('web', [a])
    renameSync(store.layout.record('web' as never), `${store.layout.trash}/web-0123456789ab.json`)
    expect(read()).toMatchObject({ layers: [a], bundles: ['web'] })
    rmSync(`${store.layout.bundles}/web`, { recursive: true })
    expect(read()).toEqual(NONE)
  })

  it('of a damaged bundle record are what its files say, and else unknown', () => {
    store.bundle('web', [a], '{"format":1')
    store.bundle('lost', [a], '')
    writeFileSync(
      `${store.layout.bundles}/web/image.json`,
      JSON.stringify({
        os: 'linux',
        architecture: 'amd64',
        config: {},
        rootfs: { type: 'layers', diff_ids: [a, b] },
      }),
    )
    expect(read()).toEqual({
      ...NONE,
      layers: [a, b],
      bases: [baseIdOf([a, b])],
      bundles: ['web'],
      damaged: [
        { what: 'bundle', name: 'lost', needsUnknown: true },
        { what: 'bundle', name: 'web', needsUnknown: false },
      ],
    })
  })

  it.each([
    ['{"format":1', 'no JSON'],
    ['{"format":2,"needs":{}}', 'a newer format'],
    ['{"format":1,"needs":{"layers":["../x"]}}', 'a layer that is none'],
  ])('of the lease %s are unknown: %s', (text) => {
    const id = store.lease(text)
    expect(read()).toEqual({ ...NONE, damaged: [{ what: 'lease', name: id, needsUnknown: true }] })
  })

  it('of a damaged pin are what its name means', () => {
    mkdirSync(store.layout.pins, { recursive: true })
    writeFileSync(`${store.layout.pins}/${pinFile('x')}`, 'x')
    expect(read()).toEqual({
      ...NONE,
      pins: [pinFile('x')],
      damaged: [{ what: 'pin', name: pinFile('x'), needsUnknown: false }],
    })
  })

  it('are never read from temporary files and strays', () => {
    for (const directory of [store.layout.records, store.layout.leases, store.layout.pins]) {
      writeFileSync(`${directory}/.tmp-a.json-00`, '{')
      writeFileSync(`${directory}/stray`, '{')
    }
    expect(read()).toEqual(NONE)
  })

  it('are there at every look, whatever changes in between', () => {
    const reader = new RootReader(store.layout)
    for (let i = 0; i < 100; i++) {
      store.bundle('web', [diffIdOf(i)])
      const lease = store.lease({ layers: [diffIdOf(`lease ${i}`)] })
      expect([...reader.read().layers]).toEqual([diffIdOf(`lease ${i}`), diffIdOf(i)])
      rmSync(`${store.layout.leases}/${lease}.json`)
    }
    expect(readdirSync(store.layout.leases)).toEqual([])
  })
})
