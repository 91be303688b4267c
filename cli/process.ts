/**
 * The process around a run: signals, streams, exit status.
 */
import { createRequire } from 'node:module'
import { addAbortSignal } from 'node:stream'
import {
  AbortedError,
  BugError,
  composefs,
  deleteStore,
  initStore,
  login,
  logout,
  mountStore,
  openStore,
} from '../lib/index.js'
import { askAtTerminal } from './ask.js'
import { failureOf, SIGNAL_STATUS } from './failure.js'
import { createLog } from './log.js'
import { isGroup, isVerb } from './option-lookup.js'
import { logChoicesOf } from './parse.js'
import { run } from './run.js'
import { keepYoungGenerationSmall } from './young-generation.js'

/**
 * Runs the command line of this process and sets its exit status. The process ends when its output is written.
 *
 * @param keepCode is called when all went well; it asks which words are verbs
 */
export async function runProcess(keepCode: (isVerb: (word: string) => boolean) => void): Promise<void> {
  const argv = process.argv.slice(2)
  const signal = stopOnSignals()
  const writeLog = (lines: string): void => void process.stderr.write(lines)
  dieOfFaults(argv, writeLog)
  // A reader that is gone is told by write's callback; without a listener it would be an uncaught exception too.
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {})

  process.exitCode = await run({
    argv,
    env: process.env,
    uid: process.geteuid?.() ?? -1,
    cwd: () => process.cwd(),
    version: versionOfPackage,
    library: { openStore, initStore, deleteStore, mountStore, login, logout, composefs },
    signal,
    stdin: () => addAbortSignal(signal, process.stdin),
    ask: askAtTerminal(signal),
    writeAnswer: (text) => written(process.stdout, text),
    isAnswerTerminal: process.stdout.isTTY === true,
    writeLog,
    terminal: {
      isTerminal: process.stderr.isTTY === true,
      columns: process.stdout.columns ?? process.stderr.columns ?? 80,
      ...(process.stderr.isTTY === true && process.env.TERM !== 'dumb' ? { screen: process.stderr } : {}),
    },
    now: () => performance.now(),
    onEvent: keepYoungGenerationSmall,
  })
  await written(process.stderr, '').catch(() => {})
  if (process.exitCode === 0) keepCode((word) => isVerb(word) || isGroup(word))
  // All is said and closed. A connection that a server keeps open must not keep the command.
  setTimeout(() => process.exit(), LINGER_MS).unref()
}

const LINGER_MS = 200

/** The first signal asks the work to stop and clean up; the second does not wait for it. */
function stopOnSignals(): AbortSignal {
  const controller = new AbortController()
  for (const name of ['SIGINT', 'SIGTERM'] as const) {
    process.on(name, () => {
      if (controller.signal.aborted) process.exit(SIGNAL_STATUS[name])
      controller.abort(new AbortedError(`Cannot go on: stopped by ${name}`, { facts: { signal: name } }))
    })
  }
  return controller.signal
}

/** What nobody caught is a fault of ours: it is told like any other, and ends the process. */
function dieOfFaults(argv: readonly string[], writeLog: (lines: string) => void): void {
  const die = (thrown: unknown): void => {
    const { level = 'warn', format = 'text' } = logChoicesOf(argv)
    const log = createLog({ level, format, write: writeLog, now: () => 0 })
    const text = thrown instanceof Error ? thrown.message : String(thrown)
    const fault = new BugError(`Cannot go on: ${text}`, { cause: thrown })
    const failure = failureOf(fault, '', new AbortController().signal)
    log.failure(failure)
    written(process.stderr, '').finally(() => process.exit(failure.exitStatus))
  }
  process.on('uncaughtException', die)
  process.on('unhandledRejection', die)
}

function written(stream: NodeJS.WriteStream, text: string | Uint8Array): Promise<void> {
  // A stream to a file throws from write itself, which ends the promise all the same.
  return new Promise((resolve, reject) => {
    stream.write(text, (error) => (error ? reject(error) : resolve()))
  })
}

function versionOfPackage(): string {
  // By the package's own name: this file is at another depth when it is compiled.
  const description = createRequire(import.meta.url)('groot/package.json') as { readonly version: string }
  return description.version
}
