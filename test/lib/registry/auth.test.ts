import type { IncomingMessage, ServerResponse } from 'node:http'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { sha256 } from '../../../lib/digest.js'
import { type GrootError, UsageError } from '../../../lib/errors.js'
import { OCI_MANIFEST } from '../../../lib/image/media-types.js'
import { createAuthenticator } from '../../../lib/registry/auth.js'
import type { RegistryClient } from '../../../lib/registry/client.js'
import { createTransport, type Transport } from '../../../lib/registry/transport.js'
import { makeCertificate } from './certificate.js'
import { complain, type FakeRegistry, REPOSITORY, redirect, respond, startRegistry } from './fake-registry.js'
import { blobs, cutAfter, requests, script } from './faults.js'
import { connectTo, endpoint, failure, hostsOf, readBlob, SIGNAL as signal } from './testing.js'

const certificate = makeCertificate()
const credentials = { username: 'me', password: 'hunter2-é' }
const basic = `Basic ${Buffer.from('me:hunter2-é').toString('base64')}`

let registry: FakeRegistry
let tokens: FakeRegistry
let secure: FakeRegistry
let transport: Transport

beforeEach(async () => {
  registry = await startRegistry()
  tokens = await startRegistry()
  secure = await startRegistry(certificate)
  transport = createTransport({ idleTimeoutMs: 500, certificates: [certificate.cert] })
  for (const server of [registry, secure]) server.putManifest({ schemaVersion: 2, layers: [] }, 'v1')
})

afterEach(async () => {
  transport.close()
  for (const server of [registry, tokens, secure]) await server[Symbol.asyncDispose]()
})

function connect(options: Parameters<typeof connectTo>[1] = {}, host = registry.host): RegistryClient {
  return connectTo(host, { transport, ...options })
}

/** Wants a header before it serves anything, and challenges who has another. */
function demand(server: FakeRegistry, challenge: () => string, expected: (header: string) => boolean): void {
  server.fault = (request, response) => {
    if (request.url === '/v2/' || request.url?.startsWith('/token')) return false
    if (expected(request.headers.authorization ?? '')) return false
    return respond(response, 401, '', { 'www-authenticate': challenge() })
  }
}

function serveTokens(
  server: FakeRegistry,
  answer: (request: IncomingMessage, response: ServerResponse) => true,
): void {
  const before = server.fault
  server.fault = (request, response) =>
    request.url?.startsWith('/token') ? answer(request, response) : before(request, response)
}

const give = (document: object) => (_: IncomingMessage, response: ServerResponse) =>
  respond(response, 200, JSON.stringify(document))

describe('basic', () => {
  it('is sent when asked for, and then without being asked', async () => {
    demand(
      registry,
      () => 'Basic realm="x"',
      (header) => header === basic,
    )
    const client = connect({ credentials })
    await client.getManifest('v1', signal)
    await client.getManifest('v1', signal)
    expect(registry.seen.map(({ headers }) => headers.authorization)).toEqual([
      undefined,
      undefined,
      basic,
      basic,
    ])
  })

  it('without credentials is an error that says what is missing', async () => {
    demand(
      registry,
      () => 'Basic realm="x"',
      () => false,
    )
    expect(await failure(connect().getManifest('v1', signal))).toMatchObject({
      kind: 'auth',
      code: 'auth-required',
      facts: { registry: registry.host, repository: REPOSITORY, status: 401 },
    })
  })

  it('with wrong credentials is tried once', async () => {
    demand(
      registry,
      () => 'Basic realm="x"',
      () => false,
    )
    expect(await failure(connect({ credentials }).getManifest('v1', signal))).toMatchObject({
      kind: 'auth',
      code: 'auth-denied',
    })
    expect(registry.seen).toHaveLength(3)
  })

  it.each([
    { username: 'a:b', password: 'x' },
    { username: 'a', password: 'x\ny' },
  ])('does not take credentials that the scheme cannot carry', (wrong) => {
    let error: unknown
    try {
      connect({ credentials: wrong })
    } catch (thrown) {
      error = thrown
    }
    expect(error).toMatchObject({ kind: 'usage', code: 'option-invalid' })
    expect((error as GrootError).message).not.toContain(wrong.password)
  })
})

