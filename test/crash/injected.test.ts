/**
 * create, delete and clean whose system calls fail: a full disk, a broken one, no more descriptors, a quota that is used up,
 * or a kill at just that call. The call ends with one of groot's errors and leaves nothing; the next one succeeds.
 */
import { beforeAll, describe, expect, it } from 'vitest'
import { onFilesystemOf } from '../support/btrfs.js'
import { DRIVERS } from '../support/mounts.js'
import { ActorQueue, type Answer } from './actor.js'
import { HAZARDS, type Hazard } from './hazards.js'
import { Chance, chooseSeed, IS_LONG, Scene } from './scene.js'
import { countCalls, FAMILIES, type Family, injectedCalls, whyNoStrace, withFault } from './strace.js'

const ROUNDS = IS_LONG ? 300 : 4
const FEW = 3 // calls to choose from where they are not counted
const FAULTS = ['error=ENOSPC', 'error=EIO', 'error=EMFILE', 'error=EDQUOT', 'signal=KILL'] as const
const SEED = chooseSeed()
const WHY_NOT = whyNoStrace()
const FEW_EACH = new Map((Object.keys(FAMILIES) as Family[]).map((family) => [family, FEW]))

beforeAll(() => console.log(`seed ${SEED} (GROOT_CRASH_SEED repeats it)`))

const title = WHY_NOT === null ? 'system calls that fail' : `system calls that fail (${WHY_NOT})`

describe.skipIf(WHY_NOT !== null).each(DRIVERS)(`${title}, with the driver %s`, (driver) => {
  onFilesystemOf(driver)
  it.each(HAZARDS)(
    '$verb tells what went wrong, and leaves nothing',
    async (hazard) => {
      await using scene = await Scene.open(driver)
      const chance = new Chance(SEED)
      await using actors = new ActorQueue(scene.place.store, driver)
      const log = `${scene.place.directory}/strace`
      const counts = IS_LONG ? await countAll(scene, hazard, actors, log) : FEW_EACH
      const ends = { ok: 0, failed: 0, died: 0, missed: 0 }
      let left = new Map(counts)
      for (let round = 0; round < ROUNDS; ) {
        const families = [...left.keys()].filter((family) => left.get(family)! > 0)
        const family = families[chance.pick(families.length)]!
        const fault = FAULTS[chance.pick(FAULTS.length)]!
        const when = 1 + chance.pick(left.get(family)!)
        await hazard.prepare(scene, round)
        const actor = await actors.take()
        await actor.must('open')
        const work = () => actor.call(hazard.verb, ...hazard.args(scene))
        const answer = await withFault(actor, family, fault, when, log, work)
        await actor.kill()
        const injected = injectedCalls(log)
        const told = `round ${round}: ${fault} at ${family} ${when}: ${injected.join(' ')} ${JSON.stringify(answer)}`
        const isMissed = injected.length === 0 && answer.kind === 'ok'
        ends[isMissed ? 'missed' : answer.kind]++
        checkAnswer(answer, injected, told)
        try {
          await hazard.verify(scene, round, withHint(answer, family))
        } catch (error) {
          throw new Error(`${told}: ${error instanceof Error ? error.message : String(error)}`, {
            cause: error,
          })
        }
        // A call that this round does not come to: again with fewer to choose from. Every verb opens files, so this ends.
        if (isMissed) left.set(family, when - 1)
        else {
          left = new Map(counts)
          round++
        }
      }
      console.log(
        `${driver} ${hazard.verb}: ${ends.failed} failed, ${ends.died} died, ${ends.ok} went on, ${ends.missed} were over before; 0 lost`,
      )
      expect(ends.failed + ends.died + ends.ok).toBe(ROUNDS)
    },
    3_600_000,
  )
})

/** The most calls of each family that a thread makes. */
async function countAll(
  scene: Scene,
  hazard: Hazard,
  actors: ActorQueue,
  log: string,
): Promise<Map<Family, number>> {
  const counts = new Map<Family, number>()
  for (const family of Object.keys(FAMILIES) as Family[]) {
    await hazard.prepare(scene, 0)
    const actor = await actors.take()
    await actor.must('open')
    let answer: Answer | null = null
    const count = await countCalls(actor, family, log, async () => {
      answer = await actor.call(hazard.verb, ...hazard.args(scene))
    })
    await actor.end()
    counts.set(family, count)
    await hazard.verify(scene, 0, answer!)
  }
  return counts
}

/** Whatever failed is told as what it is: with a code, and never as a fault of groot's own. */
function checkAnswer(answer: Answer, injected: readonly string[], told: string): void {
  if (answer.kind !== 'failed') return
  expect(injected.length, told).toBeGreaterThan(0)
  expect(['bug', 'none', 'aborted'], told).not.toContain(answer.error.kind)
  expect(answer.error.code, told).toMatch(/^[a-z][a-z-]+$/)
}

/** Where a removal fails, there is something left for clean. */
function withHint(answer: Answer, family: Family): Answer {
  return answer.kind === 'failed' && (family === 'remove' || family === 'mount')
    ? { ...answer, mayLeave: true }
    : answer
}
