/**
 * One run of the command: arguments in, answer and log out, exit status back.
 *
 * Everything of the process comes in as a value, so a test runs it without one. What it may not do: end the process, read
 * the environment, keep anything for the next run.
 */
import { type GrootEvent, isErrno, SystemError, UsageError } from '../lib/index.js'
import type { Ask } from './ask.js'
import { type BarStream, createBars } from './bars.js'
import { failureOf } from './failure.js'
import { createLog, type Log, tells } from './log.js'
import type { VerbName } from './options.js'
import { type CommandLine, logChoicesOf, parseCommandLine } from './parse.js'
import { registrySettingsOf, type Surroundings, settingsOf } from './settings.js'
import { quoted } from './text.js'
import type { Library, Verb, VerbContext } from './verb.js'

export interface Process extends Surroundings {
  /** After the command's name. */
  readonly argv: readonly string[]
  version(): string
  readonly library: Library
  /** Fires when the command shall end; its reason is an AbortedError with the fact `signal`. */
  readonly signal: AbortSignal
  readonly stdin: () => AsyncIterable<Uint8Array>
  /** Asks the person at the terminal; null when there is none. */
  readonly ask: Ask | null
  /** Resolves when the text was handed over. @throws the errno error of the write */
  readonly writeAnswer: (text: string | Uint8Array) => Promise<void>
  /** Whether people read the answer on a terminal. */
  readonly isAnswerTerminal: boolean
  /** Takes whole lines for people; never throws. */
  readonly writeLog: (lines: string) => void
  /** Whether people read the log on a terminal, and how wide it is; the terminal itself where it can be drawn on. */
  readonly terminal: {
    readonly isTerminal: boolean
    readonly columns: number
    readonly screen?: BarStream
  }
  readonly now: () => number
  /** Is told of all that the library tells. */
  readonly onEvent?: (event: GrootEvent) => void
}

/** Runs the command. Never throws: whatever goes wrong is told and becomes the exit status. */
export async function run(process: Process): Promise<number> {
  // Before the line is read as a whole, because what is wrong with it has to be told in the format that it asks for.
  const choices = logChoicesOf(process.argv)
  const level = choices.level ?? (process.terminal.isTerminal ? 'info' : 'warn')
  const format = choices.format ?? 'text'
  const { screen } = process.terminal
  const bars =
    screen !== undefined && format === 'text' && tells(level, 'info') ? createBars(screen, process.now) : null
  const log = createLog({ level, format, write: process.writeLog, now: process.now, bars })
  let doing = 'Cannot run groot'
  try {
    refuseLostBytes(process)
    const line = parseCommandLine(process.argv)
    if (line.kind !== 'run') return await inform(process, line)
    doing = `Cannot finish ${line.verb}`
    const perform = await VERB_MODULES[line.verb]()
    const { text, exitStatus } = await perform(contextOf(process, line, log))
    log.close()
    await deliver(process, text)
    return exitStatus
  } catch (thrown) {
    log.close()
    const failure = failureOf(thrown, doing, process.signal)
    log.failure(failure)
    return failure.exitStatus
  }
}

// Each verb is loaded when it is run: none of them needs the others.
const VERB_MODULES: { readonly [Name in VerbName]: () => Promise<Verb> } = {
  create: async () => (await import('./create.js')).create,
  delete: async () => (await import('./delete.js')).deleteBundles,
  list: async () => (await import('./list.js')).list,
  stats: async () => (await import('./stats.js')).stats,
  limit: async () => (await import('./limit.js')).limit,
  pull: async () => (await import('./digest.js')).pull,
  digest: async () => (await import('./digest.js')).digest,
  mount: async () => (await import('./mount.js')).mount,
  unmount: async () => (await import('./mount.js')).unmount,
  login: async () => (await import('./login.js')).login,
  logout: async () => (await import('./logout.js')).logout,
  check: async () => (await import('./check.js')).check,
  images: async () => (await import('./images.js')).images,
  rmi: async () => (await import('./rmi.js')).rmi,
  clean: async () => (await import('./clean.js')).clean,
  pin: async () => (await import('./pin.js')).pin,
  unpin: async () => (await import('./unpin.js')).unpin,
  locks: async () => (await import('./locks.js')).locks,
  'init-store': async () => (await import('./init-store.js')).initStore,
  'delete-store': async () => (await import('./delete-store.js')).deleteStore,
  'composefs mk': async () => (await import('./composefs-mk.js')).mk,
  'composefs info': async () => (await import('./composefs-info.js')).info,
  'composefs ls': async () => (await import('./composefs-info.js')).ls,
  'composefs dump': async () => (await import('./composefs-info.js')).dump,
  'composefs objects': async () => (await import('./composefs-info.js')).objects,
  'composefs missing-objects': async () => (await import('./composefs-info.js')).missingObjects,
  'composefs measure': async () => (await import('./composefs-info.js')).measure,
  'composefs mount': async () => (await import('./composefs-mount.js')).mount,
}

