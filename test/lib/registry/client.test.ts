import { once } from 'node:events'
import { gzipSync } from 'node:zlib'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type Digest, sha256 } from '../../../lib/digest.js'
import type { GrootError } from '../../../lib/errors.js'
import { OCI_LAYER, OCI_MANIFEST } from '../../../lib/image/media-types.js'
import type { RegistryClient } from '../../../lib/registry/client.js'
import { createTransport, type Transport } from '../../../lib/registry/transport.js'
import { makeCertificate } from './certificate.js'
import { complain, type FakeRegistry, REPOSITORY, redirect, respond, startRegistry } from './fake-registry.js'
import { connectTo, failure, readBlob, SIGNAL as signal } from './testing.js'

const certificate = makeCertificate()

let registry: FakeRegistry
let storage: FakeRegistry
let transport: Transport
let client: RegistryClient

function connect(options: Parameters<typeof connectTo>[1] = {}): RegistryClient {
  return connectTo(registry.host, { transport, ...options })
}

beforeEach(async () => {
  registry = await startRegistry()
  storage = await startRegistry()
  transport = createTransport({ idleTimeoutMs: 500, certificates: [certificate.cert] })
  client = connect()
})

afterEach(async () => {
  client.close()
  for (const server of [registry, storage]) await server[Symbol.asyncDispose]()
})

const isBlob = (path: string | undefined) => path?.includes('/blobs/') === true

describe('manifests', () => {
  it('are fetched by tag and named by the digest of their bytes', async () => {
    const { digest, size } = registry.putManifest({ schemaVersion: 2, layers: [] }, 'v1')
    const bytes = Buffer.from('{"schemaVersion":2,"layers":[]}')
    expect(await client.getManifest('v1', signal)).toEqual({
      bytes,
      digest,
      size,
      mediaType: OCI_MANIFEST,
    })
    expect(await client.getManifest(digest, signal)).toMatchObject({ digest })
    expect(registry.seen.at(-1)!.headers.accept!.split(', ')).toEqual([
      'application/vnd.oci.image.index.v1+json',
      'application/vnd.oci.image.manifest.v1+json',
      'application/vnd.docker.distribution.manifest.list.v2+json',
      'application/vnd.docker.distribution.manifest.v2+json',
    ])
  })

  it('are refused when they are not what the digest says', async () => {
    const wanted = sha256(Buffer.from('wanted'))
    registry.fault = (request, response) => request.url !== '/v2/' && respond(response, 200, 'found')
    expect(await failure(client.getManifest(wanted, signal))).toMatchObject({
      kind: 'integrity',
      code: 'digest-mismatch',
      facts: { expected: wanted, found: sha256(Buffer.from('found')), bytes: 5 },
    })
  })

  it('are checked by a digest of the other algorithm', async () => {
    const wanted = `sha512:${'0'.repeat(128)}` as Digest
    registry.fault = (request, response) => request.url !== '/v2/' && respond(response, 200, 'found')
    const { code, facts } = await failure(client.getManifest(wanted, signal))
    expect([code, (facts.found as string).slice(0, 7)]).toEqual(['digest-mismatch', 'sha512:'])
  })

  it('are refused when the registry announces another digest for a tag', async () => {
    const announced = sha256(Buffer.from('announced'))
    registry.fault = (request, response) =>
      request.url !== '/v2/' && respond(response, 200, 'found', { 'docker-content-digest': announced })
    expect(await failure(client.getManifest('latest', signal))).toMatchObject({
      code: 'digest-mismatch',
      facts: { expected: announced },
    })
  })

  it.each([true, false])('are refused beyond 4 MiB, with or without a length (%s)', async (hasLength) => {
    const body = Buffer.alloc(4 * 1024 * 1024 + 1, 0x20)
    registry.fault = (request, response) => {
      if (request.url === '/v2/') return false
      response.writeHead(200, hasLength ? { 'content-length': body.length } : {})
      response.end(body)
      return true
    }
    expect(await failure(client.getManifest('latest', signal))).toMatchObject({
      kind: 'image',
      code: 'limit-exceeded',
      facts: { repository: REPOSITORY, reference: 'latest', limit: 4 * 1024 * 1024 },
    })
  })

  it('that are not there are missing images', async () => {
    expect(await failure(client.getManifest('nope', signal))).toMatchObject({
      kind: 'not-found',
      code: 'image-missing',
      message: `Cannot find image "some/image:nope" at "${registry.host}" (MANIFEST_UNKNOWN: there is no such thing)`,
      facts: { status: 404, registry: registry.host, repository: REPOSITORY, reference: 'nope' },
    })
  })
})

