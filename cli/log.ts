/**
 * The log: what the command tells people while it works, on stderr. Answers go to stdout and not through here.
 */
import type { GrootEvent } from '../lib/index.js'
import type { Failure } from './failure.js'
import { type Note, type NoteLevel, Progress } from './progress.js'
import { jsonLine, visible } from './text.js'

export type LogLevel = 'error' | 'warn' | 'info' | 'debug'

const RANK: Record<LogLevel, number> = { error: 0, warn: 1, info: 2, debug: 3 }

export interface LogOptions {
  readonly level: LogLevel
  readonly format: 'text' | 'json'
  /** Takes whole lines. */
  readonly write: (lines: string) => void
  /** Milliseconds of a clock that only goes forward. */
  readonly now: () => number
}

export interface Log {
  failure(failure: Failure): void
  note(level: NoteLevel, note: Note): void
  /** Tells of an event of the library. */
  event(event: GrootEvent): void
}

export function createLog(options: LogOptions): Log {
  const note = (level: LogLevel, { code, message, facts = {} }: Note): void => {
    if (RANK[level] > RANK[options.level]) return
    options.write(
      options.format === 'json'
        ? `${jsonLine({ level, code, message, facts })}\n`
        : `groot: ${level === 'warn' ? 'warning: ' : ''}${visible(message)}\n`,
    )
  }
  const progress = new Progress(options.now)
  return {
    failure: (failure) => options.write(failureText(failure, options)),
    note,
    event: (event) => {
      const told = progress.describe(event)
      if (told !== null) note(told.level, told)
    },
  }
}

function failureText(failure: Failure, { level, format }: LogOptions): string {
  const { stack, ...told } = failure
  const isDebug = level === 'debug'
  if (format === 'json') return `${jsonLine({ level: 'error', ...told, ...(isDebug ? { stack } : {}) })}\n`
  const trace = isDebug ? stack.split('\n').map((line) => `  ${visible(line)}\n`) : []
  return [`groot: ${visible(failure.message)}\n`, ...trace].join('')
}