describe('bearer', () => {
  const challengeTo = (server: FakeRegistry) => () =>
    `Bearer realm="${server.origin}/token?a=b",service="the registry",scope="repository:secret/other:pull,push"`

  it.each(['token', 'access_token'])(
    'fetches a %s for pulling this repository, and keeps it',
    async (name) => {
      demand(registry, challengeTo(tokens), (header) => header === 'Bearer abc')
      serveTokens(tokens, give({ [name]: 'abc', expires_in: 300 }))
      const client = connect()
      await client.getManifest('v1', signal)
      await client.getManifest('v1', signal)
      expect(tokens.seen).toHaveLength(1)
      const asked = new URL(tokens.seen[0]!.path, tokens.origin)
      expect(Object.fromEntries(asked.searchParams)).toEqual({
        a: 'b',
        service: 'the registry',
        scope: 'repository:some/image:pull',
      })
      expect(tokens.seen[0]!.headers.authorization).toBeUndefined()
      expect(registry.seen.map(({ headers }) => headers.authorization)).toEqual([
        undefined,
        undefined,
        'Bearer abc',
        'Bearer abc',
      ])
    },
  )

  it('fetches another token when the registry no longer takes the one it has', async () => {
    let valid = 1
    demand(registry, challengeTo(tokens), (header) => header === `Bearer t${valid}`)
    serveTokens(tokens, (request, response) => give({ token: `t${valid}` })(request, response))
    const client = connect()
    await client.getManifest('v1', signal)
    valid = 2
    await client.getManifest('v1', signal)
    expect(tokens.seen).toHaveLength(2)
  })

  it('forgets a token when its time is over, and never gives it to another repository', async () => {
    let now = 0
    serveTokens(tokens, give({ token: 'abc', expires_in: 100 }))
    const auth = createAuthenticator({
      transport,
      credentials: async () => null,
      mayUseHttp: () => false,
      now: () => now,
    })
    const header = `Bearer realm="${tokens.origin}/token"`
    expect(await auth.answer(header, undefined, new URL(registry.origin), 'a/b', signal)).toBe('Bearer abc')
    expect([auth.header('a/b'), auth.header('a/c')]).toEqual(['Bearer abc', undefined])
    now = 94_000
    expect(auth.header('a/b')).toBe('Bearer abc')
    now = 96_000
    expect(auth.header('a/b')).toBeUndefined()
  })

  it('is preferred over basic', async () => {
    demand(
      registry,
      () => `Basic realm="x", ${challengeTo(registry)()}`,
      (header) => header === 'Bearer abc',
    )
    serveTokens(registry, give({ token: 'abc' }))
    await connect({ credentials }).getManifest('v1', signal)
    expect(registry.seen.find(({ path }) => path.startsWith('/token'))!.headers.authorization).toBe(basic)
  })

  it('gives credentials to a realm on another host over https', async () => {
    demand(registry, challengeTo(secure), (header) => header === 'Bearer abc')
    serveTokens(secure, give({ token: 'abc' }))
    await connect({ credentials }).getManifest('v1', signal)
    expect(secure.seen[0]!.headers.authorization).toBe(basic)
  })

  it('gives no credentials to a realm on another host over http', async () => {
    demand(registry, challengeTo(tokens), () => false)
    const error = await failure(connect({ credentials }).getManifest('v1', signal))
    expect(error).toMatchObject({
      kind: 'auth',
      code: 'auth-realm-refused',
      facts: { registry: registry.host, realm: tokens.origin },
    })
    expect(tokens.seen).toEqual([])
  })

  it('gives credentials to a realm that the user named as insecure', async () => {
    demand(registry, challengeTo(tokens), (header) => header === 'Bearer abc')
    serveTokens(tokens, give({ token: 'abc' }))
    await connect({ credentials, insecureRegistries: [tokens.host] }).getManifest('v1', signal)
    expect(tokens.seen[0]!.headers.authorization).toBe(basic)
  })

  it('never leaves https for a realm, with credentials or without', async () => {
    demand(secure, challengeTo(tokens), () => false)
    for (const given of [{}, { credentials }, { credentials, insecureRegistries: [tokens.host] }]) {
      const client = connect(given, secure.host)
      expect(await failure(client.getManifest('v1', signal))).toMatchObject({
        code: 'auth-realm-refused',
      })
    }
    expect(tokens.seen).toEqual([])
  })

  it('drops credentials when the realm redirects elsewhere', async () => {
    demand(registry, challengeTo(registry), () => false)
    serveTokens(registry, (_, response) => redirect(response, `${tokens.origin}/token`))
    serveTokens(tokens, give({ token: 'abc' }))
    await failure(connect({ credentials }).getManifest('v1', signal))
    expect(tokens.seen[0]!.headers.authorization).toBeUndefined()
  })

  it.each([
    ['Bearer service="x"', 'null'],
    ['Bearer realm="not an address"', 'null'],
    ['Bearer realm="file:///etc/passwd"', '"file://"'],
    ['Bearer realm="https://u:secret@h.example/token"', '"https://h.example"'],
  ])('refuses the challenge %s', async (challenge, realm) => {
    demand(
      registry,
      () => challenge,
      () => false,
    )
    const error = await failure(connect().getManifest('v1', signal))
    expect(error).toMatchObject({ code: 'auth-realm-refused', facts: { realm: JSON.parse(realm) } })
    expect(error.message).not.toContain('secret')
  })

  it.each([
    ['no JSON', 'token'],
    ['null', 'null'],
    ['no token', '{"expires_in":60}'],
    ['a token that is a number', '{"token":5}'],
    ['a token that breaks the header', '{"token":"a\\r\\nx: y"}'],
    ['a token that no header can hold', JSON.stringify({ token: 'x'.repeat(17_000) })],
    ['a document of more than 1 MiB', JSON.stringify({ token: 'x', pad: 'y'.repeat(1024 * 1024) })],
  ])('refuses a token service that answers with %s', async (_, body) => {
    demand(registry, challengeTo(registry), () => false)
    serveTokens(registry, (__, response) => respond(response, 200, body))
    expect(await failure(connect().getManifest('v1', signal))).toMatchObject({
      kind: 'registry',
      code: 'registry-protocol',
      facts: { realm: registry.host },
    })
  })

  it.each([
    [401, undefined, 'auth-required', false],
    [401, credentials, 'auth-denied', false],
    [403, credentials, 'auth-denied', false],
    [404, undefined, 'registry-status', false],
    [503, undefined, 'registry-status', true],
  ])('passes on that the token service answers with %d', async (status, given, code, temporary) => {
    demand(registry, challengeTo(registry), () => false)
    serveTokens(registry, (_, response) => respond(response, status, 'no'))
    const client = connect(given === undefined ? {} : { credentials: given })
    expect(await failure(client.getManifest('v1', signal))).toMatchObject({
      code,
      temporary,
      facts: { status, realm: registry.host, repository: REPOSITORY },
    })
  })

  it('with a token that the registry does not take ends after one try', async () => {
    demand(registry, challengeTo(registry), () => false)
    serveTokens(registry, give({ token: 'abc' }))
    expect(await failure(connect().getManifest('v1', signal))).toMatchObject({
      code: 'auth-required',
    })
    expect(registry.seen.filter(({ path }) => path.startsWith('/token'))).toHaveLength(1)
  })
})

