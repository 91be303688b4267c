import { randomBytes } from 'node:crypto'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { sha256 } from '../../../lib/digest.js'
import { IntegrityError } from '../../../lib/errors.js'
import type { GrootEvent } from '../../../lib/events.js'
import type { Descriptor } from '../../../lib/image/manifest.js'
import { type ClientOptions, createClient, type RegistryClient } from '../../../lib/registry/client.js'
import type { RegistryEndpoint } from '../../../lib/registry/hosts.js'
import { createTransport, type Transport } from '../../../lib/registry/transport.js'
import {
  type FakeRegistry,
  REPOSITORY,
  redirect,
  respond,
  respondBlob,
  startRegistry,
} from './fake-registry.js'
import {
  blobs,
  cutAfter,
  type Fault,
  lie,
  partial,
  requests,
  reset,
  script,
  status,
  stopAfter,
  wholesale,
} from './faults.js'
import { collect, endpoint, eventsOf, failure, hostsOf, JumpingClock, readBlob, SIGNAL } from './testing.js'

const KiB = 1024
const BYTES = randomBytes(2000 * KiB)

let registry: FakeRegistry
let mirror: FakeRegistry
let transport: Transport
let clock: JumpingClock
let events: GrootEvent[]
let blob: Descriptor

beforeEach(async () => {
  registry = await startRegistry()
  mirror = await startRegistry()
  transport = createTransport({ idleTimeoutMs: 300, connectTimeoutMs: 300 })
  clock = new JumpingClock()
  events = []
  for (const server of [registry, mirror]) blob = server.putBlob(BYTES)
})

afterEach(async () => {
  transport.close()
  for (const server of [registry, mirror]) await server[Symbol.asyncDispose]()
})

function connect(
  servers: readonly FakeRegistry[] = [registry],
  options: Partial<ClientOptions> = {},
): RegistryClient {
  return createClient({
    image: { registry: 'registry.example', repository: REPOSITORY },
    hosts: hostsOf(servers.map(({ host }): RegistryEndpoint => endpoint(host))),
    transport,
    clock,
    events: (event) => void events.push(event),
    ...options,
  })
}

const ranges = (server: FakeRegistry) => requests(server, blobs).map(({ headers }) => headers.range ?? null)

