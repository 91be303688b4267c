import net from 'node:net'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { sha256 } from '../../../lib/digest.js'
import { type GrootError, RegistryError } from '../../../lib/errors.js'
import type { GrootEvent } from '../../../lib/events.js'
import { type ClientOptions, createClient, type RegistryClient } from '../../../lib/registry/client.js'
import { createTransport, type Transport } from '../../../lib/registry/transport.js'
import { type FakeRegistry, REPOSITORY, redirect, respond, startRegistry } from './fake-registry.js'
import { type Fault, hangUp, manifests, requests, reset, script, silence, status, well } from './faults.js'
import { endpoint, eventsOf, failure, hostsOf, JumpingClock, SIGNAL } from './testing.js'

let registry: FakeRegistry
let mirror: FakeRegistry
let second: FakeRegistry
let transport: Transport
let clock: JumpingClock
let events: GrootEvent[]

beforeEach(async () => {
  registry = await startRegistry()
  mirror = await startRegistry()
  second = await startRegistry()
  transport = createTransport({ idleTimeoutMs: 200, connectTimeoutMs: 400 })
  clock = new JumpingClock()
  events = []
  for (const server of [registry, mirror, second]) server.putManifest(DOCUMENT, 'v1')
})

afterEach(async () => {
  transport.close()
  for (const server of [registry, mirror, second]) await server[Symbol.asyncDispose]()
})

const DOCUMENT = { schemaVersion: 2, layers: [] }
const DIGEST = sha256(Buffer.from(JSON.stringify(DOCUMENT)))

/** A client of these servers, the last of which is the registry itself. */
function connect(servers: readonly FakeRegistry[], options: Partial<ClientOptions> = {}): RegistryClient {
  return createClient({
    image: { registry: 'registry.example', repository: REPOSITORY, tag: 'v1' },
    hosts: hostsOf(servers.map(({ host }) => endpoint(host))),
    transport,
    clock,
    events: (event) => void events.push(event),
    ...options,
  })
}

const asked = (server: FakeRegistry) => requests(server, manifests).length
const get = (client: RegistryClient, reference = 'v1') => client.getManifest(reference, SIGNAL)