describe('refusals', () => {
  it.each([
    ['no challenge', undefined, 'auth', 'auth-required'],
    ['an unknown scheme', 'Negotiate, OAuth realm="x"', 'auth', 'auth-required'],
    ['a malformed challenge', 'Basic realm="x', 'registry', 'registry-protocol'],
  ])('with %s are errors', async (_, challenge, kind, code) => {
    registry.fault = (request, response) =>
      request.url !== '/v2/' &&
      respond(response, 401, '', challenge === undefined ? {} : { 'www-authenticate': challenge })
    const error = await failure(connect({ credentials }).getManifest('v1', signal))
    expect(error).toMatchObject({ kind, code })
    expect(registry.seen.every(({ headers }) => headers.authorization === undefined)).toBe(true)
  })

  it('by 403 are denials', async () => {
    registry.fault = (request, response) =>
      request.url !== '/v2/' && complain(response, 403, 'DENIED', 'no access')
    expect(await failure(connect({ credentials }).getManifest('v1', signal))).toMatchObject({
      code: 'auth-denied',
      facts: { status: 403, detail: 'DENIED: no access' },
    })
  })

  it('of whom the registry redirects to are not answered', async () => {
    registry.fault = (request, response) => request.url !== '/v2/' && redirect(response, `${tokens.origin}/x`)
    tokens.fault = (_, response) => respond(response, 401, '', { 'www-authenticate': 'Basic realm="x"' })
    expect(await failure(connect({ credentials }).getManifest('v1', signal))).toMatchObject({
      kind: 'registry',
      code: 'registry-status',
      facts: { status: 401 },
    })
    expect(tokens.seen).toHaveLength(1)
  })

  it('never show what is secret, even if the registry repeats it', async () => {
    demand(
      registry,
      () => `Bearer realm="${registry.origin}/token"`,
      () => false,
    )
    serveTokens(registry, give({ token: 'verysecrettoken' }))
    const before = registry.fault
    registry.fault = (request, response) =>
      request.headers.authorization?.startsWith('Bearer') === true
        ? complain(response, 500, 'X', `${request.headers.authorization} ${credentials.password} ${basic}`)
        : before(request, response)
    const error = await failure(connect({ credentials }).getManifest('v1', signal))
    expect(error.facts.detail).toBe('X: Bearer … … Basic …')
    expect(JSON.stringify([error.message, error.facts, String(error.cause)])).not.toMatch(
      /hunter2|verysecret/,
    )
  })
})

