/**
 * What all calls have in common: a signal, events and the wait for locks.
 */
import { UsageError } from '../errors.js'
import type { EventSink } from '../events.js'
import { withAnyListeners } from '../linked-signal.js'
import type { LockRequest } from '../locks/locks.js'
import type { CallOptions } from './api.js'

const DEFAULT_LOCK_TIMEOUT_MS = 60_000

export function lockRequest(options: CallOptions): LockRequest {
  const timeoutMs = options.lockTimeoutMs ?? DEFAULT_LOCK_TIMEOUT_MS
  if (!(timeoutMs >= 0)) {
    throw new UsageError(
      'option-invalid',
      `Cannot wait ${timeoutMs} ms for a lock: a number from 0 is needed`,
      {
        facts: { option: 'lockTimeoutMs', value: String(timeoutMs) },
      },
    )
  }
  const events = eventSink(options)
  return {
    timeoutMs,
    signal: signalOf(options),
    onWait: (lock, holder) => {
      const text = holder === null ? null : `${holder.command} (pid ${holder.pid})`
      events({ kind: 'lock-wait', lock, holder: text })
    },
  }
}

export function eventSink(options: CallOptions): EventSink {
  return options.onEvent ?? (() => {})
}

/** The signal of a call, on which all parts of the work may listen at once: the border has made it the call's own. */
export function signalOf(options: CallOptions): AbortSignal {
  return options.signal ?? withAnyListeners(new AbortController().signal)
}

/** Tells why something could not be removed; delete and clean know such leavings. */
export function warnOfLeavings(
  events: EventSink,
  facts: { readonly id?: string } = {},
): (error: unknown) => void {
  return (error) => {
    const message = error instanceof Error ? error.message : String(error)
    events({ kind: 'warning', code: 'leavings', message, facts })
  }
}