describe('blobs', () => {
  const bytes = Buffer.alloc(300_000, 'groot')

  it('stream as they are, whatever the server calls their encoding', async () => {
    const zipped = gzipSync('x'.repeat(1000))
    const blob = registry.putBlob(zipped)
    registry.fault = (request, response) =>
      isBlob(request.url) && respond(response, 200, zipped, { 'content-encoding': 'gzip' })
    expect(await readBlob(client, blob)).toEqual(zipped)
  })

  it('of no bytes are blobs too', async () => {
    expect(await readBlob(client, registry.putBlob(Buffer.alloc(0)))).toHaveLength(0)
  })

  it('stream from where the registry sends us, which gets no credentials', async () => {
    const blob = storage.putBlob(bytes)
    client = connect({ credentials: { username: 'u', password: 'p' } })
    registry.fault = (request, response) => {
      if (request.url === '/v2/') return false
      if (request.headers.authorization === undefined) {
        return respond(response, 401, '', { 'www-authenticate': 'Basic realm="x"' })
      }
      return redirect(response, `${storage.origin}${request.url}?X-Signature=abc`)
    }
    storage.fault = (request, response) => isBlob(request.url) && respond(response, 200, bytes)
    expect(await readBlob(client, blob)).toEqual(bytes)
    expect(storage.seen).toHaveLength(1)
    expect(storage.seen[0]!.headers.authorization).toBeUndefined()
    expect(registry.seen.at(-1)!.headers.authorization).toBe('Basic dTpw')
  })

  it('are refused at once when their length is another', async () => {
    const blob = registry.putBlob(bytes)
    for (const size of [blob.size - 1, blob.size + 1]) {
      expect(await failure(readBlob(client, { ...blob, size }))).toMatchObject({
        kind: 'integrity',
        code: 'size-mismatch',
        facts: { digest: blob.digest, expected: size, found: bytes.length, source: registry.host },
      })
    }
  })

  it('are never longer than their descriptor, also without a length', async () => {
    const blob = registry.putBlob(bytes)
    registry.fault = (request, response) => {
      if (!isBlob(request.url)) return false
      response.writeHead(200)
      response.end(bytes)
      return true
    }
    const short = { ...blob, size: bytes.length - 1 }
    let received = 0
    const reading = (async () => {
      for await (const piece of (await client.getBlob(short, signal)).chunks) received += piece.length
    })()
    expect(await failure(reading)).toMatchObject({ code: 'size-mismatch', facts: { expected: short.size } })
    expect(received).toBeLessThanOrEqual(short.size)
  })

  it.each([
    ['before the length that was announced', true],
    ['before the end of its chunks', false],
  ])('that end %s are cut, which another try may mend', async (_, hasLength) => {
    const blob = registry.putBlob(bytes)
    registry.fault = (request, response) => {
      if (!isBlob(request.url)) return false
      response.writeHead(200, hasLength ? { 'content-length': bytes.length } : {})
      response.write(bytes.subarray(0, 1000), () => setTimeout(() => response.destroy(), 20))
      return true
    }
    const error = await failure(readBlob(client, blob))
    expect(error).toMatchObject({
      kind: 'registry',
      code: 'blob-cut',
      temporary: true,
      facts: { digest: blob.digest, expected: bytes.length, received: 1000, registry: registry.host },
    })
    expect((error.cause as GrootError).code).toBe('registry-unreachable')
  })

  it('that end properly and too early are cut as well', async () => {
    const blob = registry.putBlob(bytes)
    registry.fault = (request, response) => {
      if (!isBlob(request.url)) return false
      response.writeHead(200)
      response.end(bytes.subarray(0, 7))
      return true
    }
    const error = await failure(readBlob(client, blob))
    expect(error).toMatchObject({ code: 'blob-cut', facts: { received: 7 } })
  })

  it('that stop are given up after the time that is allowed', async () => {
    const blob = registry.putBlob(bytes)
    registry.fault = (request, response) => isBlob(request.url) && response.writeHead(200).write('x')
    expect(await failure(readBlob(client, blob))).toMatchObject({
      code: 'registry-timeout',
      temporary: true,
    })
  })

  it('hold the sender back while nobody reads, and hang up when the reader leaves', async () => {
    const size = 64 * 1024 * 1024
    const piece = Buffer.alloc(256 * 1024)
    let sent = 0
    let closed: Promise<unknown> | undefined
    registry.fault = (request, response) => {
      if (!isBlob(request.url)) return false
      closed = once(response, 'close')
      response.writeHead(200, { 'content-length': size })
      const push = () => {
        while (sent < size) {
          sent += piece.length
          if (!response.write(piece)) return response.once('drain', push)
        }
        return response.end()
      }
      push()
      return true
    }
    const blob = { mediaType: OCI_LAYER, digest: sha256(bytes), size }
    for await (const _ of (await client.getBlob(blob, signal)).chunks) {
      await new Promise((resolve) => setTimeout(resolve, 300))
      break
    }
    await closed
    expect(sent).toBeLessThan(size / 2)
  })

  it('that are small are read as a whole, others not even asked for', async () => {
    const blob = registry.putBlob(bytes)
    expect(await client.readBlob(blob, signal)).toEqual(bytes)
    const asked = registry.seen.length
    expect(await failure(client.readBlob({ ...blob, size: 5 * 1024 * 1024 }, signal))).toMatchObject({
      code: 'limit-exceeded',
    })
    expect(registry.seen).toHaveLength(asked)
  })

  it('that are not there are missing blobs', async () => {
    const blob = storage.putBlob(bytes)
    expect(await failure(readBlob(client, blob))).toMatchObject({
      kind: 'not-found',
      code: 'blob-missing',
      facts: { status: 404, repository: REPOSITORY, reference: blob.digest },
    })
  })
})

