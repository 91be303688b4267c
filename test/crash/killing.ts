/**
 * Killing a verb again and again, each time at another moment.
 */
import { expect } from 'vitest'
import { type Actor, ActorQueue } from './actor.js'
import type { Hazard } from './hazards.js'
import { Chance, Scene } from './scene.js'

export interface Killing {
  readonly driver: string
  readonly hazard: Hazard
  readonly rounds: number
  readonly seed: number
  /** Whether all bundles have a disk limit. */
  readonly isLimited: boolean
}

/** Kills, and looks after each kill whether all is as it must be. */
export async function killAll({ driver, hazard, rounds, seed, isLimited }: Killing): Promise<void> {
  await using scene = await Scene.open(driver, isLimited)
  const chance = new Chance(seed)
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
  // Of a few, all may happen to come too late.
  if (rounds > 5) expect(survived).toBeGreaterThan(rounds / 10)
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
