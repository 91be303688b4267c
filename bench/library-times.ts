/**
 * Creates and deletes of one bundle by library, one after the other, of an image that the store has and that nobody is asked for.
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

/** @param count 0 does what is not timed, and all results are 0 */
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
  return {
    createP50: quantile(creates, 0.5),
    createP99: quantile(creates, 0.99),
    deleteP50: quantile(deletes, 0.5),
    deleteP99: quantile(deletes, 0.99),
  }
}
