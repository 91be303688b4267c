/**
 * Errors on their way between threads: structured clone would drop their class, code and facts.
 */
import * as errors from '../errors.js'

export interface WireError {
  readonly kind: errors.ErrorKind
  readonly code: errors.ErrorCode
  readonly message: string
  readonly facts: errors.ErrorFacts
  readonly temporary: boolean
  readonly stack: string | null
  readonly cause: string | null
}

/** @param doing what could not be done, for errors that have no words of groot's */
export function toWire(thrown: unknown, doing?: string): WireError {
  const error = errors.toGrootError(thrown, doing)
  return {
    kind: error.kind,
    code: error.code,
    message: error.message,
    facts: plainFacts(error.facts),
    temporary: error.temporary,
    stack: error.stack ?? null,
    cause: error.cause === undefined ? null : causeText(error.cause),
  }
}

export function fromWire(wire: WireError): errors.GrootError {
  const options = {
    facts: wire.facts,
    temporary: wire.temporary,
    ...(wire.cause === null ? {} : { cause: new Error(wire.cause) }),
  }
  const error = make(wire, options)
  if (wire.stack !== null) error.stack = wire.stack
  return error
}

function make({ kind, code, message }: WireError, options: errors.ErrorOptions): errors.GrootError {
  // The code was checked by the constructor on the other side; the table in errors.ts is the same on both.
  switch (kind) {
    case 'usage':
      return new errors.UsageError(code as errors.ErrorCode<'usage'>, message, options)
    case 'partial':
      return new errors.PartialError(code as errors.ErrorCode<'partial'>, message, options)
    case 'store':
      return new errors.StoreError(code as errors.ErrorCode<'store'>, message, options)
    case 'busy':
      return new errors.BusyError(code as errors.ErrorCode<'busy'>, message, options)
    case 'exists':
      return new errors.ExistsError(code as errors.ErrorCode<'exists'>, message, options)
    case 'not-found':
      return new errors.NotFoundError(code as errors.ErrorCode<'not-found'>, message, options)
    case 'auth':
      return new errors.AuthError(code as errors.ErrorCode<'auth'>, message, options)
    case 'registry':
      return new errors.RegistryError(code as errors.ErrorCode<'registry'>, message, options)
    case 'integrity':
      return new errors.IntegrityError(code as errors.ErrorCode<'integrity'>, message, options)
    case 'image':
      return new errors.ImageError(code as errors.ErrorCode<'image'>, message, options)
    case 'quota':
      return new errors.QuotaError(code as errors.ErrorCode<'quota'>, message, options)
    case 'unsupported':
      return new errors.UnsupportedError(code as errors.ErrorCode<'unsupported'>, message, options)
    case 'system':
      return new errors.SystemError(code as errors.ErrorCode<'system'>, message, options)
    case 'bug':
      return new errors.BugError(message, options)
    case 'aborted':
      return new errors.AbortedError(message, options)
    default:
      return kind satisfies never
  }
}

/** Facts of a driver's error may be anything, and what cannot be sent would end the thread. */
function plainFacts(facts: errors.ErrorFacts): errors.ErrorFacts {
  const plain = (value: unknown) =>
    value === null || ['string', 'number', 'boolean'].includes(typeof value) ? value : typeof value
  const entries = Object.entries(facts).map(([name, value]) => [
    name,
    Array.isArray(value) ? value.map(plain) : plain(value),
  ])
  return Object.fromEntries(entries)
}

function causeText(cause: unknown): string {
  return cause instanceof Error ? (cause.stack ?? cause.message) : String(cause)
}