describe('one registry', () => {
  it.each<[string, Fault]>([
    ['500', status(500)],
    ['502', status(502)],
    ['503', status(503)],
    ['504', status(504)],
    ['429', status(429)],
    ['a reset', reset],
    ['a connection that is closed', hangUp],
    ['silence', silence],
    [
      'a body that is cut',
      (_, response) => {
        response.writeHead(200, { 'content-length': 100 })
        response.write('{', () => setTimeout(() => response.destroy(), 5))
      },
    ],
  ])('is asked again after %s, with waits that grow', async (_, fault) => {
    script(registry, manifests, [fault, fault, fault])
    expect(await get(connect([registry]))).toMatchObject({ digest: DIGEST })
    expect(asked(registry)).toBe(4)
    expect(clock.waits).toEqual([375, 750, 1500])
  })

  it.each<[string, Fault, string]>([
    ['503', status(503), 'registry-status'],
    ['resets', reset, 'registry-unreachable'],
  ])('is asked six times at most: %s', async (_, fault, code) => {
    script(registry, manifests, fault)
    const error = await failure(get(connect([registry])))
    expect(error).toMatchObject({ code, temporary: true })
    expect(error.facts.attempts).toEqual([expect.stringMatching(/^http:.*, 6 times$/)])
    expect(asked(registry)).toBe(6)
    expect(clock.waits).toEqual([375, 750, 1500, 3000, 6000])
  })

  it.each([400, 404, 405, 406, 408, 410, 416, 418, 451])('is not asked again after %d', async (code) => {
    script(registry, manifests, status(code))
    const error = await failure(get(connect([registry])))
    expect(error.facts).toMatchObject({ status: code, attempts: [`${registry.origin}: status ${code}`] })
    expect(error.message).not.toContain('tried')
    expect([asked(registry), clock.waits]).toEqual([1, []])
  })

  it('is not asked again when it does not speak HTTP, or sends us where we do not go', async () => {
    script(registry, manifests, ({ socket }) => socket.end('nonsense\r\n\r\n'))
    expect(await failure(get(connect([registry])))).toMatchObject({ code: 'registry-protocol' })
    script(registry, manifests, (_, response) => redirect(response, 'file:///etc/passwd'))
    expect(await failure(get(connect([registry])))).toMatchObject({ code: 'redirect-refused' })
    expect(asked(registry)).toBe(2)
  })

  it.each([
    ['seconds', () => '3', 3_000],
    ['more seconds than are waited', () => '86400', 30_000],
    ['a date', () => new Date(Date.now() + 8_500).toUTCString(), 8_000],
    ['a date of the past', () => new Date(0).toUTCString(), 0],
    ['no time at all', () => 'soon', 0],
  ])('is left alone for as long as it wants: %s', async (_, text, least) => {
    for (const code of [429, 503]) script(registry, manifests, [status(code, { 'retry-after': text() })])
    await get(connect([registry]))
    expect(asked(registry)).toBe(3)
    const between = (wait: number, backoff: number) =>
      wait >= Math.max(least - 1000, backoff) && wait <= Math.max(least, backoff) + 1250
    expect(clock.waits).toEqual([
      expect.toSatisfy((it) => between(it, 375)),
      expect.toSatisfy((it) => between(it, 750)),
    ])
  })

  it('is left alone by everybody while it wants that', async () => {
    script(registry, manifests, [status(429, { 'retry-after': '20' }), well])
    const client = connect([registry])
    await get(client)
    script(registry, manifests, [status(429, { 'retry-after': '20' })])
    const waited = clock.now()
    await Promise.all([get(client), get(client), get(client)])
    expect(clock.now() - waited).toBeGreaterThanOrEqual(20_000)
    expect(asked(registry)).toBe(6)
  })

  it('tells of each try, and in the end of all', async () => {
    script(registry, manifests, [reset, status(503), silence, status(404)])
    const error = await failure(get(connect([registry])))
    const { origin } = registry
    expect(eventsOf(events, 'retry')).toEqual([
      retry(registry, registry, 1, 'registry-unreachable', 375),
      retry(registry, registry, 2, 'registry-status', 750),
      retry(registry, registry, 3, 'registry-timeout', 1500),
    ])
    expect(error).toMatchObject({ kind: 'not-found', code: 'image-missing' })
    expect(error.facts.attempts).toEqual([
      `${origin}: registry-unreachable (ECONNRESET)`,
      `${origin}: status 503`,
      `${origin}: registry-timeout (answer)`,
      `${origin}: status 404`,
    ])
    expect(error.message).toContain(
      `; tried ${origin}: registry-unreachable (ECONNRESET); ${origin}: status 503`,
    )
  })

  it('is not asked again for who gives up during a wait', async () => {
    script(registry, manifests, status(503))
    const giving = new AbortController()
    const patient = new (class extends JumpingClock {
      override async sleep(_: number, signal: AbortSignal): Promise<void> {
        setTimeout(() => giving.abort(), 10)
        await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }))
      }
    })()
    const error = await failure(connect([registry], { clock: patient }).getManifest('v1', giving.signal))
    expect([error.code, asked(registry)]).toEqual(['aborted', 1])
  })
})

function retry(
  from: FakeRegistry,
  to: FakeRegistry,
  attempt: number,
  code: string,
  waitMs: number,
  name = 'v1',
) {
  return {
    kind: 'retry',
    what: 'manifest',
    name,
    endpoint: from.origin,
    next: to.origin,
    attempt,
    code,
    message: expect.stringContaining('Cannot'),
    waitMs,
  }
}

