/**
 * Waiting for what is the caller's: it may never come, and a signal ends the wait.
 */
import { AbortedError, throwIfAborted } from '../../errors.js'

/** @throws {AbortedError} once the signal has fired */
export async function unlessAborted<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return await work
  let abort = (): void => {}
  const aborted = new Promise<never>((_, reject) => {
    abort = () => reject(new AbortedError(undefined, { cause: signal.reason }))
    signal.addEventListener('abort', abort, { once: true })
  })
  try {
    throwIfAborted(signal)
    return await Promise.race([work, aborted])
  } finally {
    signal.removeEventListener('abort', abort)
  }
}

/** What an iterable gives. It is told when nobody reads on, and not waited for. */
export async function* eachUnlessAborted<T>(
  items: AsyncIterable<T>,
  signal: AbortSignal | undefined,
): AsyncGenerator<T, void, undefined> {
  const iterator = items[Symbol.asyncIterator]()
  let isOver = false
  try {
    for (;;) {
      const next = await unlessAborted(iterator.next(), signal)
      isOver = next.done === true
      if (next.done === true) return
      yield next.value
    }
  } finally {
    if (!isOver) iterator.return?.().catch(() => {})
  }
}
