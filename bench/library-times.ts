/**
 * Creates and deletes of bundles by library, one after the other, of an image that the store has and that nobody is asked for.
 */
import type { GrootStore } from '../lib/index.js'
import { quantile } from './measure.js'

const UNTIMED = 5 // the first ones load and compile code

/** Milliseconds. */
export interface LibraryTimes {
  readonly createP50: number
  readonly createP99: number
  readonly deleteP50: number
  readonly deleteP99: number
}

/** One bundle is there at a time. @param count 0 does what is not timed, and all results are 0 */
export async function timesOf(
  store: GrootStore,
  image: string,
  count: number,
  signal?: AbortSignal,
): Promise<LibraryTimes> {
  const [creates, deletes]: [number[], number[]] = [[], []]
  for (let i = -UNTIMED; i < count; i++) {
    signal?.throwIfAborted()
    const begun = performance.now()
    await store.create({ image, id: 'timed', pull: 'never' })
    const made = performance.now()
    await store.delete('timed')
    const deleted = performance.now()
    if (i < 0) continue
    creates.push(made - begun)
    deletes.push(deleted - made)
  }
  if (count === 0) return { createP50: 0, createP99: 0, deleteP50: 0, deleteP99: 0 }
  return quantilesOf(creates, deletes)
}

/** All bundles are there before the first one goes. */
export async function timesOfMany(store: GrootStore, image: string, count: number): Promise<LibraryTimes> {
  await timesOf(store, image, 0)
  const ids = Array.from({ length: count }, (_, i) => `b${i}`)
  const timesEach = async (work: (id: string) => Promise<unknown>) => {
    const times: number[] = []
    for (const id of ids) {
      const begun = performance.now()
      await work(id)
      times.push(performance.now() - begun)
    }
    return times
  }
  const creates = await timesEach((id) => store.create({ image, id, pull: 'never' }))
  return quantilesOf(creates, await timesEach((id) => store.delete(id)))
}

function quantilesOf(creates: readonly number[], deletes: readonly number[]): LibraryTimes {
  return {
    createP50: quantile(creates, 0.5),
    createP99: quantile(creates, 0.99),
    deleteP50: quantile(deletes, 0.5),
    deleteP99: quantile(deletes, 0.99),
  }
}
