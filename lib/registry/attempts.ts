/**
 * What was tried where, for the one report at the end.
 *
 * Of addresses only the origin is kept: paths and queries of redirects are often signed, and whoever reads them may
 * fetch.
 */
import type { ErrorOptions, GrootError } from '../errors.js'

const MAX_LINES = 32

export class Attempts {
  readonly #counts = new Map<string, number>()
  #total = 0

  get total(): number {
    return this.#total
  }

  /** @param where `https://host:port` of the endpoint that was asked */
  add(where: string, error: GrootError): void {
    this.#total++
    const line = `${where}: ${outcome(where, error)}`
    this.#counts.set(line, (this.#counts.get(line) ?? 0) + 1)
  }

  /** `https://host: status 503, 4 times`, in the order in which each was first seen. */
  lines(): string[] {
    const lines = [...this.#counts].map(([line, count]) => (count === 1 ? line : `${line}, ${count} times`))
    return lines.length <= MAX_LINES
      ? lines
      : [...lines.slice(0, MAX_LINES), `and ${lines.length - MAX_LINES} more`]
  }

  /** The error for the end: the given one, with the fact `attempts`, and in words where there was more than one. */
  report(error: GrootError): GrootError {
    const isReported = error.facts.attempts !== undefined
    if (isReported || this.#total === 0 || error.kind === 'bug' || error.kind === 'aborted') return error
    const lines = this.lines()
    const said = this.#total === 1 ? '' : `; tried ${lines.join('; ')}`
    // All other classes of errors take the same arguments; the code stays the one that was right for this class.
    const Same = error.constructor as new (code: string, message: string, options: ErrorOptions) => GrootError
    return new Same(error.code, `${error.message}${said}`, {
      facts: { ...error.facts, attempts: lines },
      temporary: error.temporary,
      ...(error.cause === undefined ? {} : { cause: error.cause }),
    })
  }
}

function outcome(where: string, { code, facts }: GrootError): string {
  const { status, answeredBy, waitedFor, reason } = facts
  if (typeof status === 'number') {
    const isElsewhere = typeof answeredBy === 'string' && answeredBy !== where
    return `status ${status}${isElsewhere ? ` from ${answeredBy}` : ''}`
  }
  if (typeof waitedFor === 'string') return `${code} (${waitedFor})`
  return typeof reason === 'string' ? `${code} (${reason})` : code
}
