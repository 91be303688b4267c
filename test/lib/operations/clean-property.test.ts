/**
 * After a clean exactly what can be reached is left, whatever the store held.
 */
import { closeSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { DiffId } from '../../../lib/digest.js'
import { openStore } from '../../../lib/index.js'
import { claimPath } from '../../../lib/linux/claim.js'
import { type BaseId, baseIdOf } from '../../../lib/store/base-id.js'
import { diffIdOf, SyntheticStore } from '../store/synthetic-store.js'

const LAYERS = 6
const OBJECTS = 12
const someLayers = fc.uniqueArray(fc.nat(LAYERS - 1), { maxLength: 4 })

const stores = fc.record({
  /** Objects of each layer; a layer may name one that is not there, or one twice. */
  layers: fc.array(fc.array(fc.nat(OBJECTS), { maxLength: 6 }), { minLength: LAYERS, maxLength: LAYERS }),
  /** Layers that have no record. */
  missing: fc.uniqueArray(fc.nat(LAYERS - 1), { maxLength: 2 }),
  bundles: fc.array(someLayers, { maxLength: 3 }),
  leases: fc.array(fc.record({ layers: someLayers, alive: fc.boolean() }), { maxLength: 3 }),
  bases: fc.array(someLayers, { maxLength: 4 }),
  images: fc.array(fc.record({ layers: someLayers, pinned: fc.boolean(), kept: fc.boolean() }), {
    maxLength: 4,
  }),
  leavings: fc.uniqueArray(fc.constantFrom('trash', 'staging', 'temporary', 'bundle'), { maxLength: 4 }),
})

type Model = typeof stores extends fc.Arbitrary<infer T> ? T : never

describe('a random store', () => {
  it('holds exactly what bundles, living leases, pins and kept images need, after one clean', async () => {
    await fc.assert(fc.asyncProperty(stores, checkStore), { numRuns: 60 })
  }, 240_000)
})

async function checkStore(model: Model): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'groot-clean-'))
  try {
    const synthetic = await SyntheticStore.make(`${directory}/store`)
    const { layout } = synthetic
    const held: number[] = []
    const needed = new Set<DiffId>()
    const neededBases = new Set<BaseId>()
    const need = (layers: readonly DiffId[]) => {
      for (const diffId of layers) needed.add(diffId)
      neededBases.add(baseIdOf(layers))
    }
    const ids = (numbers: readonly number[]) => numbers.map((number) => diffIdOf(number))

    const objects = Array.from({ length: OBJECTS }, (_, i) => synthetic.object(i))
    const present = new Map<DiffId, number[]>()
    for (const [i, names] of model.layers.entries()) {
      if (model.missing.includes(i)) continue
      // The last one is named and not there.
      const digests = names.map((name) => objects[name] ?? ('f'.repeat(64) as (typeof objects)[number]))
      present.set(synthetic.layer(i, digests), names)
    }
    const bases = new Map(model.bases.map((numbers) => [synthetic.base(ids(numbers)), ids(numbers)]))
    for (const [i, numbers] of model.bundles.entries()) {
      synthetic.bundle(`b${i}`, ids(numbers))
      need(ids(numbers))
    }
    for (const [i, { layers, alive }] of model.leases.entries()) {
      const base = baseIdOf(ids(layers))
      synthetic.lease({ layers: ids(layers), base }, `lease-${i}`)
      if (!alive) continue
      held.push(claimPath(`${layout.leases}/lease-${i}.json`)!)
      need(ids(layers))
    }
    await using store = await openStore({ path: layout.root, thread: 'caller' })
    const keep: string[] = []
    const images = new Map<string, boolean>()
    for (const [i, { layers, pinned, kept }] of model.images.entries()) {
      const name = `docker://registry.example/image:${i}`
      synthetic.image(name, ids(layers))
      if (pinned) await store.pin(name)
      if (kept) keep.push(name)
      if (pinned || kept) need(ids(layers))
      images.set(name, pinned || kept)
    }
    for (const leaving of model.leavings) leave(synthetic, leaving)

    const report = await store.clean({ keep })

    expect(report.skipped).toEqual([])
    const layersLeft = [...present.keys()].filter((diffId) => needed.has(diffId))
    expect(synthetic.layers()).toEqual([...layersLeft].sort())
    const objectsLeft = new Set(layersLeft.flatMap((diffId) => present.get(diffId) ?? []))
    expect(synthetic.objects()).toEqual(objects.filter((_, i) => objectsLeft.has(i)).sort())
    expect(report.objects).toBe(OBJECTS - [...objectsLeft].filter((i) => i < OBJECTS).length)
    const basesLeft = [...bases.keys()].filter((id) => neededBases.has(id)).map((id) => `${id}.json`)
    expect(readdirSync(layout.bases).sort()).toEqual(basesLeft.sort())
    const names = readdirSync(layout.refs).length
    expect(names).toBe([...images.values()].filter((isKept) => isKept).length)
    expect(readdirSync(layout.images).length).toBe(names * 2 + 1)
    expect(readdirSync(layout.records).length).toBe(model.bundles.length)
    expect(readdirSync(layout.bundles).length).toBe(model.bundles.length)
    expect(readdirSync(layout.leases).length).toBe(model.leases.filter(({ alive }) => alive).length)
    for (const left of [layout.trash, layout.staging, layout.publishing])
      expect(readdirSync(left)).toEqual([])
    expect(await store.clean({ keep })).toMatchObject({ removed: [], objects: 0, skipped: [] })
    for (const lease of held) closeSync(lease)
  } finally {
    rmSync(directory, { recursive: true })
  }
}

function leave({ layout }: SyntheticStore, what: string): void {
  if (what === 'trash') writeFileSync(`${layout.trash}/layer-0123456789abcdef`, 'x')
  if (what === 'staging') writeFileSync(`${layout.staging}/dead`, 'x')
  if (what === 'temporary') writeFileSync(`${layout.records}/.tmp-web.json-0123456789ab`, 'x')
  if (what === 'bundle') mkdirSync(`${layout.bundles}/orphan`)
}
