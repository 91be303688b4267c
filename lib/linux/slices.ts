/**
 * Long synchronous work, cut into slices.
 *
 * The work is a generator that yields wherever it may be interrupted. Run at once it costs next to nothing more than
 * straight code; run in slices, it lets the thread see messages, timers and aborts every few milliseconds.
 */
import { setImmediate } from 'node:timers/promises'
import { throwIfAborted } from '../errors.js'

/** Work that yields, with nothing, wherever it may be interrupted; its `finally` blocks clean up. */
export type Work<T> = Generator<void, T, void>

const SLICE_MS = 4 // well below the 20 ms that a caller's event loop may be held

/** Runs work to its end. */
export function runAtOnce<T>(work: Work<T>): T {
  for (;;) {
    const step = work.next()
    if (step.done) return step.value
  }
}

/**
 * Runs work to its end and lets other things happen in between.
 *
 * @throws {AbortedError} at the next slice after the signal fires, once the work has cleaned up
 */
export async function runInSlices<T>(work: Work<T>, signal?: AbortSignal): Promise<T> {
  try {
    for (;;) {
      throwIfAborted(signal)
      const until = performance.now() + SLICE_MS
      do {
        const step = work.next()
        if (step.done) return step.value
      } while (performance.now() < until)
      await setImmediate()
    }
  } finally {
    // Only after an abort is there anything left to end.
    work.return(undefined as T)
  }
}
