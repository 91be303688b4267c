import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { createClient } from '../../../lib/registry/client.js'
import type { RegistryEndpoint } from '../../../lib/registry/hosts.js'
import { makeCertificate } from './certificate.js'
import { type FakeRegistry, REPOSITORY, redirect, respond, startRegistry } from './fake-registry.js'
import { manifests, script } from './faults.js'
import { endpoint, failure, hostsOf, JumpingClock, SIGNAL } from './testing.js'

const own = makeCertificate()
const other = makeCertificate()
const client = makeCertificate()

let registry: FakeRegistry
let elsewhere: FakeRegistry
let plain: FakeRegistry

beforeEach(async () => {
  registry = await startRegistry({ ...own, requestCert: true, rejectUnauthorized: false, ca: client.cert })
  elsewhere = await startRegistry({ ...own, requestCert: true, rejectUnauthorized: false, ca: client.cert })
  plain = await startRegistry()
  for (const server of [registry, elsewhere, plain])
    server.putManifest({ schemaVersion: 2, layers: [] }, 'v1')
})
afterEach(async () => {
  for (const server of [registry, elsewhere, plain]) await server[Symbol.asyncDispose]()
})

/** What the server knows of who asks, per request. */
function peers(server: FakeRegistry): boolean[] {
  const seen: boolean[] = []
  const before = server.fault
  server.fault = (request, response) => {
    seen.push((request.socket as import('node:tls').TLSSocket).authorized)
    return before(request, response)
  }
  return seen
}

async function get(
  change: Partial<RegistryEndpoint>,
  more: Parameters<typeof hostsOf>[1] = {},
): Promise<string> {
  const host = change.host ?? registry.host
  const hosts = hostsOf([endpoint(host, { security: 'verified', ...change })], more)
  const image = { registry: host, repository: REPOSITORY, tag: 'v1' }
  const connected = createClient({ image, hosts, clock: new JumpingClock() })
  try {
    return (await connected.getManifest('v1', SIGNAL)).mediaType ?? ''
  } finally {
    connected.close()
  }
}

describe('the certificate of an endpoint', () => {
  it('has to be one that is trusted: for this endpoint, or for all', async () => {
    expect(await failure(get({}))).toMatchObject({
      code: 'registry-unreachable',
      temporary: false,
      facts: { reason: 'DEPTH_ZERO_SELF_SIGNED_CERT', attempts: [expect.stringContaining(registry.origin)] },
    })
    expect(await failure(get({ ca: [other.cert] }))).toMatchObject({ code: 'registry-unreachable' })
    expect(registry.seen).toEqual([])
    expect(await get({ ca: [other.cert, own.cert] })).toContain('manifest')
    expect(await get({}, { certificates: [other.cert, own.cert] })).toContain('manifest')
  })

  it('may be any where that is configured, but not where it sends us', async () => {
    expect(await get({ security: 'unverified' })).toContain('manifest')
    script(registry, manifests, (_, response) => redirect(response, `${elsewhere.origin}/v2/`))
    expect(await failure(get({ security: 'unverified' }))).toMatchObject({
      code: 'registry-unreachable',
      facts: { registry: elsewhere.host, reason: 'DEPTH_ZERO_SELF_SIGNED_CERT' },
    })
    expect(elsewhere.seen).toEqual([])
  })

  it('that is trusted for an endpoint is trusted where it sends us', async () => {
    script(registry, manifests, (request, response) =>
      redirect(response, `${elsewhere.origin}${request.url}`),
    )
    expect(await get({ ca: [own.cert] })).toContain('manifest')
  })

  it('that cannot be read is the configuration’s fault', async () => {
    for (const change of [
      { ca: ['no certificate'] },
      { ca: ['nonsense\n-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n'] },
      { client: [{ cert: client.cert, key: own.key }] },
    ]) {
      expect(await failure(get({ ...change, security: 'verified' }))).toMatchObject({
        kind: 'usage',
        code: 'option-invalid',
        facts: { option: 'certificates' },
      })
    }
    expect(registry.seen).toEqual([])
  })
})

describe('a certificate of our own', () => {
  it('is shown to its endpoint and to nobody else', async () => {
    const change = { ca: [own.cert], client: [client] }
    const here = peers(registry)
    expect(await get({ ca: [own.cert] })).toContain('manifest')
    expect(await get(change)).toContain('manifest')
    expect(here).toEqual([false, true])
    script(registry, manifests, (request, response) =>
      redirect(response, `${elsewhere.origin}${request.url}`),
    )
    const both = [peers(registry), peers(elsewhere)]
    expect(await get(change)).toContain('manifest')
    expect(both).toEqual([[true], [false]])
  })

  it('is not shown to a token service elsewhere, but to one that is there', async () => {
    const change = { ca: [own.cert], client: [client] }
    for (const server of [registry, elsewhere]) {
      const fault = registry.fault
      registry.fault = (request, response) => {
        if (request.url!.startsWith('/token')) return respond(response, 200, '{"token":"abc"}')
        if (request.headers.authorization === 'Bearer abc') return fault(request, response)
        const challenge = `Bearer realm="${server.origin}/token"`
        return respond(response, 401, '', { 'www-authenticate': challenge })
      }
      elsewhere.fault = (_, response) => respond(response, 200, '{"token":"abc"}')
      const [here, there] = [peers(registry), peers(elsewhere)]
      expect(await get(change)).toContain('manifest')
      expect([here, there]).toEqual(server === registry ? [[true, true, true], []] : [[true, true], [false]])
    }
  })
})

describe('an endpoint that may be talked to in any way', () => {
  it('is talked to over https when it can', async () => {
    expect(await get({ security: 'any' })).toContain('manifest')
    expect(registry.seen.map(({ path }) => path)).toEqual(['/v2/', `/v2/${REPOSITORY}/manifests/v1`])
  })

  it('is talked to over http when it does not speak TLS', async () => {
    expect(await get({ security: 'any', host: plain.host })).toContain('manifest')
    expect(plain.seen.map(({ path }) => path)).toEqual([`/v2/${REPOSITORY}/manifests/v1`])
  })

  it('is not talked to over http when it hangs up or is not there', async () => {
    registry.fault = ({ socket }) => {
      socket.destroy()
      return true
    }
    expect(await failure(get({ security: 'any' }))).toMatchObject({
      code: 'registry-unreachable',
      facts: { reason: expect.stringMatching(/^(ECONNRESET|ERR_STREAM_PREMATURE_CLOSE)$/) },
    })
    await plain[Symbol.asyncDispose]()
    expect(await failure(get({ security: 'any', host: plain.host }))).toMatchObject({
      facts: { attempts: [`https://${plain.host}: registry-unreachable (ECONNREFUSED), 3 times`] },
    })
  })
})

describe('an endpoint that is talked to over https', () => {
  it('is never talked to over http, whatever fails', async () => {
    for (const security of ['verified', 'unverified'] as const) {
      expect(await failure(get({ security, host: plain.host }))).toMatchObject({
        code: 'registry-unreachable',
        facts: { reason: expect.stringMatching(/^(EPROTO|ERR_SSL_.*)$/) },
      })
    }
    expect(plain.seen).toEqual([])
  })
})
