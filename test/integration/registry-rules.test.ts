/**
 * The rules of docs/security.md for registries, each against a registry that breaks it, through the whole of groot: the
 * result, the number of requests, and where they went.
 */
import { createHash, randomBytes } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Descriptor } from '../../lib/image/manifest.js'
import {
  type BundleInfo,
  type GrootError,
  type GrootEvent,
  type GrootStore,
  openStore,
} from '../../lib/index.js'
import { layer } from '../../lib/testkit/layer.js'
import { EMPTY, Place } from '../lib/operations/testing.js'
import { makeCertificate } from '../lib/registry/certificate.js'
import {
  type FakeRegistry,
  REPOSITORY,
  redirect,
  respond,
  respondBlob,
  startRegistry,
} from '../lib/registry/fake-registry.js'
import {
  blob,
  blobs,
  cutAfter,
  type Fault,
  lie,
  manifests,
  redirectTo,
  requests,
  reset,
  script,
  status,
  watchOrigins,
  wholesale,
} from '../lib/registry/faults.js'
import { eventsOf, failure } from '../lib/registry/testing.js'

const certificate = makeCertificate()
const CONTENT = randomBytes(3_000_000)
const LAYER = layer().dir('etc').file('etc/large', CONTENT).build()

let place: Place
let registry: FakeRegistry
let mirror: FakeRegistry
let stranger: FakeRegistry
let store: GrootStore
let events: GrootEvent[]
let layerBlob: Descriptor
let digest: string
let watch: ReturnType<typeof watchOrigins>

beforeEach(async () => {
  place = new Place()
  registry = await startRegistry()
  mirror = await startRegistry()
  stranger = await startRegistry()
  store = await openStore({ path: place.store, thread: 'caller' })
  events = []
  for (const server of [registry, mirror]) {
    digest = server.putImage([LAYER], { tag: 'v1' }).digest
    layerBlob = server.putBlob(LAYER)
  }
  watch = watchOrigins()
})
afterEach(async () => {
  watch[Symbol.dispose]()
  await store.close()
  for (const server of [registry, mirror, stranger]) await server[Symbol.asyncDispose]()
  place.remove()
})

function create(change = {}): Promise<BundleInfo> {
  return store.create(
    place.request({
      image: `docker://${registry.host}/${REPOSITORY}:v1`,
      platform: 'linux/amd64',
      onEvent: (event: GrootEvent) => void events.push(event),
      ...change,
    }),
  )
}

/** What makes the mirror one of the registry. */
function mirrored(): object {
  const path = `${place.directory}/registries.conf`
  writeFileSync(
    path,
    `[[registry]]\nlocation = "${registry.host}"\ninsecure = true\n[[registry.mirror]]\nlocation = "${mirror.host}"\ninsecure = true\n`,
  )
  return { registry: { registriesConf: path, ignoreHostFiles: true } }
}

const isLayer = (path: string) => blob(layerBlob)(path)
const layerRequests = (server: FakeRegistry) => requests(server, isLayer)

async function expectWhole(made: Promise<BundleInfo>): Promise<void> {
  const { rootfs, image } = await made
  const { readFileSync } = await import('node:fs')
  const found = createHash('sha256')
    .update(readFileSync(`${rootfs}/etc/large`))
    .digest('hex')
  expect([found, image.digest]).toEqual([createHash('sha256').update(CONTENT).digest('hex'), digest])
}

async function expectRefused(made: Promise<BundleInfo>, expected: object): Promise<GrootError> {
  const error = await failure(made)
  expect(error).toMatchObject(expected)
  expect(place.contents()).toEqual(EMPTY)
  return error
}

