import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { sha256 } from '../../../lib/digest.js'
import type { GrootError } from '../../../lib/errors.js'
import { parsePlatform } from '../../../lib/image/platform.js'
import { parseReference, type RegistryReference } from '../../../lib/image/reference.js'
import { type RegistryOptions, registrySource } from '../../../lib/sources/registry.js'
import type { ImageSource } from '../../../lib/sources/source.js'
import { type FakeRegistry, REPOSITORY, respond, startRegistry } from '../registry/fake-registry.js'
import { JumpingClock } from '../registry/testing.js'

const options = { platform: parsePlatform('linux/amd64'), signal: new AbortController().signal }
const layers = [Buffer.from('base layer'), Buffer.from('upper layer')]

let registry: FakeRegistry

beforeEach(async () => {
  registry = await startRegistry()
})

afterEach(async () => {
  await registry[Symbol.asyncDispose]()
})

function open(name: string, more: Partial<RegistryOptions> = {}): ImageSource {
  const [reference] = parseReference(`docker://${registry.host}/${REPOSITORY}${name}`)
  return registrySource(reference as RegistryReference, {
    insecureRegistries: [registry.host],
    clock: new JumpingClock(),
    ...more,
  })
}

async function failure(work: Promise<unknown>): Promise<GrootError> {
  return work.then(
    () => Promise.reject(new Error('it was accepted')),
    (error: GrootError) => error,
  )
}

async function read(source: ImageSource, at: number): Promise<string> {
  const image = await source.resolve(options)
  const content = await source.openBlob(image.layers[at]!, options.signal)
  if (content.kind !== 'stream') throw new Error('not a stream')
  const pieces: Uint8Array[] = []
  for await (const piece of content.chunks) pieces.push(piece)
  return Buffer.concat(pieces).toString()
}

describe('an image of a registry', () => {
  it('is looked up by its tag once, the rest goes by digest', async () => {
    const manifest = registry.putImage(layers, { tag: 'v1' })
    await using source = open(':v1')
    const image = await source.resolve(options)
    expect(image).toMatchObject({
      reference: `docker://${registry.host}/${REPOSITORY}:v1`,
      digest: manifest.digest,
      layers: layers.map((bytes) => ({
        diffId: sha256(bytes),
        descriptor: { digest: sha256(bytes), size: bytes.length },
      })),
    })
    expect(registry.seen.map(({ path }) => path.replace(`/v2/${REPOSITORY}/`, ''))).toEqual([
      'manifests/v1',
      `blobs/${image.manifest.config.digest}`,
    ])
  })

  it('gives its layers', async () => {
    registry.putImage(layers, { tag: 'latest' })
    await using source = open('')
    expect(await Promise.all([read(source, 0), read(source, 1)])).toEqual(['base layer', 'upper layer'])
  })

  it('of an index is the one for the platform, fetched by digest', async () => {
    const manifests = ['amd64', 'arm64'].map((architecture) => {
      const platform = { os: 'linux', architecture }
      return { ...registry.putImage(layers, { platform }), platform }
    })
    registry.putManifest({ schemaVersion: 2, manifests }, 'latest')
    await using source = open('')
    expect((await source.resolve(options)).digest).toBe(manifests[0]!.digest)
    const arm = await source.resolve({ ...options, platform: parsePlatform('linux/arm64') })
    expect([arm.digest, arm.config.architecture]).toEqual([manifests[1]!.digest, 'arm64'])
  })

  it('that is named by digest is that one, whatever its tag means', async () => {
    const { digest } = registry.putImage(layers)
    registry.putImage([], { tag: 'v1' })
    await using source = open(`:v1@${digest}`)
    const image = await source.resolve(options)
    expect([image.digest, image.reference]).toEqual([
      digest,
      `docker://${registry.host}/${REPOSITORY}:v1@${digest}`,
    ])
    expect(registry.seen.some(({ path }) => path.endsWith('/v1'))).toBe(false)
  })

  it('is refused when a document is not what its digest says', async () => {
    const { digest } = registry.putImage(layers)
    await using source = open(`@${digest}`)
    registry.fault = (request, response) =>
      request.url!.includes('/manifests/') && respond(response, 200, '{}')
    expect(await failure(source.resolve(options))).toMatchObject({
      code: 'digest-mismatch',
      facts: { expected: digest },
    })

    registry.fault = (request, response) => {
      if (!request.url!.includes('/blobs/')) return false
      response.writeHead(200)
      response.end('{"os":"linux"}')
      return true
    }
    expect(await failure(source.resolve(options))).toMatchObject({ code: 'blob-cut' })
  })

  it('is refused when manifest and Content-Type do not agree', async () => {
    registry.putImage(layers, { tag: 'v1' })
    await using source = open(':v1')
    const type = 'application/vnd.docker.distribution.manifest.v2+json'
    const document = { schemaVersion: 2, mediaType: 'application/vnd.oci.image.manifest.v1+json' }
    registry.fault = (_, response) =>
      respond(response, 200, JSON.stringify(document), { 'content-type': type })
    expect(await failure(source.resolve(options))).toMatchObject({
      code: 'manifest-invalid',
      facts: { field: '$.mediaType' },
    })
  })

  it('never has its layers fetched from the addresses they name', async () => {
    await using elsewhere = await startRegistry()
    const blob = registry.putBlob(Buffer.from('x'))
    const config = registry.putBlob(
      Buffer.from(
        JSON.stringify({
          os: 'linux',
          architecture: 'amd64',
          rootfs: { type: 'layers', diff_ids: [blob.digest] },
        }),
      ),
      'application/vnd.oci.image.config.v1+json',
    )
    const urls = [`${elsewhere.origin}/x`]
    registry.putManifest({ schemaVersion: 2, config: { ...config, urls }, layers: [{ ...blob, urls }] }, 'v1')
    await using source = open(':v1')
    expect(await read(source, 0)).toBe('x')
    expect(elsewhere.seen).toEqual([])
  })

  it('is not there', async () => {
    await using source = open(':nope')
    expect(await failure(source.resolve(options))).toMatchObject({ code: 'image-missing' })
  })

  it.each(['', 'a/b', 'http://h.example', 'h.example:0', 'h example'])(
    'takes no insecure registry that is none: %j',
    (name) => {
      expect(() => open('', { insecureRegistries: [name] })).toThrow(
        expect.objectContaining({
          code: 'option-invalid',
          facts: { option: 'insecureRegistries', value: name },
        }),
      )
    },
  )

  it('closes its connections when it is disposed of', async () => {
    const big = Buffer.alloc(8 * 1024 * 1024)
    registry.putImage([big], { tag: 'v1' })
    const source = open(':v1')
    const image = await source.resolve(options)
    const content = await source.openBlob(image.layers[0]!, options.signal)
    await source[Symbol.asyncDispose]()
    if (content.kind !== 'stream') throw new Error('not a stream')
    const reading = (async () => {
      for await (const _ of content.chunks);
    })()
    expect(await failure(reading)).toMatchObject({ code: 'aborted' })
  })
})
