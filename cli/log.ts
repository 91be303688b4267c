/**
 * The log: what the command tells people while it works, on stderr. Answers go to stdout and not through here.
 */
import type { GrootEvent } from '../lib/index.js'
import type { Bars } from './bars.js'
import type { Failure } from './failure.js'
import { type Note, type NoteLevel, Progress } from './progress.js'
import { jsonLine, visible } from './text.js'

export type LogLevel = 'error' | 'warn' | 'info' | 'debug'

const RANK: Record<LogLevel, number> = { error: 0, warn: 1, info: 2, debug: 3 }

/** Whether a log of one level tells what is of another. */
export function tells(level: LogLevel, what: LogLevel): boolean {
  return RANK[what] <= RANK[level]
}

export interface LogOptions {
  readonly level: LogLevel
  readonly format: 'text' | 'json'
  /** Takes whole lines; not asked for where there are bars, which write them above themselves. */
  readonly write: (lines: string) => void
  /** Draws progress where people read the log on a terminal. */
  readonly bars?: Bars | null
  /** Milliseconds of a clock that only goes forward. */
  readonly now: () => number
}

export interface Log {
  failure(failure: Failure): void
  note(level: NoteLevel, note: Note): void
  /** Tells of an event of the library. */
  event(event: GrootEvent): void
  /** Takes the bars away; what is written after that is lines. */
  close(): void
}

/** Events that bars show better. */
const DRAWN: ReadonlySet<string> = new Set(['layer-progress', 'check-progress', 'clean-progress'])

export function createLog(options: LogOptions): Log {
  const { bars = null } = options
  const write = bars === null ? options.write : (lines: string) => bars.write(lines)
  const note = (level: LogLevel, { code, message, facts = {} }: Note): void => {
    if (!tells(options.level, level)) return
    write(
      options.format === 'json'
        ? `${jsonLine({ level, code, message, facts })}\n`
        : `groot: ${level === 'warn' ? 'warning: ' : ''}${visible(message)}\n`,
    )
  }
  const progress = new Progress(options.now)
  return {
    failure: (failure) => write(failureText(failure, options)),
    note,
    event: (event) => {
      bars?.event(event)
      const told = progress.describe(event)
      if (told === null || (bars?.isDrawing && DRAWN.has(told.code))) return
      note(told.level, told)
    },
    close: () => bars?.stop(),
  }
}

function failureText(failure: Failure, { level, format }: LogOptions): string {
  const { stack, ...told } = failure
  const isDebug = level === 'debug'
  if (format === 'json') return `${jsonLine({ level: 'error', ...told, ...(isDebug ? { stack } : {}) })}\n`
  const trace = isDebug ? stack.split('\n').map((line) => `  ${visible(line)}\n`) : []
  return [`groot: ${visible(failure.message)}\n`, ...trace].join('')
}