describe('a blob that is cut', () => {
  it('goes on where it ended, and no byte comes twice', async () => {
    script(registry, blobs, [cutAfter(700 * KiB, BYTES), cutAfter(800 * KiB, BYTES)])
    expect(sha256(await readBlob(connect(), blob))).toBe(blob.digest)
    const [first, ...others] = ranges(registry)
    expect([first, others.length]).toEqual([null, 2])
    const from = others.map((range) => Number(/^bytes=([0-9]+)-$/.exec(range!)![1]))
    // What had come when the connection broke is not asked for again; some of it may be lost in a pipe of this process.
    expect(from[0]).toBeGreaterThan(500 * KiB)
    expect(from[0]).toBeLessThanOrEqual(700 * KiB)
    expect(from[1]).toBeGreaterThan(1200 * KiB)
  })

  it('goes on as often as it takes, with short waits, as long as something comes', async () => {
    const part = 300 * KiB
    script(registry, blobs, (request, response) => cutAfter(part, BYTES)(request, response))
    expect(sha256(await readBlob(connect(), blob))).toBe(blob.digest)
    expect(ranges(registry).length).toBeGreaterThanOrEqual(7)
    expect(new Set(clock.waits)).toEqual(new Set([375]))
  })

  it('is given up after six tries without progress', async () => {
    script(registry, blobs, [cutAfter(600 * KiB, BYTES)])
    script(registry, (path) => blobs(path) && ranges(registry).length > 1, cutAfter(0, BYTES))
    const error = await failure(readBlob(connect(), blob))
    expect(error).toMatchObject({
      code: 'blob-cut',
      temporary: true,
      facts: { digest: blob.digest, expected: BYTES.length, registry: registry.host },
    })
    expect(error.facts.attempts).toEqual([`${registry.origin}: blob-cut, 7 times`])
    // The one that brought something, and six that did not.
    expect(ranges(registry)).toHaveLength(7)
  })

  it('by a server that dribbles is given up, too', async () => {
    script(registry, blobs, (request, response) => cutAfter(100, BYTES)(request, response))
    expect(await failure(readBlob(connect(), blob))).toMatchObject({ code: 'blob-cut' })
    expect(ranges(registry)).toHaveLength(6)
  })

  it('by silence goes on, too', async () => {
    script(registry, blobs, [stopAfter(600 * KiB, BYTES)])
    expect(sha256(await readBlob(connect(), blob))).toBe(blob.digest)
    expect(eventsOf(events, 'retry')).toMatchObject([
      { what: 'blob', name: blob.digest, code: 'registry-timeout', attempt: 1, waitMs: 375 },
    ])
  })

  it('starts anew when the whole comes in place of the rest, and drops what it had', async () => {
    script(registry, blobs, [cutAfter(700 * KiB, BYTES), wholesale(BYTES)])
    expect(sha256(await readBlob(connect(), blob))).toBe(blob.digest)
    expect(ranges(registry)).toHaveLength(2)
  })

  it('never comes to an end when each time it is cut at the same place', async () => {
    script(registry, blobs, cutAfter(700 * KiB, BYTES, { ignoresRange: true }))
    expect(await failure(readBlob(connect(), blob))).toMatchObject({
      code: 'blob-cut',
      facts: { received: expect.toSatisfy((it) => it > 0 && it <= 700 * KiB) },
    })
    expect(ranges(registry)).toHaveLength(7)
  })

  it.each<[string, (from: number) => string | undefined]>([
    ['none', () => undefined],
    ['nonsense', () => 'bytes all'],
    ['another unit', (from) => `lines ${from}-${BYTES.length - 1}/${BYTES.length}`],
    ['another beginning', (from) => `bytes ${from + 1}-${BYTES.length - 1}/${BYTES.length}`],
    ['the beginning', () => `bytes 0-${BYTES.length - 1}/${BYTES.length}`],
    ['an end beyond the end', (from) => `bytes ${from}-${BYTES.length}/${BYTES.length}`],
    ['another size', (from) => `bytes ${from}-${BYTES.length - 1}/${BYTES.length + 1}`],
    ['another length than its body', (from) => `bytes ${from}-${BYTES.length - 2}/${BYTES.length}`],
  ])('does not take a part with a wrong Content-Range: %s', async (_, contentRange) => {
    script(registry, blobs, [
      cutAfter(700 * KiB, BYTES),
      (request, response) => {
        const from = Number(/[0-9]+/.exec(request.headers.range!)![0])
        partial(contentRange(from), Buffer.alloc(BYTES.length - from))(request, response)
      },
    ])
    expect(sha256(await readBlob(connect(), blob))).toBe(blob.digest)
    // The third time it is asked for the whole.
    expect(ranges(registry)).toEqual([null, expect.stringMatching(/^bytes=/), null])
    expect(eventsOf(events, 'retry')).toMatchObject([{ code: 'blob-cut' }, { code: 'registry-protocol' }])
  })

  it('takes a part that is shorter than what was asked for, and a size that is not told', async () => {
    script(registry, blobs, [
      cutAfter(700 * KiB, BYTES),
      (request, response) => {
        const from = Number(/[0-9]+/.exec(request.headers.range!)![0])
        const end = from + 500 * KiB
        partial(`bytes ${from}-${end - 1}/*`, BYTES.subarray(from, end))(request, response)
      },
    ])
    expect(sha256(await readBlob(connect(), blob))).toBe(blob.digest)
    expect(ranges(registry)).toHaveLength(3)
  })

  it('is asked for as a whole where parts are refused', async () => {
    script(registry, blobs, [cutAfter(700 * KiB, BYTES), status(416)])
    expect(sha256(await readBlob(connect(), blob))).toBe(blob.digest)
    expect(ranges(registry)).toEqual([null, expect.stringMatching(/^bytes=/), null])
  })

  it('is refused as a part when nobody asked for one', async () => {
    script(registry, blobs, partial(`bytes 0-${BYTES.length - 1}/${BYTES.length}`, BYTES))
    expect(await failure(readBlob(connect(), blob))).toMatchObject({
      code: 'registry-status',
      facts: { status: 206 },
    })
    expect(ranges(registry)).toHaveLength(1)
  })

  it('goes on at the next endpoint when the first is gone', async () => {
    script(mirror, blobs, [cutAfter(700 * KiB, BYTES), status(404)])
    expect(sha256(await readBlob(connect([mirror, registry]), blob))).toBe(blob.digest)
    expect(ranges(mirror)).toHaveLength(2)
    expect(ranges(registry)).toEqual([expect.stringMatching(/^bytes=/)])
  })

  it('is not asked for again by who stopped reading', async () => {
    script(registry, blobs, [cutAfter(700 * KiB, BYTES)])
    for await (const _ of (await connect().getBlob(blob, SIGNAL)).chunks) break
    await new Promise((resolve) => setTimeout(resolve, 100))
    expect(ranges(registry)).toHaveLength(1)
  })
})

