/**
 * A watch over one request: it ends when the caller's signal fires, or when nothing comes for too long.
 *
 * Slow is allowed, silent is not: the time starts anew for each piece, and stands still while nobody waits for one. So
 * slow that nobody means it, a byte now and then to keep us waiting, counts as silent.
 */
import { type GrootError, isGrootError, throwIfAborted } from '../errors.js'
import { LinkedSignal } from '../linked-signal.js'
import { isConnectTimeout, networkError, type Phase, timeoutError } from './network-error.js'

export interface Timeouts {
  /** Until TCP and TLS are set up; held by the connection itself. */
  readonly connectMs: number
  /** Until the headers have come, and between two pieces of a body. */
  readonly idleMs: number
  /** What a body has to bring on the whole, once `idleMs` were spent on waiting for it. */
  readonly minBytesPerSecond: number
}

export class Watch {
  readonly #outer: AbortSignal
  readonly #timeouts: Timeouts
  readonly #url: URL
  readonly #linked: LinkedSignal
  readonly #wholeMs: number | null
  readonly #deadline: NodeJS.Timeout | undefined
  #late: Phase | null = null
  #waitedMs = 0
  #received = 0

  /** @param wholeMs until the body is at its end; null for bodies that may take their time */
  constructor(outer: AbortSignal, timeouts: Timeouts, url: URL, wholeMs: number | null) {
    this.#outer = outer
    this.#timeouts = timeouts
    this.#url = url
    this.#wholeMs = wholeMs
    if (wholeMs !== null) this.#deadline = setTimeout(() => this.#end('end'), wholeMs).unref()
    this.#linked = new LinkedSignal([outer])
  }

  /** Fires for both reasons; what it was, explain() says. */
  get signal(): AbortSignal {
    return this.#linked.signal
  }

  /** Waits for something that the other side has to send. */
  async during<T>(phase: Exclude<Phase, 'connect'>, wait: () => Promise<T>): Promise<T> {
    const timer = setTimeout(() => this.#end(phase), this.#timeouts.idleMs)
    const since = performance.now()
    try {
      return await wait()
    } finally {
      clearTimeout(timer)
      this.#waitedMs += performance.now() - since
    }
  }

  /** Counts what has come of the body; ends the request when that is next to nothing for the time that it took. */
  count(bytes: number): void {
    this.#received += bytes
    const { idleMs, minBytesPerSecond } = this.#timeouts
    if (this.#waitedMs > idleMs && this.#received * 1000 < this.#waitedMs * minBytesPerSecond)
      this.#end('speed')
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
    if (this.#late !== null) return timeoutError(this.#late, this.#limitOf(this.#late), this.#url)
    if (isConnectTimeout(thrown)) return timeoutError('connect', this.#timeouts.connectMs, this.#url)
    return networkError(thrown, this.#url)
  }

  close(): void {
    this.#linked[Symbol.dispose]()
    clearTimeout(this.#deadline)
  }

  #end(late: Phase): void {
    this.#late ??= late
    this.#linked.abort()
  }

  #limitOf(phase: Phase): number {
    if (phase === 'end' && this.#wholeMs !== null) return this.#wholeMs
    return phase === 'speed' ? Math.round(this.#waitedMs) : this.#timeouts.idleMs
  }
}
