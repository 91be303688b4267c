/**
 * How often and after what time something is tried again: back-off with jitter, and what servers ask for.
 *
 * Numbers and a clock; what is worth another try, failover.ts decides.
 */
import { throwIfAborted } from '../errors.js'

/** Time and chance; tests have their own. */
export interface Clock {
  /** Milliseconds of a clock that never jumps. */
  now(): number
  /** Milliseconds since 1970 began, for the dates that servers send. */
  date(): number
  /** From 0 to below 1. */
  random(): number
  /** @throws {AbortedError} */
  sleep(ms: number, signal: AbortSignal): Promise<void>
}

export const SYSTEM_CLOCK: Clock = {
  now: () => performance.now(),
  date: () => Date.now(),
  random: Math.random,
  async sleep(ms, signal) {
    throwIfAborted(signal)
    await new Promise<void>((resolve) => {
      const wake = () => {
        clearTimeout(timer)
        signal.removeEventListener('abort', wake)
        resolve()
      }
      const timer = setTimeout(wake, ms)
      signal.addEventListener('abort', wake, { once: true })
    })
    throwIfAborted(signal)
  },
}

export interface RetryPolicy {
  /** Rounds through the endpoints without progress between them, the first included. */
  readonly tries: number
  /** Tries at an endpoint that was never reached: a name or port that is wrong stays wrong. */
  readonly connectTries: number
  /** The longest first wait; each further one may be twice as long. */
  readonly firstWaitMs: number
  readonly maxWaitMs: number
  /** What a server can make us wait at most. */
  readonly maxRetryAfterMs: number
}

export const DEFAULT_RETRY: RetryPolicy = {
  tries: 6,
  connectTries: 3,
  firstWaitMs: 500,
  maxWaitMs: 15_000,
  maxRetryAfterMs: 30_000,
}

/**
 * The wait before a round: between half and the whole of what doubling gives, so that many who failed together do not
 * come back together.
 *
 * @param round 1 for the first wait
 */
export function backoffMs(policy: RetryPolicy, round: number, random: () => number): number {
  const longest = Math.min(policy.firstWaitMs * 2 ** (round - 1), policy.maxWaitMs)
  return Math.ceil(longest * (0.5 + random() / 2))
}

/**
 * Reads Retry-After (RFC 9110, section 10.2.3).
 *
 * @param text the header: seconds, or a date in any of the three forms of HTTP
 * @param date the Date header of the same answer; a date is taken relative to it, because clocks differ
 * @param now milliseconds since 1970, for answers without a Date
 * @returns milliseconds from now, at least 0; null when it cannot be understood
 */
export function parseRetryAfter(text: string | null, date: string | null, now: number): number | null {
  if (text === null) return null
  if (/^[0-9]+$/.test(text)) return Math.min(Number(text) * 1000, Number.MAX_SAFE_INTEGER)
  const until = parseHttpDate(text)
  if (until === null) return null
  return Math.max(0, until - ((date === null ? null : parseHttpDate(date)) ?? now))
}

const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec']
const MONTH = `(?<month>${MONTHS.join('|')})`
const TIME = '(?<h>[0-9]{2}):(?<m>[0-9]{2}):(?<s>[0-9]{2})'
/** RFC 9110, section 5.6.7: the form in use, and the two obsolete ones that have to be understood. */
const DATES = [
  new RegExp(`^[A-Z][a-z]{2}, (?<day>[0-9]{2}) ${MONTH} (?<year>[0-9]{4}) ${TIME} GMT$`),
  new RegExp(`^[A-Z][a-z]{5,8}, (?<day>[0-9]{2})-${MONTH}-(?<year>[0-9]{2}) ${TIME} GMT$`),
  new RegExp(`^[A-Z][a-z]{2} ${MONTH} (?<day>[ 0-9][0-9]) ${TIME} (?<year>[0-9]{4})$`),
]

function parseHttpDate(text: string): number | null {
  for (const form of DATES) {
    const found = form.exec(text)?.groups
    if (found === undefined) continue
    const { day, month, year, h, m, s } = found
    // A year of two digits is of this century: who makes us wait does not mean the last one.
    const fullYear = Number(year) + (year!.length === 2 ? 2000 : 0)
    return Date.UTC(fullYear, MONTHS.indexOf(month!), Number(day), Number(h), Number(m), Number(s))
  }
  return null
}
