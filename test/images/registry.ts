/**
 * A registry of the test's own: Debian's docker-registry on a free port of the loopback, with its data in a directory of
 * the test's. Stopped by its process id.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { findTool } from './tools.js'

export interface LocalRegistry extends AsyncDisposable {
  /** `127.0.0.1:PORT`. */
  readonly host: string
}

const START_MS = 20_000

export interface RegistrySetup {
  /** Where the data is; default: in the registry's own directory. */
  readonly data?: string
  /** `http.tls`, `auth` and `proxy` of its configuration. */
  readonly tls?: object
  readonly auth?: object
  readonly proxy?: object
}

/** @param directory for the data and the configuration; made here, the caller removes it */
export async function startRegistry(directory: string, setup: RegistrySetup = {}): Promise<LocalRegistry> {
  mkdirSync(directory)
  const host = `127.0.0.1:${await freePort()}`
  const config = `${directory}/config.json`
  // JSON is YAML, which is what the registry reads.
  writeFileSync(
    config,
    JSON.stringify({
      version: 0.1,
      log: { level: 'error', accesslog: { disabled: true } },
      storage: { filesystem: { rootdirectory: setup.data ?? `${directory}/data` } },
      http: { addr: host, ...(setup.tls === undefined ? {} : { tls: setup.tls }) },
      ...(setup.auth === undefined ? {} : { auth: setup.auth }),
      ...(setup.proxy === undefined ? {} : { proxy: setup.proxy }),
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
    if (await isListening(host)) return
    await sleep(50)
  }
  throw new Error(
    `The registry on ${host} did not come up: ${child.exitCode === null ? 'no answer' : `exit ${child.exitCode}`}`,
  )
}

/** Whether there is somebody; what is spoken and who may come in, tests find out. */
async function isListening(host: string): Promise<boolean> {
  const [address = '', port] = host.split(':')
  const socket = connect(Number(port), address)
  return await new Promise<boolean>((resolve) => {
    socket.once('connect', () => resolve(true))
    socket.once('error', () => resolve(false))
  }).finally(() => socket.destroy())
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