describe('rule 20: what is secret goes to the origin that asked for it', () => {
  const credentials = { username: 'me', password: 'hunter2' }

  it('and not along with a redirect, nor to a mirror', async () => {
    script(
      registry,
      (path) => path !== '/v2/',
      (request, response) =>
        request.headers.authorization === undefined
          ? respond(response, 401, '', { 'www-authenticate': 'Basic realm="x"', 'set-cookie': 'a=b' })
          : isLayer(request.url!)
            ? redirect(response, `${stranger.origin}${request.url}`)
            : respond(response, 500, ''),
    )
    const serve = registry.fault
    registry.fault = (request, response) =>
      request.headers.authorization !== undefined && !isLayer(request.url!) ? false : serve(request, response)
    stranger.fault = (request, response) => respondBlob(request, response, LAYER)
    script(mirror, manifests, status(404))
    script(mirror, blobs, status(404))
    await expectWhole(create({ ...mirrored(), credentials }))
    for (const { headers } of [...stranger.seen, ...mirror.seen]) {
      expect([headers.authorization, headers.cookie]).toEqual([undefined, undefined])
    }
    expect(stranger.seen).toHaveLength(1)
    expect(registry.seen.every(({ headers }) => headers.cookie === undefined)).toBe(true)
    expect(JSON.stringify(events)).not.toContain('hunter2')
  })

  it('and a mirror that asks for them does not get those of the registry', async () => {
    script(mirror, (path) => path !== '/v2/', status(401, { 'www-authenticate': 'Basic realm="x"' }))
    await expectWhole(create({ ...mirrored(), credentials }))
    expect(mirror.seen.every(({ headers }) => headers.authorization === undefined)).toBe(true)
  })
})

describe('rule 21: schemes and realms', () => {
  it('a token service elsewhere gets credentials over https only', async () => {
    script(
      registry,
      (path) => path !== '/v2/',
      status(401, { 'www-authenticate': `Bearer realm="${stranger.origin}/t"` }),
    )
    const credentials = { username: 'me', password: 'hunter2' }
    await expectRefused(create({ credentials }), { code: 'auth-realm-refused', exitStatus: 14 })
    expect([stranger.seen.length, requests(registry, manifests).length]).toEqual([0, 1])
  })

  it.each([
    'file:///etc/passwd',
    'data:,x',
    'unix:///run/x.sock',
    'gopher://127.0.0.1/',
    'http://169.254.169.254/latest/meta-data/iam',
  ])('a redirect to %s is refused at once', async (location) => {
    script(registry, isLayer, redirectTo(location))
    await expectRefused(create(), { code: 'redirect-refused', exitStatus: 15 })
    expect(layerRequests(registry)).toHaveLength(1)
  })

  it('a token service on a link of this machine is not asked', async () => {
    const challenge = 'Bearer realm="http://169.254.169.254/latest/api/token"'
    script(registry, (path) => path !== '/v2/', status(401, { 'www-authenticate': challenge }))
    await expectRefused(create(), { code: 'redirect-refused', exitStatus: 15 })
    expect([...watch.origins]).toEqual([registry.origin])
  })

  it('https never becomes http', async () => {
    await using secure = await startRegistry(certificate)
    secure.putImage([LAYER], { tag: 'v1' })
    script(secure, isLayer, (request, response) => redirect(response, `${stranger.origin}${request.url}`))
    const pem = `${place.directory}/ca.pem`
    writeFileSync(pem, certificate.cert)
    const change = {
      image: `docker://${secure.host}/${REPOSITORY}:v1`,
      registry: { environment: { SSL_CERT_FILE: pem }, ignoreHostFiles: true },
    }
    await expectRefused(create(change), { code: 'redirect-refused' })
    expect([stranger.seen.length, layerRequests(secure).length]).toEqual([0, 1])
  })
})

describe('rule 22: foreign layers', () => {
  it('are not fetched from where the manifest says', async () => {
    const document = {
      schemaVersion: 2,
      mediaType: 'application/vnd.oci.image.manifest.v1+json',
      config: registry.putBlob(
        Buffer.from(
          JSON.stringify({
            os: 'linux',
            architecture: 'amd64',
            rootfs: { type: 'layers', diff_ids: [layerBlob.digest] },
          }),
        ),
        'application/vnd.oci.image.config.v1+json',
      ),
      layers: [{ ...layerBlob, urls: [`${stranger.origin}/layer`] }],
    }
    registry.putManifest(document, 'v1')
    script(registry, isLayer, status(404))
    await expectRefused(create(), { code: 'blob-missing' })
    expect(stranger.seen).toEqual([])
  })
})