describe('an identity token', () => {
  const given = { credentials: { identityToken: 'refresh-me-not' } }
  const challenge = (server: FakeRegistry) => () => `Bearer realm="${server.origin}/token?a=b",service="s"`

  it('is exchanged for a token by a form, and shows in no address', async () => {
    const bodies: string[] = []
    demand(registry, challenge(secure), (header) => header === 'Bearer abc')
    serveTokens(secure, (request, response) => {
      request.on('data', (piece) => bodies.push(String(piece)))
      request.on('end', () => give({ access_token: 'abc', refresh_token: 'another' })(request, response))
      return true
    })
    await connect(given).getManifest('v1', signal)
    expect(secure.seen).toMatchObject([
      { path: '/token?a=b', headers: { 'content-type': 'application/x-www-form-urlencoded;charset=UTF-8' } },
    ])
    expect(secure.seen[0]!.headers.authorization).toBeUndefined()
    expect(Object.fromEntries(new URLSearchParams(bodies.join('')))).toEqual({
      service: 's',
      scope: 'repository:some/image:pull',
      grant_type: 'refresh_token',
      client_id: 'groot',
      refresh_token: 'refresh-me-not',
    })
  })

  it('goes nowhere else by a redirect', async () => {
    demand(registry, challenge(secure), () => false)
    serveTokens(secure, (_, response) => redirect(response, `${tokens.origin}/token`, 307))
    const error = await failure(connect(given).getManifest('v1', signal))
    expect(error).toMatchObject({ code: 'redirect-refused', facts: { to: tokens.origin } })
    expect(tokens.seen).toEqual([])
  })

  it('goes to no other host over http', async () => {
    demand(registry, challenge(tokens), () => false)
    const error = await failure(connect(given).getManifest('v1', signal))
    expect([error.code, tokens.seen]).toEqual(['auth-realm-refused', []])
  })

  it('is of no use where a password is wanted', async () => {
    demand(
      registry,
      () => 'Basic realm="x"',
      () => false,
    )
    const error = await failure(connect(given).getManifest('v1', signal))
    expect(error).toMatchObject({ code: 'auth-denied', facts: { registry: registry.host } })
    expect(`${error.message}${JSON.stringify(error.facts)}`).not.toContain('refresh-me-not')
  })
})

