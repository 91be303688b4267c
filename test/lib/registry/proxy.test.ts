import http from 'node:http'
import https from 'node:https'
import net, { type AddressInfo } from 'node:net'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { OCI_MANIFEST } from '../../../lib/image/media-types.js'
import { type ClientOptions, createClient } from '../../../lib/registry/client.js'
import { proxyRule } from '../../../lib/registry/proxy.js'
import { makeCertificate } from './certificate.js'
import { type FakeRegistry, REPOSITORY, startRegistry } from './fake-registry.js'
import { watchOrigins } from './faults.js'
import { endpoint, failure, hostsOf, JumpingClock, SIGNAL } from './testing.js'

describe('the proxy for an address', () => {
  const proxies = { http: 'http://plain.proxy:3128', https: 'secure.proxy:3129' }
  const proxyOf = (url: string, no?: string) =>
    proxyRule(no === undefined ? proxies : { ...proxies, no })(new URL(url))?.url.href ?? null

  it('goes by the scheme of the address, and needs none of its own', () => {
    expect(proxyOf('http://registry.example/v2/')).toBe('http://plain.proxy:3128/')
    expect(proxyOf('https://registry.example/v2/')).toBe('http://secure.proxy:3129/')
    expect(proxyRule({ http: 'http://p.example' })(new URL('https://registry.example'))).toBeNull()
    expect(proxyRule({ http: '' })(new URL('http://registry.example'))).toBeNull()
  })

  it.each([
    'http://localhost:5000',
    'https://localhost',
    'http://127.0.0.1:5000',
    'http://[::1]/',
    'https://127.9.9.9',
  ])('is none for this machine: %s', (url) => expect(proxyOf(url)).toBeNull())

  it.each([
    ['*', 'https://registry.example', true],
    ['registry.example', 'https://registry.example', true],
    ['registry.example', 'https://REGISTRY.example.', true],
    ['registry.example', 'https://eu.registry.example', true],
    ['registry.example', 'https://myregistry.example', false],
    ['registry.example', 'https://registry.example.org', false],
    ['.example', 'https://registry.example', true],
    ['*.example', 'https://registry.example', true],
    ['.registry.example', 'https://registry.example', false],
    ['a.example, registry.example ,b.example', 'https://registry.example', true],
    ['registry.example:5000', 'https://registry.example:5000', true],
    ['registry.example:5000', 'https://registry.example', false],
    ['registry.example:443', 'https://registry.example', true],
    ['registry.example:80', 'http://registry.example', true],
    ['10.0.0.7', 'http://10.0.0.7:5000', true],
    ['10.0.0.7:5000', 'http://10.0.0.7:5000', true],
    ['10.0.0.7:5001', 'http://10.0.0.7:5000', false],
    ['10.0.0.0/8', 'http://10.9.8.7:5000', true],
    ['10.0.0.0/8', 'http://11.9.8.7:5000', false],
    ['10.0.0.0/33', 'http://10.9.8.7:5000', false],
    ['fd00::/8', 'http://[fd12::1]:5000', true],
    ['[fd12::1]:5000', 'http://[fd12::1]:5000', true],
    ['fd12::1', 'http://[fd12::1]:5000', true],
    ['', 'https://registry.example', false],
    [',,', 'https://registry.example', false],
  ])('with NO_PROXY=%s, for %s: none is %s', (no, url, isNone) => {
    expect(proxyOf(url, no) === null).toBe(isNone)
  })

  it('keeps a password apart', () => {
    const proxy = proxyRule({ https: 'http://me:p%40ss@proxy.example:3128' })(
      new URL('https://registry.example'),
    )
    expect(proxy).toEqual({
      url: new URL('http://proxy.example:3128/'),
      authorization: `Basic ${Buffer.from('me:p@ss').toString('base64')}`,
    })
  })

  it.each([
    'socks5://u:hidden@proxy.example',
    'http://u:hidden@[',
    'ftp://proxy.example',
    'http://u:hidden%@h.example',
  ])('is refused when it is none: %s', (text) => {
    let error: unknown
    try {
      proxyRule({ https: text })
    } catch (thrown) {
      error = thrown
    }
    expect(error).toMatchObject({ kind: 'usage', code: 'option-invalid', facts: { option: 'HTTPS_PROXY' } })
    expect((error as Error).message).not.toContain('hidden')
  })
})

