/**
 * Without a network: what nobody answers is told within the time that connecting may take, with all that was tried; what
 * the store has is used without asking.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import net, { type AddressInfo } from 'node:net'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type GrootError, type GrootStore, openStore } from '../../lib/index.js'
import { layer } from '../../lib/testkit/layer.js'
import { EMPTY, Place } from '../lib/operations/testing.js'
import { REPOSITORY, startRegistry } from '../lib/registry/fake-registry.js'

let place: Place
let store: GrootStore
beforeEach(async () => {
  place = new Place()
  store = await openStore({ path: place.store, driver: 'vfs', thread: 'caller' })
})
afterEach(async () => {
  await store.close()
  place.remove()
})

/** An address where connections are not refused and never made: the backlog of who listens is full. */
class BlackHole implements AsyncDisposable {
  readonly #child: ChildProcess
  readonly #sockets: net.Socket[] = []
  host = ''

  constructor() {
    const listen = `const server = require('node:net').createServer()
      server.listen({ port: 0, host: '127.0.0.1', backlog: 1 }, () => {
        require('node:fs').writeSync(1, String(server.address().port))
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)
      })`
    this.#child = spawn(process.execPath, ['-e', listen], { stdio: ['ignore', 'pipe', 'inherit'] })
  }

  async open(): Promise<this> {
    const [port] = await this.#child.stdout!.take(1).toArray()
    this.host = `127.0.0.1:${String(port)}`
    for (let at = 0; at < 8; at++) {
      const socket = net.connect(Number(port), '127.0.0.1')
      socket.on('error', () => {})
      this.#sockets.push(socket)
    }
    await new Promise((resolve) => setTimeout(resolve, 100))
    return this
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    const gone = new Promise((resolve) => this.#child.once('exit', resolve))
    this.#child.kill('SIGKILL')
    await gone
  }
}

/** A port where nobody listens. */
async function refusing(): Promise<string> {
  const server = net.createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return `127.0.0.1:${port}`
}

/** Settings by which a registry is asked at these hosts, each with half a second to connect. */
function hostsToml(registry: string, hosts: readonly string[]): { certsDirectory: string } {
  const directory = `${place.directory}/certs/${registry}`
  mkdirSync(directory, { recursive: true })
  const tables = hosts.map((host) => `[host."${host}"]\n  dial_timeout = "500ms"\n`)
  writeFileSync(`${directory}/hosts.toml`, `server = "${hosts.at(-1)}"\n${tables.join('')}`)
  return { certsDirectory: `${place.directory}/certs` }
}

async function failedPull(registry: string, hosts: readonly string[]) {
  const began = performance.now()
  const error = await store
    .pull({
      image: `docker://${registry}/${REPOSITORY}:v1`,
      registry: { ignoreHostFiles: true, ...hostsToml(registry, hosts) },
    })
    .then(
      () => Promise.reject(new Error('it worked')),
      (thrown: GrootError) => thrown,
    )
  return { error, tookMs: performance.now() - began }
}

describe('a pull without a network', () => {
  it.each<[string, () => Promise<string>, string]>([
    ['a name that nobody knows', async () => 'registry.invalid', 'registry-unreachable'],
    ['a port that is closed', refusing, 'registry-unreachable'],
  ])('of %s fails with what was tried', async (_, hostOf, code) => {
    const host = await hostOf()
    const { error, tookMs } = await failedPull('registry.example', [`http://${host}`])
    expect(error).toMatchObject({ code, exitStatus: 15 })
    expect(error.facts.attempts).toEqual([expect.stringContaining(`http://${host}: ${code}`)])
    expect(error.message).toContain(host)
    expect(tookMs).toBeLessThan(20_000)
    expect(place.contents()).toEqual(EMPTY)
  })

  it('of an address that swallows everything fails when the time to connect is over', async () => {
    await using hole = await new BlackHole().open()
    const { error, tookMs } = await failedPull('registry.example', [`http://${hole.host}`])
    expect(error).toMatchObject({ code: 'registry-timeout', facts: { waitedFor: 'connect' } })
    expect(error.facts.attempts).toEqual([
      expect.stringContaining(`http://${hole.host}: registry-timeout (connect)`),
    ])
    expect(tookMs).toBeGreaterThan(400)
    expect(tookMs).toBeLessThan(20_000)
    expect(place.contents()).toEqual(EMPTY)
  })

  it('names every mirror and the registry, each with its own cause', async () => {
    await using hole = await new BlackHole().open()
    const closed = await refusing()
    const hosts = [`http://${hole.host}`, 'http://mirror.invalid', `http://${closed}`]
    const { error } = await failedPull('registry.example', hosts)
    const attempts = error.facts.attempts as readonly string[]
    expect(attempts).toHaveLength(3)
    expect(attempts[0]).toMatch(/registry-timeout \(connect\)/)
    expect(attempts[1]).toMatch(/registry-unreachable \((ENOTFOUND|EAI_AGAIN)\)/)
    expect(attempts[2]).toMatch(/registry-unreachable \(ECONNREFUSED\)/)
    for (const host of hosts) expect(error.message).toContain(host)
  })
})

describe('what the store has', () => {
  it('is created from by digest without a request, and by tag with --pull never', async () => {
    await using registry = await startRegistry()
    const { digest } = registry.putImage([layer().file('a', 'b').build()], { tag: 'v1' })
    const request = (name: string, id: string, pull?: 'never') =>
      place.request({
        id,
        image: `docker://${registry.host}/${REPOSITORY}${name}`,
        platform: 'linux/amd64',
        registry: { ignoreHostFiles: true },
        ...(pull === undefined ? {} : { pull }),
      })
    await store.create(request(':v1', 'b1'))
    await store.create(request(`@${digest}`, 'b2'))
    const before = registry.seen.length
    await store.create(request(`@${digest}`, 'b3'))
    await store.create(request(':v1', 'b4', 'never'))
    expect(registry.seen.length).toBe(before)
  })
})