describe('who cannot be reached', () => {
  it('is tried three times when nobody listens, and never when there is no such host', async () => {
    await registry[Symbol.asyncDispose]()
    const error = await failure(get(connect([registry])))
    expect(error).toMatchObject({
      code: 'registry-unreachable',
      facts: { attempts: [`${registry.origin}: registry-unreachable (ECONNREFUSED), 3 times`] },
    })
    expect(clock.waits).toEqual([375, 750])
    const nowhere = connect([], { hosts: hostsOf([endpoint('registry.invalid')]) })
    expect((await failure(get(nowhere))).facts.attempts).toEqual([
      expect.stringMatching(/^http:\/\/registry\.invalid: registry-unreachable \((ENOTFOUND|EAI_AGAIN)\)/),
    ])
  })

  it('is said within the connect limit, with all that was tried', async () => {
    // Takes connections and never says a word of TLS.
    const dumb = net.createServer((socket) => socket.on('error', () => {}))
    await new Promise<void>((resolve) => dumb.listen(0, '0.0.0.0', resolve))
    const { port } = dumb.address() as net.AddressInfo
    const endpoints = [1, 2, 3].map((at) => endpoint(`127.0.0.${at}:${port}`, { security: 'verified' }))
    const limited = createTransport({ connectTimeoutMs: 60_000 })
    const began = performance.now()
    const client = createClient({
      image: { registry: 'registry.example', repository: REPOSITORY },
      hosts: hostsOf(endpoints),
      transport: limited,
      connectTimeoutMs: 600,
    })
    const error = await failure(get(client))
    const tookMs = performance.now() - began
    limited.close()
    dumb.close()
    expect(error).toMatchObject({ code: 'registry-timeout', facts: { waitedFor: 'connect' } })
    expect(error.facts.attempts).toEqual(
      endpoints.map(({ host }) => `https://${host}: registry-timeout (connect)`),
    )
    expect(tookMs).toBeGreaterThan(550)
    expect(tookMs).toBeLessThan(1500)
  })

  it('is asked again for longer when it was there a moment ago', async () => {
    const client = connect([registry])
    await get(client)
    const { host } = registry
    await registry[Symbol.asyncDispose]()
    const error = await failure(get(client))
    // The first try may go over the connection of before.
    expect(error.message).toMatch(
      new RegExp(`tried .*http://${host}: registry-unreachable \\(ECONNREFUSED\\), [56] times`),
    )
    expect(clock.waits).toHaveLength(5)
  })
})