describe('a blob of two endpoints', () => {
  const small = randomBytes(20 * KiB)
  const FAULTS: Record<string, (at: number) => Fault> = {
    cut: (at) => cutAfter(at, small),
    cutOfAll: (at) => cutAfter(at, small, { ignoresRange: true }),
    all: () => wholesale(small),
    reset: () => reset,
    busy: () => status(503),
    noParts: () => (request, response) =>
      request.headers.range === undefined
        ? respondBlob(request, response, small)
        : status(416)(request, response),
    wrongPart: (at) => (request, response) =>
      request.headers.range === undefined
        ? respondBlob(request, response, small)
        : partial(`bytes ${at}-${small.length - 1}/${small.length}`, small.subarray(at))(request, response),
  }

  it('is whole and right whatever becomes of its connections, as long as somebody serves in the end', async () => {
    const fault = fc.record({
      name: fc.constantFrom(...Object.keys(FAULTS)),
      at: fc.nat({ max: small.length - 1 }),
    })
    const faults = fc.array(fault, { maxLength: 5 })
    const servers = [mirror, registry]
    for (const server of servers) blob = server.putBlob(small)
    await fc.assert(
      fc.asyncProperty(faults, faults, async (...scripts) => {
        servers.forEach((server, number) => {
          server.fault = () => false
          script(
            server,
            blobs,
            scripts[number]!.map(({ name, at }) => FAULTS[name]!(at)),
          )
        })
        expect(sha256(await readBlob(connect(servers), blob))).toBe(blob.digest)
      }),
      { numRuns: 60 },
    )
  })
})

describe('a blob at a storage', () => {
  it('whose signed address is out of date is asked for at the registry again', async () => {
    let signature = 0
    script(registry, blobs, (request, response) =>
      redirect(response, `${mirror.origin}${request.url}?sig=${++signature}`),
    )
    mirror.fault = (request, response) => {
      if (request.url!.endsWith('sig=1')) cutAfter(700 * KiB, BYTES)(request, response)
      else if (request.url!.endsWith('sig=2')) respond(response, 403, 'expired')
      else respondBlob(request, response, BYTES)
      return true
    }
    expect(sha256(await readBlob(connect(), blob))).toBe(blob.digest)
    expect(mirror.seen.map(({ path, headers }) => [path.split('?')[1], headers.range !== undefined])).toEqual(
      [
        ['sig=1', false],
        ['sig=2', true],
        ['sig=3', true],
      ],
    )
    expect(registry.seen).toHaveLength(3)
    expect(JSON.stringify(events)).not.toContain('sig=')
  })

  it('that says no to a new address as well is believed, and its address is not told', async () => {
    script(registry, blobs, (request, response) =>
      redirect(response, `${mirror.origin}${request.url}?sig=secret`),
    )
    mirror.fault = (_, response) => respond(response, 403, 'no')
    const error = await failure(readBlob(connect(), blob))
    expect(error).toMatchObject({ code: 'registry-status', facts: { status: 403 } })
    expect(error.facts.attempts).toEqual([`${registry.origin}: status 403 from ${mirror.origin}, 2 times`])
    expect(mirror.seen).toHaveLength(2)
    expect(`${error.message}${JSON.stringify([error.facts, events])}`).not.toContain('secret')
  })
})