describe('rule 23: everything has a limit', () => {
  it('a manifest has 4 MiB, and is not read further', async () => {
    script(registry, manifests, (_, response) => {
      response.writeHead(200)
      const push = () => {
        while (response.write(Buffer.alloc(65_536, 0x20)));
        response.once('drain', push)
      }
      push()
    })
    await expectRefused(create(), { code: 'limit-exceeded', facts: { limit: 4 * 1024 * 1024 } })
    expect(requests(registry, manifests)).toHaveLength(1)
  })

  it('a blob has the size of its descriptor', async () => {
    script(registry, isLayer, (_, response) =>
      response.writeHead(200).end(Buffer.concat([LAYER, Buffer.alloc(9)])),
    )
    await expectRefused(create(), { code: 'size-mismatch', exitStatus: 16 })
    expect(layerRequests(registry)).toHaveLength(1)
  })

  it('redirects are ten in a row', async () => {
    script(registry, isLayer, (request, response) => redirect(response, request.url!))
    await expectRefused(create(), { code: 'redirect-refused' })
    expect(layerRequests(registry)).toHaveLength(11)
  })

  it('headers have 16 KiB', async () => {
    script(registry, isLayer, status(200, { 'x-long': 'y'.repeat(20_000) }))
    await expectRefused(create(), { code: 'registry-protocol' })
    expect(layerRequests(registry)).toHaveLength(1)
  })
})

describe('rule 24: what may be tried again', () => {
  it.each<[string, Fault, string]>([
    ['a reset', reset, 'registry-unreachable'],
    ['503', status(503), 'registry-status'],
    ['429 with Retry-After', status(429, { 'retry-after': '1' }), 'registry-status'],
    [
      '503 with a date',
      (_, response) =>
        respond(response, 503, '', { 'retry-after': new Date(Date.now() + 1500).toUTCString() }),
      'registry-status',
    ],
  ])('is tried again: %s', async (_, fault, code) => {
    script(registry, manifests, [fault])
    script(registry, isLayer, [fault])
    const began = performance.now()
    await expectWhole(create())
    expect([requests(registry, manifests).length, layerRequests(registry).length]).toEqual([2, 2])
    const retries = eventsOf(events, 'retry')
    expect(retries).toMatchObject([
      { what: 'manifest', name: 'v1', endpoint: registry.origin, next: registry.origin, attempt: 1, code },
      {
        what: 'blob',
        name: layerBlob.digest,
        endpoint: registry.origin,
        next: registry.origin,
        attempt: 1,
        code,
      },
    ])
    // It was waited as long as was told.
    expect(performance.now() - began).toBeGreaterThanOrEqual(
      retries.reduce((sum, { waitMs }) => sum + waitMs, 0),
    )
  })

  it.each([
    [400, 'registry-status', 15],
    [401, 'auth-required', 14],
    [403, 'auth-denied', 14],
    [404, 'blob-missing', 13],
    [410, 'registry-status', 15],
  ])('is not tried again: %d', async (code, expected, exitStatus) => {
    script(registry, isLayer, status(code, { 'www-authenticate': 'Basic realm="x"' }))
    const credentials = code === 403 ? { credentials: { username: 'me', password: 'hunter2' } } : {}
    await expectRefused(create(credentials), { code: expected, exitStatus })
    expect(layerRequests(registry)).toHaveLength(1)
  })

  it('ends while it is waited', async () => {
    script(registry, isLayer, status(429, { 'retry-after': '3600' }))
    const giving = new AbortController()
    const onEvent = (event: GrootEvent) => {
      if (event.kind === 'retry') setTimeout(() => giving.abort(), 20)
    }
    await expectRefused(create({ onEvent, signal: giving.signal }), { code: 'aborted' })
    expect(layerRequests(registry)).toHaveLength(1)
  })
})

