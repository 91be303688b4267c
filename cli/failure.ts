/**
 * Failures: anything thrown, as what the command tells of it.
 */
import { type ErrorFacts, type GrootError, isGrootError, toGrootError } from '../lib/index.js'

/** What `--log-format json` prints of an error, apart from the level. */
export interface Failure {
  readonly code: string
  readonly kind: string
  readonly exitStatus: number
  readonly message: string
  readonly facts: ErrorFacts
  /** The stack of the error and of what caused it; shown at log level debug only. */
  readonly stack: string
}

/** Exit statuses of a command that was told to end: 128 and the number of the signal, as shells have it. */
export const SIGNAL_STATUS = { SIGINT: 130, SIGTERM: 143 } as const

/**
 * Describes what was thrown.
 *
 * When the command was told to end, that is the story, whatever the work ran into while it was stopped.
 *
 * @param signal the command's own; its reason is the AbortedError that main.ts made, with the fact `signal`
 */
export function failureOf(thrown: unknown, doing: string, signal: AbortSignal): Failure {
  const wasStopped = signal.aborted && isGrootError(signal.reason)
  const error: GrootError = wasStopped ? signal.reason : toGrootError(thrown, doing)
  return {
    code: error.code,
    kind: error.kind,
    exitStatus: exitStatusOf(error),
    message:
      error.kind === 'bug'
        ? `${error.message} (a fault in groot; --log-level debug tells where)`
        : error.message,
    facts: error.facts,
    stack: stackOf(thrown),
  }
}

function exitStatusOf(error: GrootError): number {
  const { signal } = error.facts
  if (error.kind === 'aborted' && (signal === 'SIGINT' || signal === 'SIGTERM')) return SIGNAL_STATUS[signal]
  return error.exitStatus
}

const MAX_CAUSES = 8 // a chain may be a ring

function stackOf(thrown: unknown): string {
  const stacks: string[] = []
  for (let at = thrown; at !== undefined && at !== null && stacks.length < MAX_CAUSES; ) {
    stacks.push(at instanceof Error ? (at.stack ?? at.message) : String(at))
    at = (at as { cause?: unknown }).cause
  }
  return stacks.join('\ncaused by: ')
}
