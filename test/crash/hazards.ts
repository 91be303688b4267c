/**
 * What is done to a store while its process is killed or its system calls fail, and what must be true afterwards.
 */
import { expect } from 'vitest'
import { EMPTY } from '../lib/operations/testing.js'
import type { Answer } from './actor.js'
import type { Scene } from './scene.js'

/** What one verb needs before it, and what must be true after it was killed. */
export interface Hazard {
  readonly verb: string
  prepare(scene: Scene, round: number): Promise<void>
  args(scene: Scene): readonly unknown[]
  /** @param round even: the next call is the same; odd: the next is a clean */
  verify(scene: Scene, round: number, answer: Answer): Promise<void>
}

export const HAZARDS: readonly Hazard[] = [
  {
    verb: 'create',
    // Every other one finds the image there, so that all parts are hit.
    prepare: async (scene, round) => {
      if (round % 4 >= 2) await scene.store.pull({ image: scene.image })
    },
    args: (scene) => [scene.request('b1')],
    verify: async (scene, round, answer) => {
      const left = await scene.checkWhole()
      if (answer.kind === 'failed' && !answer.mayLeave) expect(scene.place.contents()).toEqual(EMPTY)
      // What was said to be done is done.
      if (answer.kind === 'ok') expect(left).toEqual(['b1'])
      if (round % 2 === 1) await scene.checkClean(left)
      if (left.length > 0) await scene.store.delete('b1')
      await scene.checkCreate('b1')
      if (round % 8 === 0) await scene.checkContents()
      await scene.store.delete('b1')
      await scene.checkClean()
    },
  },
  {
    verb: 'delete',
    prepare: async (scene) => {
      await scene.store.create(scene.request('b1'))
    },
    args: () => ['b1'],
    verify: async (scene, round, answer) => {
      const left = await scene.checkWhole()
      if (answer.kind === 'ok') expect(left).toEqual([])
      if (round % 2 === 1) await scene.checkClean(left)
      else await scene.store.delete('b1')
      await scene.store.delete('b1')
      await scene.checkCreate('b1')
      await scene.store.delete('b1')
      scene.checkNothingLeftOfBundles()
      if (round % 4 === 3) await scene.checkClean()
    },
  },
  {
    verb: 'clean',
    prepare: async (scene) => {
      await scene.store.create(scene.request('kept'))
      await scene.store.pull({ image: scene.other })
    },
    args: () => [{}],
    verify: async (scene, round) => {
      expect(await scene.checkWhole()).toEqual(['kept'])
      if (round % 4 === 0) await scene.checkContents()
      if (round % 2 === 1) await scene.checkClean(['kept'])
      await scene.checkCreate('b1')
      await scene.store.delete('b1')
      await scene.store.delete('kept')
      await scene.checkClean()
    },
  },
]