describe('rule 25: a blob that is cut', () => {
  it('goes on where it ended, and is verified as a whole', async () => {
    script(registry, isLayer, [cutAfter(1_000_000, LAYER), cutAfter(1_500_000, LAYER)])
    await expectWhole(create())
    const ranges = layerRequests(registry).map(({ headers }) => headers.range ?? null)
    expect(ranges).toEqual([
      null,
      expect.stringMatching(/^bytes=[0-9]+-$/),
      expect.stringMatching(/^bytes=2[0-9]{6}-$/),
    ])
  })

  it('starts anew when all of it comes again', async () => {
    script(registry, isLayer, [cutAfter(1_000_000, LAYER), wholesale(LAYER)])
    await expectWhole(create())
    expect(layerRequests(registry)).toHaveLength(2)
  })

  it('is refused when the rest is the rest of another', async () => {
    const other = Buffer.from(LAYER).fill(1, 2_000_000, 2_500_000)
    script(registry, isLayer, [
      cutAfter(1_000_000, LAYER),
      (request, response) => respondBlob(request, response, other),
    ])
    await expectRefused(create(), { code: 'digest-mismatch', exitStatus: 16 })
    expect(layerRequests(registry)).toHaveLength(2)
  })
})

describe('rule 26: names are looked up once', () => {
  it('and a tag that moves meanwhile changes nothing', async () => {
    script(registry, isLayer, [
      (request, response) => {
        registry.putImage([layer().file('other', 'x').build()], { tag: 'v1' })
        respondBlob(request, response, LAYER)
      },
    ])
    await expectWhole(create())
    expect(requests(registry, manifests)).toHaveLength(1)
  })

  it('and a manifest by digest is what the digest says', async () => {
    script(registry, manifests, (_, response) => respond(response, 200, '{"schemaVersion":2}'))
    const image = `docker://${registry.host}/${REPOSITORY}@${digest}`
    await expectRefused(create({ image }), { code: 'digest-mismatch' })
    expect(requests(registry, manifests)).toHaveLength(1)
  })
})

describe('mirrors', () => {
  it('that serve spare the registry every request', async () => {
    await expectWhole(create(mirrored()))
    expect([mirror.seen.length > 0, registry.seen.length]).toEqual([true, 0])
  })

  it('that lie are found out, and the layer comes from the registry', async () => {
    script(mirror, isLayer, lie(LAYER))
    await expectWhole(create(mirrored()))
    expect([layerRequests(mirror).length, layerRequests(registry).length]).toEqual([1, 1])
    expect(eventsOf(events, 'retry')).toMatchObject([
      { what: 'blob', name: layerBlob.digest, code: 'digest-mismatch', endpoint: mirror.origin },
    ])
    expect((await store.check()).problems).toEqual([])
  })

  it('and registry that lie both are refused, after one request each, and the report names both', async () => {
    for (const server of [mirror, registry]) script(server, isLayer, lie(LAYER))
    const error = await expectRefused(create(mirrored()), { code: 'digest-mismatch', exitStatus: 16 })
    expect([layerRequests(mirror).length, layerRequests(registry).length]).toEqual([1, 1])
    expect(error.facts.attempts).toEqual([
      `${mirror.origin}: digest-mismatch`,
      expect.stringMatching(new RegExp(`://${registry.host}: digest-mismatch$`)),
    ])
    expect(error.message).toContain(`tried ${mirror.origin}: digest-mismatch`)
  })

  it('that are cut hand over to the registry in the middle of a blob', async () => {
    script(mirror, isLayer, [cutAfter(1_000_000, LAYER), status(404)])
    await expectWhole(create(mirrored()))
    expect(layerRequests(mirror)).toHaveLength(2)
    expect(layerRequests(registry).map(({ headers }) => headers.range)).toEqual([
      expect.stringMatching(/^bytes=/),
    ])
  })
})

describe('requests', () => {
  it('go to addresses that were configured and to no others, whatever fails', async () => {
    script(registry, isLayer, [reset, status(500), cutAfter(1_000_000, LAYER)])
    script(mirror, isLayer, [cutAfter(500_000, LAYER)])
    script(mirror, (path) => isLayer(path) && layerRequests(mirror).length > 1, status(404))
    await expectWhole(create(mirrored()))
    // The names of tests are no secret, but those of hosts that nobody configured would be.
    const hosts = [...watch.origins].map((origin) => new URL(origin).host)
    expect(new Set(hosts)).toEqual(new Set([registry.host, mirror.host]))
  })
})
