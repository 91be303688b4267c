/**
 * A watch over one request: it ends when the caller's signal fires, or when nothing comes for too long.
 *
 * Slow is allowed, silent is not: the time starts anew for each piece, and stands still while nobody waits for one.
 */
import { type GrootError, isGrootError, throwIfAborted } from '../errors.js'
import { isConnectTimeout, networkError, type Phase, timeoutError } from './network-error.js'

export interface Timeouts {
  /** Until TCP and TLS are set up; held by the connection itself. */
  readonly connectMs: number
  /** Until the headers have come, and between two pieces of a body. */
  readonly idleMs: number
}

export class Watch {
  readonly #outer: AbortSignal
  readonly #timeouts: Timeouts
  readonly #url: URL
  readonly #controller = new AbortController()
  readonly #abort = () => this.#controller.abort()
  #late: Phase | null = null

  constructor(outer: AbortSignal, timeouts: Timeouts, url: URL) {
    this.#outer = outer
    this.#timeouts = timeouts
    this.#url = url
    outer.addEventListener('abort', this.#abort, { once: true })
    if (outer.aborted) this.#abort()
  }

  /** Fires for both reasons; what it was, explain() says. */
  get signal(): AbortSignal {
    return this.#controller.signal
  }

  /** Waits for something that the other side has to send. */
  async during<T>(phase: Exclude<Phase, 'connect'>, wait: () => Promise<T>): Promise<T> {
    const timer = setTimeout(() => {
      this.#late = phase
      this.#controller.abort()
    }, this.#timeouts.idleMs)
    try {
      return await wait()
    } finally {
      clearTimeout(timer)
    }
  }

  /** The error to throw for what came out of the request. */
  explain(thrown: unknown): GrootError {
    if (isGrootError(thrown)) return thrown
    if (this.#outer.aborted) {
      try {
        throwIfAborted(this.#outer)
      } catch (aborted) {
        return aborted as GrootError // throwIfAborted throws nothing else
      }
    }
    if (this.#late !== null) return timeoutError(this.#late, this.#timeouts.idleMs, this.#url)
    if (isConnectTimeout(thrown)) return timeoutError('connect', this.#timeouts.connectMs, this.#url)
    return networkError(thrown, this.#url)
  }

  close(): void {
    this.#outer.removeEventListener('abort', this.#abort)
  }
}
