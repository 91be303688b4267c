/**
 * Whom to ask next when something went wrong, after what time, and when to give up.
 *
 * Endpoints are asked in rounds: all in order, at once; then, after a wait, again those that may do better. What cannot
 * change (a status of the 400s, a certificate, bytes that are others) puts an endpoint out of it; what can (resets,
 * silence, cut bodies, 429, the 500s) leaves it for the next round. Progress makes all waits short again.
 */
import { type GrootError, isGrootError, RegistryError, throwIfAborted, toGrootError } from '../errors.js'
import type { EventSink } from '../events.js'
import { Attempts } from './attempts.js'
import { isConnectFailure } from './network-error.js'
import type { RegistryHost } from './registry-host.js'
import { backoffMs, type Clock, type RetryPolicy } from './retry.js'

/** What is the same for everything in one operation. */
export interface Course {
  readonly policy: RetryPolicy
  readonly clock: Clock
  readonly events: EventSink
  /** How long may go by before it is said that nobody can be reached. */
  readonly connectMs: number
}

/** What is wanted, for events and messages. */
export interface Subject {
  readonly kind: 'manifest' | 'blob'
  /** Tag or digest. */
  readonly name: string
}

/** What a storage says to a signed address whose time is over; the registry has a new one. */
const STALE: ReadonlySet<unknown> = new Set([400, 403, 410])

export class Failover {
  readonly #course: Course
  readonly #subject: Subject
  readonly #attempts: Attempts
  readonly #began: number
  #hosts: readonly RegistryHost[]
  #queue: RegistryHost[] = []
  /** Rounds since something came. */
  #rounds = 0
  #staleOnes = 0
  readonly #connects = new Map<RegistryHost, number>()
  #last: { readonly host: RegistryHost; readonly error: GrootError } | null = null
  /** The registry's own word counts for more than a mirror's. */
  #itself: GrootError | null = null

  /** @param hosts whom to ask, in order */
  constructor(hosts: readonly RegistryHost[], subject: Subject, course: Course, attempts = new Attempts()) {
    this.#hosts = hosts
    this.#subject = subject
    this.#course = course
    this.#attempts = attempts
    this.#began = course.clock.now()
  }

  /**
   * Waits as long as it has to be, and says whom to ask.
   *
   * @throws the error for the end, when there is nobody left
   * @throws {AbortedError}
   */
  async next(signal: AbortSignal): Promise<RegistryHost> {
    throwIfAborted(signal)
    const { clock, policy, events } = this.#course
    const now = clock.now()
    let waitMs = 0
    if (this.#queue.length === 0) {
      if (this.#hosts.length === 0 || this.#rounds === policy.tries) throw this.#failure()
      if (this.#last !== null) waitMs = backoffMs(policy, Math.max(1, this.#rounds), clock.random)
      this.#rounds++
      // Stable: the order of the configuration, but for those that were away a moment ago.
      this.#queue = [...this.#hosts].sort((a, b) => Number(a.isDown(now)) - Number(b.isDown(now)))
    }
    const host = this.#take(now)
    const restMs = host.restsUntil - now
    // Many may wait for the same moment.
    if (restMs > 0) waitMs = Math.max(waitMs, restMs + (clock.random() * policy.firstWaitMs) / 2)
    if (this.#last !== null) {
      const { host: failed, error } = this.#last
      events({
        kind: 'retry',
        what: this.#subject.kind,
        name: this.#subject.name,
        endpoint: failed.origin,
        next: host.origin,
        attempt: this.#attempts.total,
        code: error.code,
        message: error.message,
        waitMs,
      })
    }
    if (waitMs > 0) await clock.sleep(waitMs, signal)
    return host
  }

  /** Notes a failure. Throws it when it is nobody's at the other end. */
  failed(host: RegistryHost, thrown: unknown): void {
    const error = toGrootError(thrown)
    if (!isGrootError(thrown) || error.kind === 'aborted' || error.kind === 'bug') throw thrown
    const { clock, policy } = this.#course
    const now = clock.now()
    this.#attempts.add(host.origin, error)
    this.#last = { host, error }
    if (!host.endpoint.isMirror) this.#itself = error
    if (isConnectFailure(error)) host.isUnreachable(now)
    const { retryAfterMs } = error.facts
    if (typeof retryAfterMs === 'number') {
      host.restsUntil = Math.max(host.restsUntil, now + Math.min(retryAfterMs, policy.maxRetryAfterMs))
    }
    if (!this.#mayTryAgain(host, error, now)) this.dismiss(host)
  }

  /** Something came from there: from now on the waits are short again, and it is asked first. */
  progressed(host: RegistryHost): void {
    this.#rounds = 0
    this.#staleOnes = 0
    this.#queue = []
    this.#hosts = [host, ...this.#hosts.filter((other) => other !== host)]
  }

  /** Asks this one no more. */
  dismiss(host: RegistryHost): void {
    this.#hosts = this.#hosts.filter((other) => other !== host)
    this.#queue = this.#queue.filter((other) => other !== host)
  }

  /** Asks this one only. */
  keepTo(host: RegistryHost): void {
    this.#hosts = this.#hosts.filter((other) => other === host)
    this.#queue = this.#queue.filter((other) => other === host)
  }

  /** The first that may be asked now, else the one that may be asked soonest. */
  #take(now: number): RegistryHost {
    const soonest = [...this.#queue].sort(
      (a, b) => Math.max(a.restsUntil, now) - Math.max(b.restsUntil, now),
    )[0]!
    this.#queue = this.#queue.filter((host) => host !== soonest)
    return soonest
  }

  #mayTryAgain(host: RegistryHost, error: GrootError, now: number): boolean {
    const { policy, connectMs } = this.#course
    if (isConnectFailure(error)) {
      // Who was there a moment ago comes back, also where the name or the way to it is gone for now.
      if (host.hasAnswered) return true
      if (error.facts.waitedFor === 'connect') return false
      const count = (this.#connects.get(host) ?? 0) + 1
      this.#connects.set(host, count)
      return error.temporary && count < policy.connectTries && now - this.#began < connectMs
    }
    const { status, answeredBy, realm } = error.facts
    const isElsewhere = answeredBy !== undefined && answeredBy !== host.origin && realm === undefined
    if (isElsewhere && error.code === 'registry-status' && STALE.has(status)) return this.#staleOnes++ === 0
    // Request Timeout says that we were slow; whoever says so of a GET without a body says it again.
    return error.temporary && status !== 408
  }

  #failure(): GrootError {
    const error = this.#itself ?? this.#last?.error
    if (error !== undefined) return this.#attempts.report(error)
    const { kind, name } = this.#subject
    return new RegistryError(
      'registry-unreachable',
      `Cannot get the ${kind} "${name}": no endpoint is configured that may be asked for it`,
      { facts: { reference: name, attempts: [] } },
    )
  }
}
