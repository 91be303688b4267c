/**
 * A signal of one's own that others set off too.
 *
 * Not `AbortSignal.any`, where one of the others outlives the work: Node before 22 remembers each signal that was made so for as
 * long as what sets it off lives, and takes several times as long to make it.
 */
import { setMaxListeners } from 'node:events'

export class LinkedSignal implements Disposable {
  /** Fires with the first of the others, for its reason. All parts of a piece of work may listen to it at once. */
  readonly signal: AbortSignal
  readonly #own = new AbortController()
  readonly #others: readonly AbortSignal[]
  readonly #fire: () => void

  constructor(others: readonly AbortSignal[]) {
    this.signal = withAnyListeners(this.#own.signal)
    this.#others = others
    this.#fire = () => this.abort(others.find(({ aborted }) => aborted)?.reason)
    for (const other of others) {
      if (other.aborted) this.#fire()
      else other.addEventListener('abort', this.#fire)
    }
  }

  /** Sets it off alone. The first reason counts. */
  abort(reason?: unknown): void {
    this.#own.abort(reason)
  }

  /** Lets go of the others. */
  [Symbol.dispose](): void {
    for (const other of this.#others) other.removeEventListener('abort', this.#fire)
  }
}

/** Lifts Node's warning about many listeners, which is meant for forgotten ones: a layer each is many. */
export function withAnyListeners(signal: AbortSignal): AbortSignal {
  setMaxListeners(0, signal)
  return signal
}
