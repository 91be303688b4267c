import { describe, expect, it } from 'vitest'
import { type Digest, sha256 } from '../../../lib/digest.js'
import type { GrootError } from '../../../lib/errors.js'
import type { Descriptor } from '../../../lib/image/manifest.js'
import { OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST } from '../../../lib/image/media-types.js'
import { parsePlatform } from '../../../lib/image/platform.js'
import { type DocumentReader, type RootDocument, resolveImage } from '../../../lib/sources/resolve.js'

const layer = { mediaType: OCI_LAYER, digest: sha256(Buffer.from('layer')), size: 5 }
const diffId = sha256(Buffer.from('tar'))

/** Documents by digest, as a source would serve them. */
class Shelf implements DocumentReader {
  readonly documents = new Map<Digest, Uint8Array>()
  readonly read: string[] = []

  put(mediaType: string, document: object, extra: object = {}): Descriptor {
    const bytes = Buffer.from(JSON.stringify(document))
    const digest = sha256(bytes)
    this.documents.set(digest, bytes)
    return { mediaType, digest, size: bytes.length, ...extra }
  }

  image(
    platform: string,
    options: { extra?: object; configType?: string; layers?: object[] } = {},
  ): Descriptor {
    const config = { ...platformOf(platform), rootfs: { type: 'layers', diff_ids: [diffId] } }
    const manifest = {
      schemaVersion: 2,
      config: this.put(options.configType ?? OCI_CONFIG, config),
      layers: options.layers ?? [layer],
      annotations: { for: platform },
    }
    return this.put(OCI_MANIFEST, manifest, options.extra ?? { platform: platformOf(platform) })
  }

  index(manifests: readonly Descriptor[], extra: object = {}): Descriptor {
    return this.put(OCI_INDEX, { schemaVersion: 2, mediaType: OCI_INDEX, manifests }, extra)
  }

  async readManifest(descriptor: Descriptor): Promise<Uint8Array> {
    this.read.push(descriptor.digest)
    return this.documents.get(descriptor.digest)!
  }

  readConfig = this.readManifest
}

function platformOf(text: string) {
  const { osVersion: _, ...platform } = parsePlatform(text)
  return platform
}

const signal = new AbortController().signal

function rootDocument(bytes: Uint8Array, mediaType = ''): RootDocument {
  return { bytes, digest: sha256(bytes), size: bytes.length, mediaType }
}

async function resolve(shelf: Shelf, root: Descriptor, platform = 'linux/amd64') {
  const bytes = shelf.documents.get(root.digest)!
  const document = rootDocument(bytes, root.mediaType)
  return resolveImage('docker://h.example/x:1', document, shelf, {
    platform: parsePlatform(platform),
    signal,
  })
}

async function failure(work: Promise<unknown>): Promise<GrootError> {
  return work.then(
    () => Promise.reject(new Error('it was accepted')),
    (error: GrootError) => error,
  )
}

describe('an image', () => {
  it('is its manifest, its config and its layers, all by digest', async () => {
    const shelf = new Shelf()
    const root = shelf.image('linux/amd64')
    const image = await resolve(shelf, root)
    expect(image).toMatchObject({
      reference: 'docker://h.example/x:1',
      digest: root.digest,
      config: { os: 'linux', architecture: 'amd64', diffIds: [diffId] },
      manifest: { mediaType: OCI_MANIFEST, layers: [layer] },
      layers: [{ diffId, descriptor: layer }],
    })
    expect(sha256(image.manifestBytes)).toBe(root.digest)
    expect(sha256(image.configBytes)).toBe(image.manifest.config.digest)
  })

  it('without an index has to be for the platform that is wanted', async () => {
    const shelf = new Shelf()
    const root = shelf.image('linux/arm64')
    expect(await failure(resolve(shelf, root))).toMatchObject({
      kind: 'not-found',
      code: 'platform-missing',
      facts: { platform: 'linux/amd64', available: ['linux/arm64'] },
    })
    expect((await resolve(shelf, root, 'linux/arm64/v8')).digest).toBe(root.digest)
  })

  it('is refused when its config is not what the manifest says', async () => {
    const shelf = new Shelf()
    const root = shelf.image('linux/amd64')
    const [config] = shelf.documents.keys()
    shelf.documents.set(config!, Buffer.alloc(shelf.documents.get(config!)!.length, 'x'))
    expect(await failure(resolve(shelf, root))).toMatchObject({
      code: 'digest-mismatch',
      facts: { expected: config },
    })
    shelf.documents.set(config!, Buffer.from('{}'))
    expect(await failure(resolve(shelf, root))).toMatchObject({ code: 'size-mismatch', facts: { found: 2 } })
  })

  it('is refused when its root is not what was promised', async () => {
    const root = { ...rootDocument(Buffer.from('{}')), digest: diffId }
    const work = resolveImage('x', root, new Shelf(), { platform: parsePlatform('linux/amd64'), signal })
    expect(await failure(work)).toMatchObject({ code: 'digest-mismatch' })
  })

  it('is refused for its types before anything is fetched', async () => {
    const shelf = new Shelf()
    const root = shelf.image('linux/amd64', { layers: [{ ...layer, mediaType: `${OCI_LAYER}+encrypted` }] })
    expect(await failure(resolve(shelf, root))).toMatchObject({ code: 'media-type-unsupported' })
    expect(shelf.read).toEqual([])
  })

  it('is refused when layers and diff ids do not agree', async () => {
    const shelf = new Shelf()
    const root = shelf.image('linux/amd64', { layers: [layer, layer] })
    expect(await failure(resolve(shelf, root))).toMatchObject({
      code: 'layer-invalid',
      facts: { layers: 2, diffIds: 1 },
    })
  })

  it('with a config of more than 4 MiB is refused without reading it', async () => {
    const shelf = new Shelf()
    const config = { ...shelf.put(OCI_CONFIG, {}), size: 4 * 1024 * 1024 + 1 }
    const root = shelf.put(OCI_MANIFEST, { schemaVersion: 2, config, layers: [] })
    expect(await failure(resolve(shelf, root))).toMatchObject({
      code: 'limit-exceeded',
      facts: { document: 'config' },
    })
    expect(shelf.read).toEqual([])
  })
})

