/**
 * A lock beside a file that is read, changed and written again, so that two who do it at once lose nothing of each other.
 *
 * It is among groot's own processes: Docker takes none, and what others write meanwhile is not looked at.
 */
import { basename, dirname } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { BusyError, isGrootError, throwIfAborted } from '../errors.js'
import { quote } from '../image/json.js'
import { type Taken, tryLock } from '../locks/engine.js'
import { Guard, readGuard } from '../locks/guard.js'

const TIMEOUT_MS = 30_000 // who holds it reads and writes one small file
const FIRST_DELAY_MS = 2
const LONGEST_DELAY_MS = 100

/**
 * Works while nobody else of groot does so with the same file. Where the filesystem has no locks it works all the same.
 *
 * @param path real path of the file, which need not exist; its directory does
 * @throws {BusyError} `lock-timeout`
 */
export async function withFileLock<T>(path: string, signal: AbortSignal, work: () => Promise<T>): Promise<T> {
  const lock = await take(path, signal)
  try {
    return await work()
  } finally {
    await lock?.release()
  }
}

/** Null where there can be no lock. */
async function take(path: string, signal: AbortSignal): Promise<Taken | null> {
  const guardPath = `${dirname(path)}/.${basename(path).slice(0, 64)}.groot-lock`
  const start = performance.now()
  for (let delay = FIRST_DELAY_MS; ; delay = Math.min(2 * delay, LONGEST_DELAY_MS)) {
    throwIfAborted(signal)
    const taken = await tryOnce(guardPath)
    if (taken !== 'held') return taken
    const waitedMs = Math.round(performance.now() - start)
    if (waitedMs >= TIMEOUT_MS) throw timedOut(path, guardPath, waitedMs)
    await setTimeout(delay * (0.5 + Math.random()), undefined, { signal }).catch(() => throwIfAborted(signal))
  }
}

async function tryOnce(guardPath: string): Promise<Taken | null | 'held'> {
  const holder = { pid: process.pid, command: 'groot login', since: new Date().toISOString() }
  try {
    // A lost lock is no reason to stop: the file is replaced as a whole in any case.
    return (await tryLock(new Guard(guardPath), 'login', holder, () => {})) ?? 'held'
  } catch (error) {
    if (isGrootError(error) && error.code === 'lock-unsupported') return null
    throw error
  }
}

function timedOut(path: string, guardPath: string, waitedMs: number): BusyError {
  const holder = readGuard(guardPath)?.holder ?? null
  const who = holder === null ? 'another process' : `process ${holder.pid} (${holder.command})`
  return new BusyError('lock-timeout', `Cannot write ${quote(path)}: ${who} is at it for ${waitedMs} ms`, {
    facts: {
      lock: 'login',
      holderPid: holder?.pid ?? null,
      holderCommand: holder?.command ?? null,
      holderSince: holder?.since ?? null,
      waitedMs,
    },
  })
}
