/**
 * check beside creates, deletes and cleans, in one process: the moments that matter are brought about, not waited for.
 */
import { copyFileSync, mkdirSync, readdirSync, renameSync, rmSync, unlinkSync } from 'node:fs'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type GrootStore, openStore } from '../../../lib/index.js'
import { checkStore } from '../../../lib/operations/check.js'
import { type OpenedStore, openExisting } from '../../../lib/operations/opened-store.js'
import { layer } from '../../../lib/testkit/layer.js'
import type { Job } from '../../../lib/worker/jobs.js'
import { Place } from './testing.js'

let place: Place
let store: GrootStore
let opened: OpenedStore
beforeEach(async () => {
  place = new Place()
  store = await openStore({ path: place.store, driver: 'vfs', thread: 'caller' })
  await store.create(
    place.request({ id: 'one', image: place.image([layer().file('a', Buffer.alloc(9999, 'a'))]) }),
  )
  opened = (await openExisting(place.store, undefined, 'test', () => {})) as OpenedStore
})
afterEach(async () => {
  await opened.workers.close()
  await store.close()
  place.remove()
})

/** Has something done before and after each reading of a layer record. */
async function aroundLayers(
  before: (look: number) => void,
  after: (look: number) => void,
): Promise<() => number> {
  const { pool } = await opened.workers.crew()
  const run = pool.run.bind(pool)
  let looks = 0
  pool.run = (async (job: Job, options: Parameters<typeof run>[1]) => {
    if (job.kind !== 'verify-layer') return await run(job, options)
    const look = ++looks
    before(look)
    try {
      return await run(job, options)
    } finally {
      after(look)
    }
  }) as typeof run
  return () => looks
}

describe('a layer that is removed and brought in again while check reads it', () => {
  it('is no problem, however often that happens to it', async () => {
    const record = `${opened.layout.layers}/${readdirSync(opened.layout.layers)[0]}`
    const aside = `${place.store}/aside`
    copyFileSync(record, aside)
    const looks = await aroundLayers(
      (look) => look < 4 && unlinkSync(record),
      (look) => look < 4 && copyFileSync(aside, record),
    )
    const { problems } = await checkStore(opened, {})
    rmSync(aside)
    expect([problems, looks()]).toEqual([[], 4])
  })

  it('is a problem when it stays and cannot be read', async () => {
    const record = `${opened.layout.layers}/${readdirSync(opened.layout.layers)[0]}`
    const objects = `${opened.layout.objects}/${readdirSync(opened.layout.objects)[0]}`
    rmSync(objects, { recursive: true })
    const looks = await aroundLayers(
      () => {},
      () => {},
    )
    const { problems } = await checkStore(opened, {})
    expect(problems).toMatchObject([{ what: 'layer', repaired: false }])
    expect([looks(), readdirSync(opened.layout.layers)]).toEqual([
      1,
      [record.slice(record.lastIndexOf('/') + 1)],
    ])
  })
})

describe('a directory of a bundle without a record', () => {
  it('is an orphan when nobody is at work on it', async () => {
    mkdirSync(opened.layout.bundle('two' as never))
    expect((await checkStore(opened, {})).problems).toMatchObject([{ code: 'bundle-orphan', name: 'two' }])
  })

  it('is none when it was made, removed or replaced between two looks', async () => {
    const bundle = opened.layout.bundle('two' as never)
    mkdirSync(bundle)
    const look = opened.locks.holders.bind(opened.locks)
    let looks = 0
    // The first look is for the other bundle. As if a create had been at work between the two for this one.
    opened.locks.holders = async () => {
      if (++looks === 3) {
        renameSync(bundle, `${bundle}-gone`)
        mkdirSync(bundle)
        rmSync(`${bundle}-gone`, { recursive: true })
      }
      return await look()
    }
    expect((await checkStore(opened, {})).problems).toEqual([])
    expect(looks).toBe(3)
  })
})