describe('an index', () => {
  it('gives the image that suits best and nothing else is fetched', async () => {
    const shelf = new Shelf()
    const images = ['linux/amd64', 'linux/arm/v6', 'linux/arm/v7', 'linux/arm64'].map((it) => shelf.image(it))
    const root = shelf.index([
      { ...shelf.image('linux/amd64'), platform: platformOf('unknown/unknown') },
      ...images,
    ])
    for (const [platform, expected] of [
      ['linux/amd64', 'linux/amd64'],
      ['linux/arm', 'linux/arm/v7'],
      ['linux/arm/v8', 'linux/arm/v7'],
      ['linux/arm/v6', 'linux/arm/v6'],
    ]) {
      shelf.read.length = 0
      expect((await resolve(shelf, root, platform)).manifest.annotations).toEqual({ for: expected })
      expect(shelf.read).toHaveLength(2)
    }
    expect(await failure(resolve(shelf, root, 'linux/s390x'))).toMatchObject({
      code: 'platform-missing',
      facts: { available: ['linux/amd64', 'linux/arm/v6', 'linux/arm/v7', 'linux/arm64'] },
    })
  })

  it('is believed about the platform, whatever the config says', async () => {
    const shelf = new Shelf()
    const root = shelf.index([shelf.image('linux/arm64', { extra: { platform: platformOf('linux/amd64') } })])
    expect((await resolve(shelf, root)).config.architecture).toBe('arm64')
  })

  it('that names no platforms is searched by the configs', async () => {
    const shelf = new Shelf()
    const plain = { extra: {} }
    const root = shelf.index([shelf.image('linux/arm64', plain), shelf.image('linux/amd64', plain)])
    expect((await resolve(shelf, root)).manifest.annotations).toEqual({ for: 'linux/amd64' })
    expect(await failure(resolve(shelf, root, 'linux/386'))).toMatchObject({
      code: 'platform-missing',
      facts: { available: ['linux/arm64', 'linux/amd64'] },
    })
  })

  it('may list signatures and things of unknown types', async () => {
    const shelf = new Shelf()
    const signature = shelf.image('linux/amd64', {
      configType: 'application/vnd.example.signature',
      extra: {},
    })
    const unknown = shelf.put('application/vnd.example.thing', {})
    const wanted = shelf.image('linux/amd64', { extra: {} })
    expect((await resolve(shelf, shelf.index([unknown, signature, wanted]))).digest).toBe(wanted.digest)
  })

  it('may hold indexes, with a platform or without', async () => {
    const shelf = new Shelf()
    const inner = shelf.index([shelf.image('linux/arm64'), shelf.image('linux/amd64')])
    const other = shelf.index([shelf.image('linux/s390x')], { platform: platformOf('linux/amd64') })
    const root = shelf.index([other, inner])
    expect((await resolve(shelf, root)).manifest.annotations).toEqual({ for: 'linux/amd64' })
  })

  it('may be four deep and no deeper', async () => {
    const shelf = new Shelf()
    let root = shelf.image('linux/amd64')
    for (let depth = 0; depth < 4; depth++) root = shelf.index([root])
    expect((await resolve(shelf, root)).manifest.annotations).toEqual({ for: 'linux/amd64' })
    expect(await failure(resolve(shelf, shelf.index([root])))).toMatchObject({
      kind: 'image',
      code: 'limit-exceeded',
      facts: { limit: 4 },
    })
  })

  it('is given up after 64 documents', async () => {
    const shelf = new Shelf()
    const images = Array.from({ length: 100 }, (_, at) =>
      shelf.image('linux/arm64', { extra: { annotations: { at: `${at}` } } }),
    )
    expect(await failure(resolve(shelf, shelf.index(images)))).toMatchObject({
      code: 'limit-exceeded',
      facts: { limit: 64 },
    })
    expect(shelf.read).toHaveLength(64)
  })

  it('is not searched for a caller who gave up', async () => {
    const shelf = new Shelf()
    const root = shelf.index([shelf.image('linux/amd64')])
    const document = rootDocument(shelf.documents.get(root.digest)!)
    const platform = parsePlatform('linux/amd64')
    const work = resolveImage('x', document, shelf, { platform, signal: AbortSignal.abort() })
    expect(await failure(work)).toMatchObject({ code: 'aborted' })
    expect(shelf.read).toEqual([])
  })
})
