/**
 * The border of the library: what each call is given is looked at here, for callers whose language has no types, and an abort
 * is told by the reason that the caller gave for it.
 */
import { AbortedError, isGrootError, throwIfAborted, toGrootError } from '../errors.js'
import { LinkedSignal } from '../linked-signal.js'
import { type Fields, takeFields } from './request-fields.js'

/**
 * Carries out a call.
 *
 * @param work is given what was read of the request, with a signal of its own
 * @param end aborts the call as the signal of the request does
 * @throws {UsageError} `option-invalid` when a field of the request is of a wrong type
 * @throws {AbortedError} when the signal of the request has fired; its cause is the reason of the signal
 */
export async function atBorder<T extends object, R>(
  fields: Fields<T>,
  request: T,
  work: (request: T) => Promise<R>,
  end?: AbortSignal,
): Promise<R> {
  const taken = takeFields(fields, request)
  const { signal } = taken as { readonly signal?: AbortSignal }
  const others = [signal, end].filter((each) => each !== undefined)
  using linked = others.length === 0 ? null : new LinkedSignal(others)
  try {
    throwIfAborted(signal)
    return await work(linked === null ? taken : { ...taken, signal: linked.signal })
  } catch (error) {
    throw ofSignal(error, signal)
  }
}

/** Carries out what an operation does: whatever it throws reaches the caller as one of groot's errors. */
export async function asGroot<T>(doing: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    throw toGrootError(error, doing)
  }
}

/** On the way here, a reason becomes the cause of a cause, or its text when it comes from another thread. */
function ofSignal(error: unknown, signal: AbortSignal | undefined): unknown {
  if (!signal?.aborted || !isGrootError(error) || error === signal.reason) return error
  const { reason } = signal
  if (error.kind !== 'aborted' && error.cause !== reason) return error
  return new AbortedError(undefined, { facts: error.facts, cause: reason })
}