describe('a token in the middle of a pull', () => {
  const bytes = Buffer.alloc(3_000_000, 7)

  /** Serves tokens of which only the latest is taken, and challenges those who have another. */
  function serveLatest(): { latest: number } {
    const state = { latest: 1 }
    demand(
      registry,
      () => `Bearer realm="${tokens.origin}/token"`,
      (header) => header === `Bearer t${state.latest}`,
    )
    serveTokens(tokens, (request, response) =>
      give({ token: `t${state.latest}`, expires_in: 3600 })(request, response),
    )
    return state
  }

  it('is fetched again when a blob goes on and the old one is not taken any more', async () => {
    const blob = registry.putBlob(bytes)
    const state = serveLatest()
    const before = registry.fault
    let cuts = 2
    registry.fault = (request, response) => {
      if (before(request, response)) return true
      if (!blobs(request.url ?? '') || cuts-- <= 0) return false
      state.latest++
      cutAfter(1_000_000, bytes)(request, response)
      return true
    }
    expect(sha256(await readBlob(connect(), blob))).toBe(blob.digest)
    expect(tokens.seen).toHaveLength(3)
    expect(requests(registry, blobs).map(({ headers }) => headers.authorization ?? null)).toEqual([
      null,
      'Bearer t1',
      'Bearer t1',
      'Bearer t2',
      'Bearer t2',
      'Bearer t3',
    ])
  })

  it('is fetched once for all who want it at the same time', async () => {
    const all = Array.from({ length: 8 }, (_, at) => registry.putBlob(Buffer.alloc(100, at)))
    const state = serveLatest()
    const client = connect()
    await client.getManifest('v1', signal)
    state.latest++
    await Promise.all(all.map((blob) => readBlob(client, blob)))
    expect(tokens.seen).toHaveLength(2)
  })

  it('is fetched again by the others when who asked for it gives up', async () => {
    const state = serveLatest()
    const client = connect()
    await client.getManifest('v1', signal)
    state.latest++
    const giving = new AbortController()
    const serve = tokens.fault
    let isFirst = true
    tokens.fault = (request, response) => {
      if (!isFirst) return serve(request, response)
      isFirst = false
      setTimeout(() => giving.abort(), 50)
      return true
    }
    const first = failure(client.getManifest('v1', giving.signal))
    await new Promise((resolve) => setTimeout(resolve, 20))
    const second = client.getManifest('v1', signal)
    expect((await first).code).toBe('aborted')
    expect(await second).toMatchObject({ mediaType: OCI_MANIFEST })
  })

  it.each([429, 500, 503])('is asked for again when its service answers with %d', async (status) => {
    serveLatest()
    script(tokens, () => true, [(_, response) => respond(response, status, '', { 'retry-after': '1' })])
    await connect().getManifest('v1', signal)
    expect(tokens.seen).toHaveLength(2)
  })

  it.each([400, 404])('is not asked for again when its service answers with %d', async (status) => {
    serveLatest()
    script(
      tokens,
      () => true,
      (_, response) => respond(response, status, ''),
    )
    const error = await failure(connect().getManifest('v1', signal))
    expect(error.facts.attempts).toEqual([`${registry.origin}: status ${status} from ${tokens.origin}`])
    expect(tokens.seen).toHaveLength(1)
  })
})

describe('credentials', () => {
  it('are asked for once, and only when somebody wants them', async () => {
    let asked = 0
    const hosts = {
      ...hostsOf([endpoint(registry.host)]),
      credentialsFor: async () => {
        asked++
        return credentials
      },
    }
    const client = connect({ hosts })
    await client.getManifest('v1', signal)
    expect(asked).toBe(0)
    demand(
      registry,
      () => 'Basic realm="x"',
      (header) => header === basic,
    )
    await Promise.all([client.getManifest('v1', signal), client.getManifest('v1', signal)])
    await client.getManifest('v1', signal)
    expect(asked).toBeLessThanOrEqual(2)
  })

  it('that cannot be had are the error', async () => {
    const broken = new UsageError('option-invalid', 'Cannot run the helper "pass"')
    const hosts = {
      ...hostsOf([endpoint(registry.host)]),
      credentialsFor: () => Promise.reject<never>(broken),
    }
    demand(
      registry,
      () => 'Basic realm="x"',
      () => false,
    )
    expect(await failure(connect({ hosts }).getManifest('v1', signal))).toMatchObject({
      code: 'option-invalid',
      message: 'Cannot run the helper "pass"',
    })
  })
})