/** A proxy that goes to one registry, whatever name it is asked for. */
interface FakeProxy extends AsyncDisposable {
  readonly url: string
  /** Request lines, and the header that authorizes them. */
  readonly seen: { readonly line: string; readonly authorization: string | undefined }[]
  refuses: number | null
}

async function startProxy(
  target: () => FakeRegistry,
  certificate?: { cert: string; key: string },
): Promise<FakeProxy> {
  const seen: FakeProxy['seen'] = []
  const sockets = new Set<net.Socket>()
  const note = (request: http.IncomingMessage) =>
    void seen.push({
      line: `${request.method} ${request.url}`,
      authorization: request.headers['proxy-authorization'],
    })
  const forward: http.RequestListener = (request, response) => {
    note(request)
    if (proxy.refuses !== null) return void response.writeHead(proxy.refuses).end()
    const { pathname } = new URL(request.url!)
    const { 'proxy-authorization': _, ...headers } = request.headers
    http.get(`${target().origin}${pathname}`, { headers }, (answer) => {
      response.writeHead(answer.statusCode!, answer.headers)
      answer.pipe(response)
    })
  }
  const server =
    certificate === undefined ? http.createServer(forward) : https.createServer(certificate, forward)
  server.on('connection', (socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
  })
  server.on('connect', (request: http.IncomingMessage, socket: net.Socket) => {
    note(request)
    if (proxy.refuses !== null) return void socket.end(`HTTP/1.1 ${proxy.refuses} No\r\n\r\n`)
    const [host, port] = target().host.split(':')
    const onward = net.connect(Number(port), host, () => {
      socket.write('HTTP/1.1 200 Connected\r\n\r\n')
      onward.pipe(socket).pipe(onward)
    })
    sockets.add(onward)
    for (const each of [onward, socket]) each.on('error', () => {})
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const proxy: FakeProxy = {
    url: `${certificate === undefined ? 'http' : 'https'}://127.0.0.1:${port}`,
    seen,
    refuses: null,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
  return proxy
}

describe('through a proxy', () => {
  const certificate = makeCertificate('registry.example')
  let plain: FakeRegistry
  let secure: FakeRegistry
  let proxy: FakeProxy
  let target: FakeRegistry

  beforeEach(async () => {
    plain = await startRegistry()
    secure = await startRegistry(certificate)
    for (const server of [plain, secure]) server.putManifest({ schemaVersion: 2, layers: [] }, 'v1')
    proxy = await startProxy(() => target)
  })
  afterEach(async () => {
    for (const server of [plain, secure, proxy]) await server[Symbol.asyncDispose]()
  })

  const certificates = [certificate.cert]
  function connect(host: string, proxies: object, options: Partial<ClientOptions> = {}) {
    const security = target === plain ? 'plain' : 'verified'
    const hosts = hostsOf([endpoint(host, { security })], {
      proxies,
      certificates,
      credentials: { [host]: { username: 'u', password: 'p' } },
    })
    const image = { registry: host, repository: REPOSITORY, tag: 'v1' }
    return createClient({ image, hosts, clock: new JumpingClock(), ...options })
  }
  const withPassword = (url: string) => url.replace('://', '://me:secret@')
  const PASSWORD = `Basic ${Buffer.from('me:secret').toString('base64')}`

  it('https goes in a tunnel, whose credentials the registry does not see', async () => {
    target = secure
    const client = connect('registry.example', { https: withPassword(proxy.url) })
    expect(await client.getManifest('v1', SIGNAL)).toMatchObject({ mediaType: OCI_MANIFEST })
    await client.getManifest('v1', SIGNAL)
    client.close()
    // One tunnel for both.
    expect(proxy.seen).toEqual([{ line: 'CONNECT registry.example:443', authorization: PASSWORD }])
    expect(secure.seen).toHaveLength(2)
    for (const { headers } of secure.seen) expect(headers['proxy-authorization']).toBeUndefined()
  })

  it('https goes in a tunnel to an address in brackets, too', async () => {
    target = secure
    proxy.refuses = 403
    const client = connect('[fd12::1]:5000', { https: proxy.url })
    await failure(client.getManifest('v1', SIGNAL))
    client.close()
    expect(proxy.seen).toEqual([{ line: 'CONNECT [fd12::1]:5000', authorization: undefined }])
  })

  it('http goes by its whole address', async () => {
    target = plain
    const client = connect('registry.example:5000', { http: withPassword(proxy.url) })
    expect(await client.getManifest('v1', SIGNAL)).toMatchObject({ mediaType: OCI_MANIFEST })
    client.close()
    expect(proxy.seen).toEqual([
      { line: `GET http://registry.example:5000/v2/${REPOSITORY}/manifests/v1`, authorization: PASSWORD },
    ])
    expect(plain.seen[0]!.headers.host).toBe('registry.example:5000')
  })

  it('that has https itself, https is inside of https', async () => {
    target = secure
    await using secret = await startProxy(() => target, certificate)
    const client = connect('registry.example', { https: secret.url })
    expect(await client.getManifest('v1', SIGNAL)).toMatchObject({ mediaType: OCI_MANIFEST })
    client.close()
    expect(secret.seen).toEqual([{ line: 'CONNECT registry.example:443', authorization: undefined }])
  })

  it('the certificate has to be the registry’s all the same', async () => {
    target = secure
    const client = connect('other.example', { https: proxy.url })
    expect(await failure(client.getManifest('v1', SIGNAL))).toMatchObject({
      code: 'registry-unreachable',
      facts: { reason: 'ERR_TLS_CERT_ALTNAME_INVALID', registry: 'other.example' },
    })
    client.close()
  })

  it('go neither this machine nor exceptions', async () => {
    target = plain
    using watch = watchOrigins()
    const client = connect(plain.host, { http: proxy.url, https: proxy.url })
    await client.getManifest('v1', SIGNAL)
    client.close()
    const direct = connect('registry.invalid:5000', { http: proxy.url, no: '.invalid' })
    expect(await failure(direct.getManifest('v1', SIGNAL))).toMatchObject({ code: 'registry-unreachable' })
    direct.close()
    expect(proxy.seen).toEqual([])
    expect([...watch.origins]).toEqual([plain.origin, 'http://registry.invalid:5000'])
  })

  it.each([
    [407, false, 1],
    [403, false, 1],
    [502, true, 6],
  ])('that refuses with %d, the error says who refused', async (status, temporary, count) => {
    target = secure
    proxy.refuses = status
    const client = connect('registry.example', { https: withPassword(proxy.url) })
    const error = await failure(client.getManifest('v1', SIGNAL))
    client.close()
    expect(error).toMatchObject({
      code: 'registry-unreachable',
      temporary,
      facts: { registry: 'registry.example', reason: `STATUS_${status}`, isProxy: true },
    })
    expect(error.message).toContain(
      `Cannot reach "registry.example": by the proxy: it refused with status ${status}`,
    )
    expect(proxy.seen).toHaveLength(count)
    expect(`${error.message}${JSON.stringify(error.facts)}`).not.toContain('secret')
  })

  it.each(['http', 'https'])('that is not there, the error says so, for %s', async (scheme) => {
    target = scheme === 'http' ? plain : secure
    await proxy[Symbol.asyncDispose]()
    const client = connect('registry.example', { [scheme]: proxy.url })
    expect(await failure(client.getManifest('v1', SIGNAL))).toMatchObject({
      code: 'registry-unreachable',
      facts: { registry: 'registry.example', reason: 'ECONNREFUSED', isProxy: true },
    })
    client.close()
  })

  it('that says nothing, the time runs out', async () => {
    target = secure
    await using dumb = await startDumb()
    const client = connect('registry.example', { https: dumb.url }, { connectTimeoutMs: 150 })
    expect(await failure(client.getManifest('v1', SIGNAL))).toMatchObject({
      code: 'registry-timeout',
      facts: { registry: 'registry.example', waitedFor: 'connect', timeoutMs: 150 },
    })
    client.close()
  })
})

async function startDumb(): Promise<{ readonly url: string } & AsyncDisposable> {
  const sockets = new Set<net.Socket>()
  const server = net.createServer((socket) => void sockets.add(socket.on('error', () => {})))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}
