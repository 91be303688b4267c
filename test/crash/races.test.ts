/**
 * Races among processes, each many times: two creates of one id, a stats while its bundle is deleted, a check while a clean
 * removes what it reads. Those of locks are in test/lib/locks/processes.test.ts, those of clean and creates in
 * test/integration/clean.test.ts and test/lib/operations/clean-races.test.ts.
 */
import { describe, expect, it } from 'vitest'
import { onFilesystemOf } from '../support/btrfs.js'
import { DRIVERS } from '../support/mounts.js'
import { Actor, type Answer } from './actor.js'
import { IS_LONG, Scene } from './scene.js'

const ROUNDS = IS_LONG ? 60 : 4

async function actors(scene: Scene, driver: string, count: number): Promise<Actor[]> {
  const all = await Promise.all(Array.from({ length: count }, () => Actor.start(scene.place.store, driver)))
  for (const actor of all) await actor.must('open')
  return all
}

function codes(answers: readonly Answer[]): string[] {
  return answers.map((each) => (each.kind === 'failed' ? each.error.code : each.kind)).sort()
}

describe.each(DRIVERS)('with the driver %s', (driver) => {
  onFilesystemOf(driver)

  it('of many creates of one id exactly one wins, and its bundle is whole', async () => {
    await using scene = await Scene.open(driver)
    const all = await actors(scene, driver, 4)
    for (let round = 0; round < ROUNDS; round++) {
      const answers = await Promise.all(all.map((actor) => actor.call('create', scene.request('b1'))))
      expect(codes(answers)).toEqual(['bundle-exists', 'bundle-exists', 'bundle-exists', 'ok'])
      expect(await scene.checkWhole()).toEqual(['b1'])
      await scene.store.delete('b1')
    }
    await scene.checkClean()
    for (const actor of all) await actor.end()
  }, 600_000)

  it('stats of a bundle that is being deleted are whole, or say that there is none', async () => {
    await using scene = await Scene.open(driver)
    const [deleter, ...others] = await actors(scene, driver, 3)
    for (let round = 0; round < ROUNDS; round++) {
      await scene.store.create(scene.request('b1'))
      const looking = others.flatMap((actor) => [actor.call('stats', 'b1')])
      expect(await deleter!.call('delete', 'b1')).toMatchObject({ kind: 'ok' })
      for (const code of codes(await Promise.all(looking))) expect(['ok', 'bundle-missing']).toContain(code)
    }
    await scene.checkClean()
    for (const actor of [deleter!, ...others]) await actor.end()
  }, 600_000)

  it('a check finds no damage in what is created, deleted and cleaned meanwhile', async () => {
    await using scene = await Scene.open(driver)
    const [checker, creator, cleaner] = await actors(scene, driver, 3)
    let isDone = false
    const working = async (actor: Actor, work: (actor: Actor) => Promise<unknown>) => {
      while (!isDone) await work(actor)
    }
    const others = Promise.all([
      working(creator!, async (actor) => {
        await actor.must('create', scene.request('b1'))
        await actor.must('delete', 'b1')
      }),
      working(cleaner!, (actor) => actor.must('clean', {})),
    ])
    others.catch(() => {}) // awaited below, when the checks are done
    for (let round = 0; round < ROUNDS; round++) {
      expect(await checker!.must('check', {})).toMatchObject({ problems: [] })
    }
    isDone = true
    await others
    await scene.checkClean()
    for (const actor of [checker!, creator!, cleaner!]) await actor.end()
  }, 600_000)
})
