import net, { type AddressInfo } from 'node:net'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { GrootError } from '../../../lib/errors.js'
import { createTransport, type Request, type Transport } from '../../../lib/registry/transport.js'
import { makeCertificate } from './certificate.js'
import { type FakeRegistry, redirect, respond, startRegistry } from './fake-registry.js'

const certificate = makeCertificate()
const signal = new AbortController().signal

let near: FakeRegistry
let far: FakeRegistry
let secure: FakeRegistry
let transport: Transport

beforeEach(async () => {
  near = await startRegistry()
  far = await startRegistry()
  secure = await startRegistry(certificate)
  transport = createTransport({
    idleTimeoutMs: 300,
    connectTimeoutMs: 300,
    minBytesPerSecond: 1,
    certificates: [certificate.cert],
  })
})

afterEach(async () => {
  transport.close()
  for (const server of [near, far, secure]) await server[Symbol.asyncDispose]()
})

async function get(url: string, options: Partial<Request> = {}) {
  const answer = await transport.send({ url: new URL(url), headers: {}, signal, ...options })
  return {
    status: answer.status,
    from: answer.url.href,
    body: Buffer.from((await answer.read(1000)) ?? []).toString(),
  }
}

async function failure(work: Promise<unknown>): Promise<GrootError> {
  return work.then(
    () => Promise.reject(new Error('it was accepted')),
    (error: GrootError) => error,
  )
}

