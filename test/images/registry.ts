/**
 * A registry of the test's own: Debian's docker-registry on a free port of the loopback, with its data in a directory of
 * the test's. Stopped by its process id.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { findTool } from './tools.js'

export interface LocalRegistry extends AsyncDisposable {
  /** `127.0.0.1:PORT`. */
  readonly host: string
}

const START_MS = 20_000

/** @param directory for the data and the configuration; made here, the caller removes it */
export async function startRegistry(directory: string): Promise<LocalRegistry> {
  mkdirSync(directory)
  const host = `127.0.0.1:${await freePort()}`
  const config = `${directory}/config.json`
  // JSON is YAML, which is what the registry reads.
  writeFileSync(
    config,
    JSON.stringify({
      version: 0.1,
      log: { level: 'error', accesslog: { disabled: true } },
      storage: { filesystem: { rootdirectory: `${directory}/data` } },
      http: { addr: host },
    }),
  )
  const child = spawn(findTool('docker-registry') ?? 'docker-registry', ['serve', config], {
    stdio: 'ignore',
  })
  try {
    await waitUntilUp(host, child)
  } catch (error) {
    await stop(child)
    throw error
  }
  return { host, [Symbol.asyncDispose]: () => stop(child) }
}

async function waitUntilUp(host: string, child: ChildProcess): Promise<void> {
  const deadline = Date.now() + START_MS
  while (Date.now() < deadline && child.exitCode === null) {
    try {
      if ((await fetch(`http://${host}/v2/`)).ok) return
    } catch {
      // Nobody listens yet.
    }
    await sleep(50)
  }
  throw new Error(
    `The registry on ${host} did not come up: ${child.exitCode === null ? 'no answer' : `exit ${child.exitCode}`}`,
  )
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const gone = new Promise((resolve) => child.once('exit', resolve))
  child.kill('SIGKILL')
  await gone
}

/** A port that was free a moment ago. */
async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  await new Promise((resolve) => server.close(resolve))
  if (address === null || typeof address === 'string') throw new Error('No port of the loopback is free')
  return address.port
}