describe('other answers', () => {
  it.each([
    [500, true],
    [502, true],
    [503, true],
    [429, true],
    [408, true],
    [400, false],
    [410, false],
    [206, false],
    [204, false],
    [302, false],
  ])('of status %d are errors, temporary: %s', async (status, temporary) => {
    registry.fault = (request, response) => request.url !== '/v2/' && respond(response, status, '')
    expect(await failure(client.getManifest('latest', signal))).toMatchObject({
      kind: 'registry',
      code: 'registry-status',
      temporary,
      facts: { status, registry: registry.host, repository: REPOSITORY, reference: 'latest', detail: null },
    })
  })

  it('are shown in printable characters, 200 at most', async () => {
    registry.fault = (request, response) =>
      request.url !== '/v2/' && complain(response, 500, 'UNKNOWN', `\u001b]0;x\u0007\n${'y'.repeat(500)}`)
    const error = await failure(client.getManifest('latest', signal))
    expect(error.facts.detail).toMatch(/^UNKNOWN: \\x1b\]0;x\\x07\\x0ay+$/)
    expect(error.message).not.toMatch(/[\u0000-\u001f]/)
    expect(error.message.length).toBeLessThan(400)
  })

  it.each([
    ['no JSON', '<html>'],
    ['another document', '{"errors":{"code":1}}'],
    ['null', 'null'],
    ['an endless text', `{"errors":[{"code":"${'x'.repeat(70_000)}"}]}`],
  ])('may hold %s', async (_, body) => {
    registry.fault = (request, response) => request.url !== '/v2/' && respond(response, 500, body)
    expect(await failure(client.getManifest('latest', signal))).toMatchObject({
      code: 'registry-status',
      facts: { detail: null },
    })
  })
})

describe('the address of a registry', () => {
  it('on loopback is http, asked for once', async () => {
    registry.putManifest({ schemaVersion: 2, layers: [] }, 'v1')
    await client.getManifest('v1', signal)
    await client.getManifest('v1', signal)
    const manifest = `/v2/${REPOSITORY}/manifests/v1`
    expect(registry.seen.map(({ path }) => path)).toEqual(['/v2/', manifest, manifest])
  })

  it('on loopback is https when http is not spoken there', async () => {
    await using secure = await startRegistry(certificate)
    secure.putManifest({ schemaVersion: 2, layers: [] }, 'v1')
    const answer = await connectTo(secure.host, { transport }).getManifest('v1', signal)
    expect(answer.mediaType).toBe(OCI_MANIFEST)
  })

  it('on loopback is https when plain http is answered with 400', async () => {
    registry.fault = (_, response) =>
      respond(response, 400, 'Client sent an HTTP request to an HTTPS server.\n')
    const error = await failure(client.getManifest('v1', signal))
    expect(error).toMatchObject({
      code: 'registry-unreachable',
      facts: { reason: expect.stringMatching(/^(EPROTO$|ERR_SSL_)/) },
    })
  })

  it('that is named as insecure is http without asking', async () => {
    registry.putManifest({ schemaVersion: 2, layers: [] }, 'v1')
    await connect({ insecureRegistries: ['other.example', registry.host] }).getManifest('v1', signal)
    expect(registry.seen).toHaveLength(1)
  })

  it('that cannot be reached says so', async () => {
    await registry[Symbol.asyncDispose]()
    expect(await failure(client.getManifest('v1', signal))).toMatchObject({
      code: 'registry-unreachable',
      facts: { reason: 'ECONNREFUSED' },
    })
  })
})