function contextOf(process: Process, line: CommandLine & { kind: 'run' }, log: Log): VerbContext {
  const { verb, options, operands } = line
  const { library, signal, stdin } = process
  return {
    options,
    operands,
    // Asked for where there is a store: logging in needs none.
    get settings() {
      return settingsOf(options, process)
    },
    registry: registrySettingsOf(options, process),
    ask: process.ask,
    library,
    signal,
    log,
    onEvent: (event) => {
      process.onEvent?.(event)
      log.event(event)
    },
    stdin,
    stdout: {
      isTerminal: process.isAnswerTerminal,
      write: (bytes) =>
        process.writeAnswer(bytes).catch((error: unknown) => Promise.reject(notWritten(error))),
    },
    env: process.env,
    report: (thrown) => {
      const failure = failureOf(thrown, `Cannot finish ${verb}`, signal)
      log.failure(failure)
      return failure.exitStatus
    },
  }
}

/** What Node puts in the place of bytes that are no UTF-8. */
const LOST = '\uFFFD'

/**
 * Names are bytes to Linux and text to Node: of one that is no UTF-8 another would be made or overwritten.
 *
 * @throws {UsageError} `usage-invalid`
 */
function refuseLostBytes({ argv, env, cwd }: Process): void {
  const refuse = (what: string, value: string) => {
    throw new UsageError('usage-invalid', `Cannot use ${what} ${quoted(value)}: it is not UTF-8`, {
      facts: { value },
    })
  }
  for (const word of argv) if (word.includes(LOST)) refuse('the argument', word)
  for (const name of Object.keys(env)) {
    const value = name.startsWith('GROOT_') ? env[name] : undefined
    if (value?.includes(LOST)) refuse(`the variable ${name}`, value)
  }
  const directory = existing(cwd)
  if (directory?.includes(LOST)) refuse('the working directory', directory)
}

/** Null where the working directory was removed. */
function existing(cwd: () => string): string | null {
  try {
    return cwd()
  } catch (error) {
    if (isErrno(error)) return null
    throw error
  }
}

/** Help and version: asked for, they are the answer; help that nobody asked for is an error of use. */
async function inform(process: Process, line: Exclude<CommandLine, { kind: 'run' }>): Promise<number> {
  if (line.kind === 'version') {
    await deliver(process, `groot ${process.version()}\n`)
    return 0
  }
  const { helpText } = await import('./help.js')
  const help = await helpText(line.verb, process.terminal.columns)
  if (line.isAsked) await deliver(process, help)
  else process.writeLog(help)
  return line.isAsked ? 0 : 2
}

async function deliver(process: Process, text: string | Iterable<string>): Promise<void> {
  try {
    for (const piece of typeof text === 'string' ? [text] : text) {
      if (piece !== '') await process.writeAnswer(piece)
    }
  } catch (error) {
    if (!isErrno(error)) throw error
    // Who closed the pipe has read enough, and that is not for us to complain about.
    if (error.code !== 'EPIPE') throw notWritten(error)
  }
}

function notWritten(error: unknown): SystemError {
  const facts = { syscall: 'write', path: 'stdout', errno: isErrno(error) ? error.code : null }
  const why = error instanceof Error ? error.message : String(error)
  return new SystemError('system-call', `Cannot write the answer to standard output: ${why}`, {
    facts,
    cause: error,
  })
}
