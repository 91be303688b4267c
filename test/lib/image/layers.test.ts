import { createHash } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { type DiffId, sha256 } from '../../../lib/digest.js'
import type { GrootError } from '../../../lib/errors.js'
import { chainIds } from '../../../lib/image/chain-id.js'
import type { ImageConfig } from '../../../lib/image/config.js'
import { checkLayers, checkManifestTypes } from '../../../lib/image/layers.js'
import type { Descriptor, Manifest } from '../../../lib/image/manifest.js'
import { layerCompression, OCI_CONFIG, OCI_MANIFEST } from '../../../lib/image/media-types.js'
import { checkDocumentSize, verifyDocument } from '../../../lib/image/verify.js'

const diffIds = ['a', 'b', 'c'].map((text) => sha256(Buffer.from(text)) as DiffId)
const layer = (text: string, mediaType = 'application/vnd.oci.image.layer.v1.tar'): Descriptor => ({
  mediaType,
  digest: sha256(Buffer.from(text)),
  size: 1,
})
const manifest = (layers: Descriptor[], configType = OCI_CONFIG): Manifest => ({
  mediaType: OCI_MANIFEST,
  config: layer('config', configType),
  layers,
  annotations: {},
})
const config = (ids: readonly DiffId[]): ImageConfig => ({
  os: 'linux',
  architecture: 'amd64',
  diffIds: ids,
  process: { env: [], entrypoint: [], cmd: [], exposedPorts: [], volumes: [], labels: {} },
})

function failure(run: () => unknown): GrootError {
  try {
    run()
  } catch (error) {
    return error as GrootError
  }
  throw new Error('it was accepted')
}

describe('layers', () => {
  it('are paired with their diff ids in order, also when one is there twice', () => {
    const [x, y] = [layer('x'), layer('y')]
    const [a, b] = diffIds as [DiffId, DiffId]
    expect(checkLayers(manifest([x, y, x]), config([a, b, a]))).toEqual([
      { diffId: a, descriptor: x },
      { diffId: b, descriptor: y },
      { diffId: a, descriptor: x },
    ])
    expect(checkLayers(manifest([]), config([]))).toEqual([])
  })

  it.each([
    [2, 3],
    [3, 2],
    [0, 1],
  ])('are refused when there are %d of them and %d diff ids', (layers, ids) => {
    const blobs = Array.from({ length: layers }, (_, index) => layer(String(index)))
    const error = failure(() => checkLayers(manifest(blobs), config(diffIds.slice(0, ids))))
    expect(error).toMatchObject({ code: 'layer-invalid', facts: { layers, diffIds: ids } })
  })

  it.each([
    ['application/vnd.oci.image.layer.v1.tar', 'none'],
    ['application/vnd.oci.image.layer.v1.tar+gzip', 'gzip'],
    ['application/vnd.oci.image.layer.v1.tar+zstd', 'zstd'],
    ['application/vnd.docker.image.rootfs.diff.tar', 'none'],
    ['application/vnd.docker.image.rootfs.diff.tar.gzip', 'gzip'],
    ['application/vnd.docker.image.rootfs.diff.tar.zstd', 'zstd'],
  ])('of type %s are compressed with %s', (mediaType, compression) => {
    expect(layerCompression(mediaType)).toBe(compression)
  })

  it.each([
    ['application/vnd.oci.image.layer.nondistributable.v1.tar+gzip', 'the registry itself holds'],
    ['application/vnd.docker.image.rootfs.foreign.diff.tar.gzip', 'the registry itself holds'],
    ['application/vnd.oci.image.layer.v1.tar+gzip+encrypted', 'not encrypted'],
    ['application/vnd.oci.empty.v1+json', 'a tar layer'],
    ['application/vnd.oci.image.layer.v1.tar+xz', 'a tar layer'],
    ['constructor', 'a tar layer'],
  ])('of type %s are refused by name', (mediaType, wanted) => {
    const error = failure(() => checkManifestTypes(manifest([layer('x'), layer('y', mediaType)])))
    expect(error).toMatchObject({ code: 'media-type-unsupported', facts: { what: 'layer', mediaType } })
    expect(error.message).toContain(wanted)
  })

  it('of an artifact are refused by the type of its config', () => {
    const mediaType = 'application/vnd.cncf.helm.config.v1+json'
    expect(failure(() => checkManifestTypes(manifest([], mediaType)))).toMatchObject({
      code: 'media-type-unsupported',
      facts: { what: 'config', mediaType },
    })
  })
})

describe('chain ids', () => {
  it('hash the chain below and the layer', () => {
    const hash = (text: string) => `sha256:${createHash('sha256').update(text).digest('hex')}`
    const [a, b, c] = diffIds as [DiffId, DiffId, DiffId]
    const ab = hash(`${a} ${b}`)
    expect(chainIds([a, b, c])).toEqual([a, ab, hash(`${ab} ${c}`)])
    expect(chainIds([])).toEqual([])
  })

  it('of two zero digests are what the specification gives', () => {
    const zero = `sha256:${'0'.repeat(64)}` as DiffId
    // printf 'sha256:0…0 sha256:0…0' | sha256sum
    expect(chainIds([zero, zero])[1]).toBe(
      'sha256:1c549100e455eee76a4725b64270b19d7fa7aea704960d46363fffa8732d51b8',
    )
  })
})

describe('documents in memory', () => {
  const bytes = Buffer.from('hello')
  const digest = sha256(bytes)

  it('are accepted when size and digest are right', () => {
    verifyDocument('config', bytes, { digest, size: 5 })
    const long = `sha512:${createHash('sha512').update(bytes).digest('hex')}` as typeof digest
    verifyDocument('config', bytes, { digest: long, size: 5 })
  })

  it('are refused when the size or the digest is another', () => {
    expect(failure(() => verifyDocument('config', bytes, { digest, size: 6 }))).toMatchObject({
      kind: 'integrity',
      code: 'size-mismatch',
      facts: { digest, expected: 6, found: 5 },
    })
    const other = sha256(Buffer.from('jello'))
    expect(failure(() => verifyDocument('config', bytes, { digest: other, size: 5 }))).toMatchObject({
      code: 'digest-mismatch',
      facts: { expected: other, found: digest, bytes: 5 },
    })
  })

  it('are not asked for when they have more than 4 MiB', () => {
    const limit = 4 * 1024 * 1024
    checkDocumentSize('config', { digest, size: limit })
    expect(failure(() => checkDocumentSize('config', { digest, size: limit + 1 }))).toMatchObject({
      code: 'limit-exceeded',
      facts: { document: 'config', digest, bytes: limit + 1, limit },
    })
  })
})