describe('mirrors', () => {
  it('are asked in order, and the registry not at all when one answers', async () => {
    expect(await get(connect([mirror, second, registry]))).toMatchObject({ digest: DIGEST })
    expect([mirror, second, registry].map(asked)).toEqual([1, 0, 0])
  })

  it.each<[string, Fault]>([
    ['404', status(404)],
    ['403', status(403)],
    ['401', status(401, { 'www-authenticate': 'Basic realm="x"' })],
    ['500', status(500)],
    ['429', status(429, { 'retry-after': '30' })],
    ['a reset', reset],
    ['silence', silence],
    ['a manifest of 5 MiB', (_, response) => respond(response, 200, Buffer.alloc(5 * 1024 * 1024, 0x20))],
    ['a redirect to nowhere', (_, response) => redirect(response, 'gopher://h.example/')],
  ])('that fail are passed over without a wait: %s', async (_, fault) => {
    script(mirror, manifests, fault)
    expect(await get(connect([mirror, registry]))).toMatchObject({ digest: DIGEST })
    expect([asked(mirror), asked(registry), clock.waits]).toEqual([1, 1, []])
    expect(eventsOf(events, 'retry')).toMatchObject([
      { endpoint: mirror.origin, next: registry.origin, waitMs: 0 },
    ])
  })

  it('that have another manifest under a digest are passed over', async () => {
    script(mirror, manifests, (_, response) => respond(response, 200, '{"schemaVersion":2,"layers":[ ]}'))
    expect(await get(connect([mirror, registry]), DIGEST)).toMatchObject({ digest: DIGEST })
    expect(eventsOf(events, 'retry')).toMatchObject([{ code: 'digest-mismatch' }])
  })

  it('are asked again in the next round, if they may do better', async () => {
    script(mirror, manifests, [status(503), status(503)])
    script(second, manifests, [status(404)])
    script(registry, manifests, [status(502), status(500)])
    expect(await get(connect([mirror, second, registry]))).toMatchObject({ digest: DIGEST })
    expect([mirror, second, registry].map(asked)).toEqual([3, 1, 2])
    expect(clock.waits).toEqual([375, 750])
  })

  it('that want to be left alone are asked after the others', async () => {
    const client = connect([mirror, registry])
    script(mirror, manifests, [status(429, { 'retry-after': '25' })])
    await get(client)
    await get(client)
    expect([asked(mirror), asked(registry), clock.waits]).toEqual([1, 2, []])
  })

  it('that cannot be reached are asked after the others for a while', async () => {
    await mirror[Symbol.asyncDispose]()
    const client = connect([mirror, registry])
    for (let i = 0; i < 5; i++) await get(client)
    expect(eventsOf(events, 'retry')).toHaveLength(1)
    clock.waits.length = 0
    await clock.sleep(301_000, SIGNAL)
    await get(client)
    expect(eventsOf(events, 'retry')).toHaveLength(2)
  })

  it('count less than the registry in what is said at the end', async () => {
    script(mirror, manifests, status(503))
    script(registry, manifests, status(404))
    const error = await failure(get(connect([mirror, registry])))
    expect(error).toMatchObject({
      kind: 'not-found',
      code: 'image-missing',
      facts: { registry: registry.host },
    })
    expect(error.facts.attempts).toEqual([
      `${mirror.origin}: status 503, 6 times`,
      `${registry.origin}: status 404`,
    ])
  })

  it('are asked for what they are there for: tags of those that resolve, the rest of those that pull', async () => {
    const endpoints = [
      endpoint(mirror.host, { capabilities: new Set(['pull']) }),
      endpoint(second.host, { capabilities: new Set(['resolve']) }),
      endpoint(registry.host),
    ]
    const blob = registry.putBlob(Buffer.from('config'))
    mirror.putBlob(Buffer.from('config'))
    const client = connect([], { hosts: hostsOf(endpoints) })
    await client.getManifest('v1', SIGNAL)
    expect([mirror, second, registry].map(asked)).toEqual([0, 1, 0])
    await client.getManifest(DIGEST, SIGNAL)
    await client.readBlob(blob, SIGNAL)
    expect([mirror, second, registry].map(({ seen }) => seen.length)).toEqual([2, 1, 0])
  })

  it('none of which may be asked are an error', async () => {
    const hosts = hostsOf([endpoint(registry.host, { capabilities: new Set(['pull']) })])
    expect(await failure(get(connect([], { hosts })))).toMatchObject({
      code: 'registry-unreachable',
      facts: { reference: 'v1', attempts: [] },
    })
    expect(registry.seen).toEqual([])
  })

  it('are asked by their own path, name, namespace and headers, which nobody else gets', async () => {
    const special = endpoint(mirror.host, {
      path: '/some/prefix/v2',
      repository: 'proxied/some/image',
      namespace: 'docker.io',
      headers: { 'x-key': 'very secret', authorization: 'Basic abc' },
    })
    script(mirror, manifests, (_, response) => redirect(response, `${second.origin}/elsewhere`))
    second.fault = (_, response) => respond(response, 503, '{"errors":[{"code":"very secret"}]}')
    await get(connect([], { hosts: hostsOf([special, endpoint(registry.host)]) }))
    expect(mirror.seen[0]).toMatchObject({
      path: '/some/prefix/v2/proxied/some/image/manifests/v1?ns=docker.io',
      headers: { 'x-key': 'very secret', authorization: 'Basic abc', 'accept-encoding': 'identity' },
    })
    for (const server of [second, registry]) {
      expect(server.seen[0]!.headers).not.toHaveProperty('x-key')
      expect(server.seen[0]!.headers.authorization).toBeUndefined()
    }
    expect(registry.seen[0]!.path).toBe(`/v2/${REPOSITORY}/manifests/v1`)
    expect(JSON.stringify(events)).not.toContain('very secret')
  })

  it('get their own credentials and no others', async () => {
    const demand = (server: FakeRegistry) =>
      script(server, manifests, (request, response) =>
        request.headers.authorization === undefined
          ? respond(response, 401, '', { 'www-authenticate': 'Basic realm="x"' })
          : respond(response, 503, ''),
      )
    for (const server of [mirror, registry]) demand(server)
    const credentials = {
      [mirror.host]: { username: 'm', password: 'mirror' },
      [registry.host]: { username: 'r', password: 'registry' },
    }
    const hosts = hostsOf([endpoint(mirror.host), endpoint(registry.host)], { credentials })
    await failure(get(connect([], { hosts })))
    const sent = (server: FakeRegistry) =>
      new Set(server.seen.map(({ headers }) => headers.authorization ?? null))
    expect(sent(mirror)).toEqual(new Set([null, `Basic ${Buffer.from('m:mirror').toString('base64')}`]))
    expect(sent(registry)).toEqual(new Set([null, `Basic ${Buffer.from('r:registry').toString('base64')}`]))
  })

  it('do not help when the configuration forbids the registry', async () => {
    const forbidden = new RegistryError('registry-status', 'Cannot use "registry.example": it is blocked')
    const hosts = { ...hostsOf([]), endpointsFor: async () => Promise.reject<never>(forbidden) }
    const error: GrootError = await failure(get(connect([], { hosts })))
    expect(error).toBe(forbidden)
  })
})
