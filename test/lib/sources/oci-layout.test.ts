import { execFileSync } from 'node:child_process'
import { renameSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type Digest, sha256 } from '../../../lib/digest.js'
import { type LayoutRequest, ociLayoutSource } from '../../../lib/sources/oci-layout.js'
import {
  AMD64,
  ARM64,
  blobBytes,
  blobName,
  buildImage,
  buildLayout,
  CONFIG,
  configOf,
  descriptor,
  failure,
  INDEX,
  indexOf,
  json,
  LAYER,
  MANIFEST,
  named,
  resolveIt,
  Scratch,
} from './builders.js'

let scratch: Scratch
beforeEach(() => {
  scratch = new Scratch()
})
afterEach(() => scratch[Symbol.asyncDispose]())

const open = (path: string, request: Partial<LayoutRequest> = {}) =>
  ociLayoutSource({ ...request, path }, scratch.context)

/** Resolves an image of the layout in `images`. */
async function resolveIn(request: Partial<LayoutRequest> = {}, platform = AMD64) {
  await using source = await open(scratch.join('images'), request)
  return await resolveIt(source, platform)
}

describe('an image in an OCI layout', () => {
  it('is resolved to its manifest, config and layers, with blobs where they are', async () => {
    const image = await buildImage()
    const path = scratch.write(await buildLayout(image), 'images')
    await using source = await open(path)
    const resolved = await resolveIt(source)
    expect(resolved).toMatchObject({
      reference: `oci:${path}`,
      digest: sha256(image.manifest),
      config: { os: 'linux', architecture: 'amd64' },
      layers: image.blobs.map((blob, index) => ({
        diffId: sha256(image.plain[index]!),
        descriptor: descriptor(index === 0 ? LAYER : `${LAYER}+gzip`, blob),
      })),
    })
    expect([Buffer.from(resolved.manifestBytes), Buffer.from(resolved.configBytes)]).toEqual([
      image.manifest,
      image.config,
    ])
    for (const [index, layer] of resolved.layers.entries()) {
      expect(await source.openBlob(layer, new AbortController().signal)).toEqual({
        kind: 'file',
        path: join(path, blobName(layer.descriptor.digest)),
        offset: 0,
        length: image.blobs[index]!.length,
      })
      expect(await blobBytes(source, layer)).toEqual(image.blobs[index])
    }
  })

  it('is found from the working directory, and its reference does not depend on it', async () => {
    const path = scratch.write(await buildLayout(), 'images')
    await using source = await open(relative(process.cwd(), path), { tag: 'latest' })
    expect((await resolveIt(source)).reference).toBe(`oci:${path}:latest`)
  })

  it('is chosen by its name, its full name, or its digest', async () => {
    const [one, two] = [await buildImage(AMD64, 'one'), await buildImage(AMD64, 'two')]
    const full = { annotations: { 'io.containerd.image.name': 'docker.io/library/two:2' } }
    scratch.write({ ...(await buildLayout(one)), ...two.files }, 'images')
    const index = indexOf(
      descriptor(MANIFEST, one.manifest, named('one')),
      descriptor(MANIFEST, two.manifest, full),
    )
    scratch.write({ 'index.json': index }, 'images')
    expect((await resolveIn({ tag: 'one' })).digest).toBe(sha256(one.manifest))
    expect((await resolveIn({ tag: 'docker.io/library/two:2' })).digest).toBe(sha256(two.manifest))
    const byDigest = await resolveIn({ digest: sha256(two.manifest) })
    expect([byDigest.reference, byDigest.digest]).toEqual([
      `oci:${scratch.join('images')}@${sha256(two.manifest)}`,
      sha256(two.manifest),
    ])
  })

  it('is found by its digest when only an index inside lists it', async () => {
    const image = await buildImage()
    const inner = indexOf(descriptor(MANIFEST, image.manifest, { platform: AMD64 }))
    scratch.write({ ...(await buildLayout(image)), [blobName(sha256(inner))]: inner }, 'images')
    scratch.write({ 'index.json': indexOf(descriptor(INDEX, inner, named('latest'))) }, 'images')
    expect((await resolveIn({ digest: sha256(image.manifest) })).digest).toBe(sha256(image.manifest))
  })

  it('is not guessed where there are several: all are named', async () => {
    const [one, two] = [await buildImage(AMD64, 'one'), await buildImage(AMD64, 'two')]
    scratch.write({ ...(await buildLayout(one)), ...two.files }, 'images')
    const entries = [descriptor(MANIFEST, one.manifest, named('one')), descriptor(MANIFEST, two.manifest)]
    scratch.write({ 'index.json': indexOf(...entries) }, 'images')
    const prefix = `oci:${scratch.join('images')}`
    expect(await failure(resolveIn())).toEqual({
      code: 'reference-ambiguous',
      facts: { image: prefix, readings: [`${prefix}:one`, `${prefix}@${sha256(two.manifest)}`] },
    })
  })

  it('is not guessed where two of one name suit the platform', async () => {
    const [one, two] = [await buildImage(AMD64, 'one'), await buildImage(AMD64, 'two')]
    scratch.write({ ...(await buildLayout(one)), ...two.files }, 'images')
    const entries = [one, two].map(({ manifest }) =>
      descriptor(MANIFEST, manifest, { ...named('x'), platform: AMD64 }),
    )
    scratch.write({ 'index.json': indexOf(...entries) }, 'images')
    expect((await failure(resolveIn({ tag: 'x' }))).facts.readings).toEqual(
      [one, two].map(({ manifest }) => `oci:${scratch.join('images')}@${sha256(manifest)}`),
    )
  })

  it('counts once when it is listed twice', async () => {
    const image = await buildImage()
    scratch.write(await buildLayout(image), 'images')
    const entries = ['a', 'b'].map((name) => descriptor(MANIFEST, image.manifest, named(name)))
    scratch.write({ 'index.json': indexOf(...entries) }, 'images')
    expect((await resolveIn()).digest).toBe(sha256(image.manifest))
  })

  it.each([
    ['entries of one name', (entries: object[]) => ({ index: indexOf(...entries), files: {} })],
    [
      'an index inside',
      (entries: object[]) => {
        const inner = indexOf(...entries)
        return {
          index: indexOf(descriptor(INDEX, inner, named('all'))),
          files: { [blobName(sha256(inner))]: inner },
        }
      },
    ],
  ])('is chosen for the platform, from %s', async (_, wrap) => {
    const images = [await buildImage(AMD64), await buildImage(ARM64)]
    const attestation = {
      ...descriptor(MANIFEST, images[0]!.config),
      platform: { os: 'unknown', architecture: 'unknown' },
    }
    const entries = images.map(({ manifest }, index) =>
      descriptor(MANIFEST, manifest, { ...named('all'), platform: [AMD64, ARM64][index]! }),
    )
    const { index, files } = wrap([...entries, attestation])
    scratch.write(
      { ...(await buildLayout(images[0])), ...images[1]!.files, ...files, 'index.json': index },
      'images',
    )
    expect((await resolveIn({}, AMD64)).digest).toBe(sha256(images[0]!.manifest))
    expect((await resolveIn({}, ARM64)).digest).toBe(sha256(images[1]!.manifest))
    expect(await failure(resolveIn({}, { os: 'linux', architecture: 's390x' }))).toEqual({
      code: 'platform-missing',
      facts: {
        image: `oci:${scratch.join('images')}`,
        platform: 'linux/s390x',
        available: ['linux/amd64', 'linux/arm64'],
      },
    })
  })

  it('is missing when no entry has the name or digest; those that are there are named', async () => {
    scratch.write(await buildLayout(), 'images')
    const path = scratch.join('images')
    expect(await failure(resolveIn({ tag: 'other' }))).toEqual({
      code: 'image-missing',
      facts: { path, image: 'other', available: ['latest'] },
    })
    const digest = `sha256:${'0'.repeat(64)}` as Digest
    expect((await failure(resolveIn({ digest }))).code).toBe('image-missing')
    scratch.write({ 'index.json': indexOf() }, 'images')
    expect(await failure(resolveIn())).toEqual({
      code: 'image-missing',
      facts: { path, image: '', available: [] },
    })
  })
})