/** A server that sends what it is told, valid or not, whatever it is asked. */
async function rawServer(answer: string | null): Promise<{ url: string } & AsyncDisposable> {
  const sockets = new Set<net.Socket>()
  const server = net.createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
    socket.once('data', () => answer !== null && socket.end(answer))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

describe('requests', () => {
  it('ask for the bytes as they are and say who asks', async () => {
    near.fault = (_, response) => respond(response, 418, 'short and stout')
    expect(
      await get(`${near.origin}/x?y=z`, { headers: { accept: 'a/b' }, authorization: 'Basic abc' }),
    ).toEqual({
      status: 418,
      from: `${near.origin}/x?y=z`,
      body: 'short and stout',
    })
    expect(near.seen).toHaveLength(1)
    expect(near.seen[0]!.path).toBe('/x?y=z')
    expect(near.seen[0]!.headers).toMatchObject({
      accept: 'a/b',
      'accept-encoding': 'identity',
      authorization: 'Basic abc',
      'user-agent': 'groot',
    })
  })

  it('do not decode what is encoded all the same', async () => {
    near.fault = (_, response) => respond(response, 200, 'not gzip at all', { 'content-encoding': 'gzip' })
    expect((await get(near.origin)).body).toBe('not gzip at all')
  })

  it('keep no cookies', async () => {
    near.fault = (_, response) => respond(response, 200, '', { 'set-cookie': 'a=b' })
    await get(near.origin)
    await get(near.origin)
    expect(near.seen[1]!.headers.cookie).toBeUndefined()
  })

  it('go over https to a host whose certificate is trusted, and to no other', async () => {
    expect(await get(`${secure.origin}/v2/`)).toMatchObject({ status: 200, body: '{}' })
    const distrustful = createTransport()
    const error = await failure(distrustful.send({ url: new URL(secure.origin), headers: {}, signal }))
    distrustful.close()
    expect(error).toMatchObject({
      code: 'registry-unreachable',
      temporary: false,
      facts: { registry: secure.host, reason: 'DEPTH_ZERO_SELF_SIGNED_CERT' },
    })
    expect(error.message).toContain('its certificate is not trusted')
  })

  it('over https to a host that speaks http fail with a hint', async () => {
    const error = await failure(get(`https://${near.host}/`))
    expect(error).toMatchObject({
      code: 'registry-unreachable',
      facts: { reason: expect.stringMatching(/^(EPROTO$|ERR_SSL_)/) },
    })
    expect(error.message).toContain('named as insecure')
  })

  it('to a port where nobody listens fail and can be tried again', async () => {
    await far[Symbol.asyncDispose]()
    expect(await failure(get(`${far.origin}/`))).toMatchObject({
      code: 'registry-unreachable',
      temporary: true,
      facts: { registry: far.host, reason: 'ECONNREFUSED' },
    })
  })

  it.each([
    ['no HTTP', 'SSH-2.0-OpenSSH\r\n', 'registry-protocol'],
    ['a header that is too long', `HTTP/1.1 200 OK\r\nx: ${'y'.repeat(70_000)}\r\n\r\n`, 'registry-protocol'],
    [
      'two lengths',
      'HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab',
      'registry-protocol',
    ],
    [
      'a length and chunks',
      'HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n',
      'registry-protocol',
    ],
    ['nothing', '', 'registry-unreachable'],
  ])('that are answered with %s fail', async (_, answer, code) => {
    await using server = await rawServer(answer)
    const error = await failure(get(server.url))
    expect(error).toMatchObject({ kind: 'registry', code })
    expect(error.cause).toBeUndefined()
  })

  it.each([
    ['by its length', 'HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc'],
    ['in chunks', 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n'],
  ])('notice a body that is cut, %s', async (_, answer) => {
    await using server = await rawServer(answer)
    expect(await failure(get(server.url))).toMatchObject({ code: 'registry-unreachable', temporary: true })
  })
})

describe('time', () => {
  it('runs out when there is no answer', async () => {
    await using server = await rawServer(null)
    expect(await failure(get(server.url))).toMatchObject({
      code: 'registry-timeout',
      temporary: true,
      facts: { waitedFor: 'answer', timeoutMs: 300 },
    })
  })

  it('runs out when TLS is not set up', async () => {
    await using server = await rawServer(null)
    const slow = createTransport({ connectTimeoutMs: 100 })
    const error = await failure(
      slow.send({ url: new URL(server.url.replace('http', 'https')), headers: {}, signal }),
    )
    slow.close()
    expect(error).toMatchObject({ code: 'registry-timeout', facts: { waitedFor: 'connect', timeoutMs: 100 } })
  })

  it('runs out when a body stops, and not while it only is slow', async () => {
    near.fault = (request, response) => {
      response.writeHead(200)
      let pieces = 0
      const timer = setInterval(() => {
        response.write('x')
        if (++pieces === 4) {
          clearInterval(timer)
          if (request.url === '/slow') response.end()
        }
      }, 120)
      return true
    }
    expect((await get(`${near.origin}/slow`)).body).toBe('xxxx')
    expect(await failure(get(`${near.origin}/silent`))).toMatchObject({
      code: 'registry-timeout',
      facts: { waitedFor: 'body', timeoutMs: 300 },
    })
  })

  it('runs out when next to nothing comes, however regularly', async () => {
    near.fault = (_, response) => {
      response.writeHead(200)
      const timer = setInterval(() => response.write('x'), 50)
      response.on('close', () => clearInterval(timer))
      return true
    }
    const strict = createTransport({ idleTimeoutMs: 200, minBytesPerSecond: 1000 })
    const answer = await strict.send({ url: new URL(near.origin), headers: {}, signal })
    expect(await failure(answer.read(1000))).toMatchObject({
      code: 'registry-timeout',
      temporary: true,
      facts: { waitedFor: 'speed', timeoutMs: expect.toSatisfy((it) => it >= 200 && it < 1000) },
    })
    strict.close()
  })

  it('runs out for what should be short, from the first byte to the last', async () => {
    near.fault = (_, response) => {
      response.writeHead(200)
      const timer = setInterval(() => response.write('x'), 50)
      response.on('close', () => clearInterval(timer))
      return true
    }
    const error = await failure(get(near.origin, { wholeMs: 250 }))
    expect(error).toMatchObject({ code: 'registry-timeout', facts: { waitedFor: 'end', timeoutMs: 250 } })
    near.fault = () => false
    expect((await get(`${near.origin}/v2/`, { wholeMs: 250 })).body).toBe('{}')
  })

  it('stands still while the reader is busy', async () => {
    const body = Buffer.alloc(2_000_000, 1)
    near.fault = (_, response) => respond(response, 200, body)
    const answer = await transport.send({ url: new URL(near.origin), headers: {}, signal })
    let size = 0
    for await (const piece of answer.chunks()) {
      if (size === 0) await new Promise((resolve) => setTimeout(resolve, 500))
      size += piece.length
    }
    expect(size).toBe(body.length)
  })

  it('ends at once for a caller who gives up, before and during the body', async () => {
    await using server = await rawServer(null)
    const reason = new AbortController()
    const waiting = failure(get(server.url, { signal: reason.signal }))
    reason.abort()
    expect((await waiting).code).toBe('aborted')
    expect((await failure(get(near.origin, { signal: reason.signal }))).code).toBe('aborted')

    near.fault = (_, response) => response.writeHead(200).write('x')
    const later = new AbortController()
    const answer = await transport.send({ url: new URL(near.origin), headers: {}, signal: later.signal })
    const reading = failure(answer.read(10))
    later.abort()
    expect((await reading).code).toBe('aborted')
  })

  it('ends without a crash when nobody reads the body', async () => {
    near.fault = (_, response) => response.writeHead(200).write('x')
    const giving = new AbortController()
    const answer = await transport.send({ url: new URL(near.origin), headers: {}, signal: giving.signal })
    giving.abort()
    await new Promise((resolve) => setTimeout(resolve, 20))
    expect((await failure(answer.read(10))).code).toBe('aborted')
  })
})

describe('redirects', () => {
  it('are followed with Authorization on the same origin', async () => {
    near.fault = (request, response) => request.url === '/a' && redirect(response, '/v2/', 302)
    expect(await get(`${near.origin}/a`, { authorization: 'Basic abc' })).toMatchObject({
      from: `${near.origin}/v2/`,
    })
    expect(near.seen.map(({ headers }) => headers.authorization)).toEqual(['Basic abc', 'Basic abc'])
  })

  it.each([301, 302, 303, 307, 308])(
    'by status %d to another port drop Authorization, for good',
    async (status) => {
      near.fault = (request, response) =>
        request.url === '/a' && redirect(response, `${far.origin}/b`, status)
      far.fault = (request, response) =>
        redirect(response, request.url === '/b' ? '/c' : `${near.origin}/v2/`)
      expect(await get(`${near.origin}/a`, { authorization: 'Basic abc' })).toMatchObject({ status: 200 })
      expect(far.seen[0]!.headers.authorization).toBeUndefined()
      expect(near.seen.map(({ headers }) => headers.authorization)).toEqual(['Basic abc', undefined])
    },
  )

  it('to another name of the same machine drop Authorization', async () => {
    const other = near.origin.replace('127.0.0.1', 'localhost')
    near.fault = (request, response) => request.url === '/a' && redirect(response, `${other}/v2/`)
    expect(await get(`${near.origin}/a`, { authorization: 'Basic abc' })).toMatchObject({
      from: `${other}/v2/`,
    })
    expect(near.seen[1]!.headers.authorization).toBeUndefined()
  })

  it('from http to https drop Authorization', async () => {
    near.fault = (_, response) => redirect(response, `${secure.origin}/v2/`)
    expect(await get(near.origin, { authorization: 'Basic abc' })).toMatchObject({
      from: `${secure.origin}/v2/`,
    })
    expect(secure.seen[0]!.headers.authorization).toBeUndefined()
  })

  it('from https to http are refused', async () => {
    secure.fault = (_, response) => redirect(response, `${near.origin}/v2/?X-Signature=secret`)
    const error = await failure(get(secure.origin))
    expect(error).toMatchObject({
      code: 'redirect-refused',
      temporary: false,
      facts: { from: secure.origin, to: near.origin },
    })
    expect(`${error.message}${JSON.stringify(error.facts)}`).not.toContain('secret')
    expect(near.seen).toEqual([])
  })

  it.each([
    ['file:///etc/passwd', 'redirect-refused'],
    ['data:text/plain,x', 'redirect-refused'],
    ['ftp://127.0.0.1/x', 'redirect-refused'],
    ['http://user:secret@127.0.0.1/x', 'redirect-refused'],
    ['http://[', 'registry-protocol'],
  ])('to %s are refused', async (location, code) => {
    near.fault = (_, response) => redirect(response, location)
    const error = await failure(get(near.origin))
    expect(error).toMatchObject({ kind: 'registry', code })
    expect(error.message).not.toContain('secret')
    expect(near.seen).toHaveLength(1)
  })

  it('in a circle end after ten', async () => {
    near.fault = (_, response) => redirect(response, '/again')
    expect(await failure(get(near.origin))).toMatchObject({ code: 'redirect-refused' })
    expect(near.seen).toHaveLength(11)
  })

  it('without a Location are answers like any other', async () => {
    near.fault = (_, response) => respond(response, 302, 'x')
    expect(await get(near.origin)).toMatchObject({ status: 302, body: 'x' })
    near.fault = (_, response) => respond(response, 304, '', { location: '/y' })
    expect(await get(near.origin)).toMatchObject({ status: 304 })
  })

  it.each([
    'http://127.0.0.1:1/x',
    'http://localhost/x',
    'http://x.localhost./x',
    'http://169.254.169.254/latest/meta-data',
    'http://[::1]/x',
    'http://[::ffff:127.0.0.1]/x',
    'http://[fe80::1]/x',
    'http://0.0.0.0/x',
    'http://0x7f.1/x',
  ])('of a registry elsewhere to %s are refused', async (location) => {
    const error = await failure(get(location, { sentBy: new URL('https://registry.example') }))
    expect(error).toMatchObject({ code: 'redirect-refused', facts: { from: 'https://registry.example' } })
  })

  it.each(['http://169.254.169.254/latest/meta-data', 'http://[fe80::1]/x', 'http://[::ffff:169.254.1.1]/x'])(
    'of a registry on this machine to %s are refused, as it may only pass on what it was told',
    async (location) => {
      near.fault = (_, response) => redirect(response, location)
      const began = performance.now()
      expect(await failure(get(`${near.origin}/a`))).toMatchObject({
        code: 'redirect-refused',
        facts: { from: near.origin, to: new URL(location).origin },
      })
      expect(performance.now() - began).toBeLessThan(1000)
    },
  )
})
