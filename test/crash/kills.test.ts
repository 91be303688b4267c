/**
 * create, delete, clean and init-store, killed at random moments: what is left is whole or nothing, the next call succeeds,
 * and one clean leaves nothing. The long run (npm run test:crash) has 300 kills for each of them and each driver.
 */
import { beforeAll, describe, expect, it } from 'vitest'
import { onFilesystemOf } from '../support/btrfs.js'
import { DRIVERS } from '../support/mounts.js'
import { type Actor, ActorQueue } from './actor.js'
import { HAZARDS, type Hazard } from './hazards.js'
import { Chance, chooseSeed, IS_LONG, Scene } from './scene.js'

const ROUNDS = IS_LONG ? 300 : 10
/** Only root can hold bundles to a limit. Cleaning has nothing to do with limits that are gone. */
const LIMITED = process.geteuid?.() === 0 ? DRIVERS.filter((driver) => IS_LONG || driver !== 'vfs') : []
const LIMITED_ROUNDS = IS_LONG ? 100 : 4
const SEED = chooseSeed()

beforeAll(() => console.log(`seed ${SEED} (GROOT_CRASH_SEED repeats it)`))

describe.each(DRIVERS)('killed at any moment, with the driver %s', (driver) => {
  onFilesystemOf(driver)
  it.each(HAZARDS)(
    '$verb leaves nothing that the next call does not finish',
    (hazard) => killAll(driver, hazard, ROUNDS, false),
    3_600_000,
  )
})

describe.each(LIMITED)('killed at any moment, with the driver %s and disk limits', (driver) => {
  onFilesystemOf(driver)
  it.each(HAZARDS.filter(({ verb }) => verb !== 'clean'))(
    '$verb leaves no loop device, file or quota group either',
    (hazard) => killAll(driver, hazard, LIMITED_ROUNDS, true),
    3_600_000,
  )
})

async function killAll(driver: string, hazard: Hazard, rounds: number, isLimited: boolean): Promise<void> {
  await using scene = await Scene.open(driver, isLimited)
  const chance = new Chance(SEED)
  await using actors = new ActorQueue(scene.place.store, driver)
  // With and without the image in the store: see the hazards.
  const coldMs = await timeOf(scene, hazard, await actors.take(), 0)
  const warmMs = await timeOf(scene, hazard, await actors.take(), 2)
  let survived = 0
  for (let round = 0; round < rounds; round++) {
    await hazard.prepare(scene, round)
    const actor = await actors.take()
    await actor.must('open')
    const afterMs = chance.next() * (round % 4 >= 2 ? warmMs : coldMs)
    const answer = await actor.killDuring(afterMs, hazard.verb, ...hazard.args(scene))
    await actor.kill()
    if (answer.kind === 'failed') throw new Error(JSON.stringify(answer.error))
    if (answer.kind === 'died') survived++
    await hazard.verify(scene, round, answer)
  }
  console.log(
    `${driver}${isLimited ? ' with limits' : ''} ${hazard.verb}: ${rounds} tried, ${survived} killed before the end (${coldMs.toFixed(1)} or ${warmMs.toFixed(1)} ms), 0 lost`,
  )
  if (isLimited) await scene.checkNoGroups()
  expect(survived).toBeGreaterThan(rounds / 10)
}

async function timeOf(scene: Scene, hazard: Hazard, actor: Actor, round: number): Promise<number> {
  await hazard.prepare(scene, round)
  await actor.must('open')
  const begin = performance.now()
  const answer = await actor.call(hazard.verb, ...hazard.args(scene))
  const took = performance.now() - begin
  expect(answer).toMatchObject({ kind: 'ok' })
  await actor.end()
  await hazard.verify(scene, round, answer)
  return took
}