describe('a blob that is another', () => {
  const refusal = new IntegrityError('digest-mismatch', 'Cannot accept it', { facts: { expected: 'x' } })

  it('is asked for at the other endpoints, each once, and then refused', async () => {
    const client = connect([mirror, registry])
    script(mirror, blobs, lie(BYTES))
    const first = await client.getBlob(blob, SIGNAL)
    expect(sha256(await collect(first.chunks))).not.toBe(blob.digest)
    expect(first.refuse(refusal)).toBeNull()
    expect(eventsOf(events, 'retry')).toMatchObject([
      { endpoint: mirror.origin, next: registry.origin, code: 'digest-mismatch' },
    ])
    const second = await client.getBlob(blob, SIGNAL)
    expect(sha256(await collect(second.chunks))).toBe(blob.digest)
    expect(second.refuse(refusal)).toMatchObject({
      kind: 'integrity',
      code: 'digest-mismatch',
      facts: {
        expected: 'x',
        attempts: [`${mirror.origin}: digest-mismatch`, `${registry.origin}: digest-mismatch`],
      },
    })
    expect([ranges(mirror), ranges(registry)]).toEqual([[null], [null]])
  })

  it('has one cause when one endpoint sent it all', async () => {
    const stream = await connect().getBlob(blob, SIGNAL)
    await collect(stream.chunks)
    const error = stream.refuse(refusal)
    expect([error?.message, error?.facts]).toEqual([
      'Cannot accept it',
      { expected: 'x', attempts: [`${registry.origin}: digest-mismatch`] },
    ])
  })

  it('is asked for from each alone when several had a part in it', async () => {
    const client = connect([mirror, registry])
    script(mirror, blobs, [cutAfter(700 * KiB, Buffer.from(BYTES).fill(0)), status(404), lie(BYTES)])
    const mixed = await client.getBlob(blob, SIGNAL)
    expect(sha256(await collect(mixed.chunks))).not.toBe(blob.digest)
    expect(mixed.refuse(refusal)).toBeNull()
    const ofMirror = await client.getBlob(blob, SIGNAL)
    expect(sha256(await collect(ofMirror.chunks))).not.toBe(blob.digest)
    expect(ofMirror.refuse(refusal)).toBeNull()
    expect(sha256(await readBlob(client, blob))).toBe(blob.digest)
    expect([ranges(mirror).length, ranges(registry).length]).toEqual([3, 2])
  })

  it.each<[string, Fault, string]>([
    ['other bytes', lie(Buffer.alloc(500, 1)), 'digest-mismatch'],
    ['fewer bytes', wholesale(Buffer.alloc(499, 1)), 'size-mismatch'],
    ['more bytes', wholesale(Buffer.alloc(501, 1)), 'size-mismatch'],
    [
      'more bytes than are told',
      (_, response) => response.writeHead(200).end(Buffer.alloc(501, 1)),
      'size-mismatch',
    ],
  ])('and small is asked for elsewhere by itself: %s', async (_, fault, code) => {
    const bytes = Buffer.alloc(500, 1)
    const small = registry.putBlob(bytes)
    mirror.putBlob(bytes)
    script(mirror, blobs, fault)
    expect(await connect([mirror, registry]).readBlob(small, SIGNAL)).toEqual(bytes)
    expect(eventsOf(events, 'retry')).toMatchObject([{ code }])
    expect([ranges(mirror), ranges(registry)]).toEqual([[null], [null]])
    script(registry, blobs, fault)
    const error = await failure(connect([mirror, registry]).readBlob(small, SIGNAL))
    expect(error).toMatchObject({ kind: 'integrity', code })
    expect(error.facts.attempts).toEqual([`${mirror.origin}: ${code}`, `${registry.origin}: ${code}`])
  })
})

describe('many blobs', () => {
  it('are asked for before they are read, eight at once, the others when somebody reads', async () => {
    const all = Array.from({ length: 20 }, (_, at) => registry.putBlob(Buffer.alloc(100, at)))
    const client = connect()
    const streams = await Promise.all(all.map((each) => client.getBlob(each, SIGNAL)))
    await new Promise((resolve) => setTimeout(resolve, 200))
    expect(registry.seen).toHaveLength(8)
    const read = await Promise.all(streams.map(({ chunks }) => collect(chunks)))
    expect(read).toEqual(all.map((_, at) => Buffer.alloc(100, at)))
    expect(registry.seen).toHaveLength(20)
    await Promise.all([client.getBlob(all[0]!, SIGNAL)])
    await new Promise((resolve) => setTimeout(resolve, 50))
    expect(registry.seen).toHaveLength(21)
  })

  it('that fail while nobody reads fail for who reads', async () => {
    script(registry, blobs, reset)
    const streams = await Promise.all([1, 2].map(() => connect().getBlob(blob, SIGNAL)))
    await new Promise((resolve) => setTimeout(resolve, 100))
    for (const { chunks } of streams) {
      expect(await failure(collect(chunks))).toMatchObject({ code: 'registry-unreachable' })
    }
  })
})