describe('what a layout must be', () => {
  it.each<[string, string, (path: string) => void]>([
    ['has no oci-layout file', 'layout-invalid', (path) => rmSync(join(path, 'oci-layout'))],
    ['has no index.json', 'layout-invalid', (path) => rmSync(join(path, 'index.json'))],
    [
      'is of another version',
      'layout-invalid',
      (path) => writeFileSync(join(path, 'oci-layout'), '{"imageLayoutVersion":"2.0.0"}'),
    ],
    ['says no version', 'layout-invalid', (path) => writeFileSync(join(path, 'oci-layout'), '{}')],
    ['has an index that is no JSON', 'index-invalid', (path) => writeFileSync(join(path, 'index.json'), '{')],
    ['has an index of 1 TiB', 'limit-exceeded', (path) => truncateSync(join(path, 'index.json'), 2 ** 40)],
    ['has a version of 1 TiB', 'limit-exceeded', (path) => truncateSync(join(path, 'oci-layout'), 2 ** 40)],
    [
      'has an index elsewhere',
      'layout-invalid',
      (path) => {
        renameSync(join(path, 'index.json'), join(path, '../elsewhere.json'))
        symlinkSync('../elsewhere.json', join(path, 'index.json'))
      },
    ],
  ])('one that %s is refused', async (_, code, change) => {
    change(scratch.write(await buildLayout(), 'images'))
    expect((await failure(resolveIn())).code).toBe(code)
  })

  it.each(['manifest', 'config'] as const)(
    'a %s that is a symlink, FIFO or directory is refused',
    async (which) => {
      const image = await buildImage()
      const path = scratch.write(await buildLayout(image), 'images')
      const blob = join(path, blobName(sha256(image[which])))
      renameSync(blob, scratch.join('aside'))
      symlinkSync(scratch.join('aside'), blob)
      expect(await failure(resolveIn())).toEqual({
        code: 'layout-invalid',
        facts: { path: blob, found: 'a symlink' },
      })
      rmSync(blob)
      execFileSync('mkfifo', [blob])
      expect((await failure(resolveIn())).code).toBe('layout-invalid')
      rmSync(blob)
      scratch.write({ x: '' }, relative(scratch.path, blob))
      expect((await failure(resolveIn())).facts.found).toBe('a directory')
    },
  )

  it('a layer that is a symlink or FIFO is refused before anybody reads it', async () => {
    const image = await buildImage()
    const path = scratch.write(await buildLayout(image), 'images')
    await using source = await open(path)
    const [layer] = (await resolveIt(source)).layers
    const blob = join(path, blobName(sha256(image.blobs[0]!)))
    rmSync(blob)
    symlinkSync('/dev/zero', blob)
    expect((await failure(source.openBlob(layer!, new AbortController().signal))).code).toBe('layout-invalid')
    rmSync(blob)
    execFileSync('mkfifo', [blob])
    expect((await failure(source.openBlob(layer!, new AbortController().signal))).code).toBe('layout-invalid')
  })

  it('a blob that is missing is named', async () => {
    const image = await buildImage()
    const path = scratch.write(await buildLayout(image), 'images')
    await using source = await open(path)
    const [layer] = (await resolveIt(source)).layers
    rmSync(join(path, blobName(sha256(image.blobs[0]!))))
    const signal = new AbortController().signal
    expect(await failure(source.openBlob(layer!, signal))).toEqual({
      code: 'blob-missing',
      facts: { path, digest: sha256(image.blobs[0]!) },
    })
    rmSync(join(path, blobName(sha256(image.config))))
    expect((await failure(resolveIn())).facts).toEqual({ path, digest: sha256(image.config) })
  })

  it.each(['manifest', 'config'] as const)(
    'a %s with other bytes than its digest says is refused',
    async (which) => {
      const image = await buildImage()
      const path = scratch.write(await buildLayout(image), 'images')
      const bytes = Buffer.from(image[which])
      bytes[bytes.length - 2]! ^= 1
      writeFileSync(join(path, blobName(sha256(image[which]))), bytes)
      expect(await failure(resolveIn())).toEqual({
        code: 'digest-mismatch',
        facts: { expected: sha256(image[which]), found: sha256(bytes), bytes: bytes.length },
      })
      writeFileSync(join(path, blobName(sha256(image[which]))), Buffer.concat([image[which], bytes]))
      expect((await failure(resolveIn())).code).toBe('size-mismatch')
      truncateSync(join(path, blobName(sha256(image[which]))), 2 ** 40)
      expect((await failure(resolveIn())).code).toBe('limit-exceeded')
    },
  )

  it('a layer of another size is refused', async () => {
    const image = await buildImage()
    const path = scratch.write(await buildLayout(image), 'images')
    await using source = await open(path)
    const [layer] = (await resolveIt(source)).layers
    writeFileSync(join(path, blobName(sha256(image.blobs[0]!))), 'short')
    expect(await failure(source.openBlob(layer!, new AbortController().signal))).toEqual({
      code: 'size-mismatch',
      facts: { digest: sha256(image.blobs[0]!), expected: image.blobs[0]!.length, found: 5 },
    })
  })

  it('indexes that go on for ever are left', async () => {
    const image = await buildImage()
    let entry: object = descriptor(MANIFEST, image.manifest, { platform: AMD64 })
    const files: Record<string, Buffer> = {}
    for (let depth = 0; depth < 40; depth++) {
      const inner = indexOf(entry)
      files[blobName(sha256(inner))] = inner
      entry = descriptor(INDEX, inner)
    }
    scratch.write({ ...(await buildLayout(image)), ...files, 'index.json': indexOf(entry) }, 'images')
    expect((await failure(resolveIn())).code).toBe('limit-exceeded')
  })

  it('an image whose layers and diff ids do not pair is refused', async () => {
    const image = await buildImage()
    const config = configOf([image.plain[0]!])
    const manifest = json({ schemaVersion: 2, config: descriptor(CONFIG, config), layers: [] })
    const files = { [blobName(sha256(config))]: config, [blobName(sha256(manifest))]: manifest }
    scratch.write(
      { ...(await buildLayout()), ...files, 'index.json': indexOf(descriptor(MANIFEST, manifest)) },
      'images',
    )
    expect(await failure(resolveIn())).toEqual({ code: 'layer-invalid', facts: { layers: 0, diffIds: 1 } })
  })

  it('a path that is missing or no directory is refused when it is opened', async () => {
    expect(await failure(open(scratch.join('none')))).toEqual({
      code: 'file-missing',
      facts: { path: scratch.join('none') },
    })
    scratch.write({ file: 'x' })
    expect((await failure(open(scratch.join('file')))).code).toBe('reference-invalid')
    expect((await failure(open(scratch.join('file/below')))).code).toBe('file-missing')
  })

  it('nothing is read when the signal has fired', async () => {
    await using source = await open(scratch.write(await buildLayout(), 'images'))
    const resolving = source.resolve({ platform: AMD64, signal: AbortSignal.abort() })
    await expect(resolving).rejects.toMatchObject({ code: 'aborted' })
  })
})
