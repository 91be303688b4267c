import { describe, expect, it } from 'vitest'
import { sha256 } from '../../../lib/digest.js'
import type { ErrorCode, GrootError } from '../../../lib/errors.js'
import { parseImageDocument, parseIndex, parseManifest } from '../../../lib/image/manifest.js'
import {
  DOCKER_INDEX,
  DOCKER_MANIFEST,
  OCI_CONFIG,
  OCI_INDEX,
  OCI_LAYER,
  OCI_MANIFEST,
} from '../../../lib/image/media-types.js'

const digest = sha256(Buffer.from('blob'))
const config = { mediaType: OCI_CONFIG, digest, size: 12 }
const layer = { mediaType: `${OCI_LAYER}+gzip`, digest, size: 34 }
const plain = { schemaVersion: 2, mediaType: OCI_MANIFEST, config, layers: [layer] }
const index = { schemaVersion: 2, mediaType: OCI_INDEX, manifests: [] as unknown[] }

function bytes(document: unknown): Buffer {
  return Buffer.from(typeof document === 'string' ? document : JSON.stringify(document))
}

function failure(run: () => unknown): { code: ErrorCode; facts: object; message: string } {
  try {
    run()
  } catch (error) {
    const { code, facts, message } = error as GrootError
    return { code, facts, message }
  }
  throw new Error('it was accepted')
}

describe('manifests', () => {
  it('are read with all that a descriptor can say', () => {
    const full = {
      ...plain,
      config: { ...config, annotations: { a: 'b' }, urls: [], platform: null },
      layers: [
        { ...layer, urls: ['https://example.com/x'], annotations: { 'org.x': 'y' } },
        {
          ...layer,
          platform: { os: 'linux', architecture: 'arm', variant: 'v6', 'os.version': '1', features: [] },
        },
      ],
      annotations: { made: 'by hand' },
      artifactType: 'ignored',
    }
    expect(parseManifest(bytes(full), OCI_MANIFEST)).toEqual({
      mediaType: OCI_MANIFEST,
      config: { ...config, annotations: { a: 'b' }, urls: [] },
      layers: [
        { ...layer, urls: ['https://example.com/x'], annotations: { 'org.x': 'y' } },
        { ...layer, platform: { os: 'linux', architecture: 'arm', variant: 'v6', osVersion: '1' } },
      ],
      annotations: { made: 'by hand' },
    })
  })

  it('may leave their media type to whoever announced them', () => {
    const { mediaType: _, ...bare } = plain
    expect(parseManifest(bytes(bare)).mediaType).toBe(OCI_MANIFEST)
    expect(parseManifest(bytes(bare), DOCKER_MANIFEST).mediaType).toBe(DOCKER_MANIFEST)
    expect(parseImageDocument(bytes(bare)).kind).toBe('manifest')
  })

  it.each(['application/json', 'text/plain; charset=utf-8', 'application/octet-stream', ''])(
    'go by their own media type when %j was announced',
    (generic) => {
      expect(parseImageDocument(bytes(plain), generic)).toEqual({
        kind: 'manifest',
        manifest: parseManifest(bytes(plain)),
      })
    },
  )

  it('are announced with parameters and in any case', () => {
    expect(parseManifest(bytes(plain), `${OCI_MANIFEST.toUpperCase()} ; charset=utf-8`).mediaType).toBe(
      OCI_MANIFEST,
    )
  })

  it('may write null for a list without items, as Go does', () => {
    expect(parseManifest(bytes({ ...plain, layers: null })).layers).toEqual([])
  })

  it('keep __proto__ as a key like any other and change no prototype', () => {
    const text = JSON.stringify(plain).replace('"layers"', '"annotations":{"__proto__":"x"},"layers"')
    const { annotations } = parseManifest(bytes(text))
    expect(Object.entries(annotations)).toEqual([['__proto__', 'x']])
    expect(Object.getPrototypeOf(annotations)).toBe(Object.prototype)
    expect(({} as { x?: unknown }).x).toBeUndefined()
  })

  it('do not inherit fields from a __proto__ in the document', () => {
    const text = `{"__proto__":${JSON.stringify(plain)},"schemaVersion":2}`
    expect(failure(() => parseManifest(bytes(text))).facts).toMatchObject({ field: '$.layers' })
  })

  it.each<[string, unknown, string, string]>([
    ['a config that is missing', { ...plain, config: undefined }, '$.config', 'missing'],
    ['layers that are no list', { ...plain, layers: {} }, '$.layers', 'an object'],
    ['no layers at all', { ...plain, layers: undefined }, '$.layers', 'missing'],
    ['a layer that is null', { ...plain, layers: [layer, null] }, '$.layers[1]', 'missing'],
    ['a layer that is a list', { ...plain, layers: [[]] }, '$.layers[0]', 'a list'],
    [
      'a digest in upper case',
      { ...plain, layers: [{ ...layer, digest: digest.toUpperCase() }] },
      '$.layers[0].digest',
      '',
    ],
    [
      'a digest that climbs',
      { ...plain, config: { ...config, digest: 'sha256:../../x' } },
      '$.config.digest',
      '"sha256:../../x"',
    ],
    [
      'a digest of an unknown kind',
      { ...plain, config: { ...config, digest: `md5:${'0'.repeat(32)}` } },
      '$.config.digest',
      '',
    ],
    ['a negative size', { ...plain, layers: [{ ...layer, size: -1 }] }, '$.layers[0].size', '-1'],
    ['a size with a fraction', { ...plain, layers: [{ ...layer, size: 1.5 }] }, '$.layers[0].size', '1.5'],
    [
      'a size that a double cannot hold',
      { ...plain, layers: [{ ...layer, size: 2 ** 53 }] },
      '$.layers[0].size',
      '',
    ],
    ['a size in quotes', { ...plain, layers: [{ ...layer, size: '7' }] }, '$.layers[0].size', '"7"'],
    [
      'an empty media type',
      { ...plain, layers: [{ ...layer, mediaType: '' }] },
      '$.layers[0].mediaType',
      '""',
    ],
    ['annotations that are no text', { ...plain, annotations: { 'a b': 1 } }, '$.annotations["a b"]', '1'],
    ['urls that are no list', { ...plain, layers: [{ ...layer, urls: 'x' }] }, '$.layers[0].urls', '"x"'],
    ['another schema version', { ...plain, schemaVersion: 3 }, '$.schemaVersion', '3'],
    ['no schema version', { ...plain, schemaVersion: undefined }, '$.schemaVersion', 'missing'],
    ['a media type that is no text', { ...plain, mediaType: 5 }, '$.mediaType', '5'],
    ['the media type of an index', { ...plain, mediaType: OCI_INDEX }, '$.mediaType', `"${OCI_INDEX}"`],
  ])('are refused with %s', (_, document, field, found) => {
    const { code, facts, message } = failure(() => parseManifest(bytes(document)))
    expect(code).toBe('manifest-invalid')
    expect(facts).toMatchObject({ field })
    expect((facts as { found: string }).found).toContain(found)
    expect(message).toContain(`${field} is`)
  })

  it.each([
    ['both layers and manifests', { ...plain, manifests: [] }],
    ['both config and manifests', { ...index, config }],
    ['layers that are null beside manifests', { ...index, layers: null }],
  ])('are refused with %s, announced as either', (_, document) => {
    for (const type of [undefined, OCI_MANIFEST, OCI_INDEX]) {
      const { mediaType: __, ...bare } = document
      expect(failure(() => parseImageDocument(bytes(bare), type))).toMatchObject({
        code: type === OCI_INDEX ? 'index-invalid' : 'manifest-invalid',
        facts: { field: '$.manifests' },
      })
    }
  })

  it('are refused when they are not what was announced', () => {
    expect(failure(() => parseImageDocument(bytes(plain), DOCKER_MANIFEST))).toMatchObject({
      code: 'manifest-invalid',
      facts: { field: '$.mediaType', found: `"${OCI_MANIFEST}"` },
    })
    expect(failure(() => parseImageDocument(bytes(plain), OCI_INDEX)).code).toBe('index-invalid')
  })

  it('of Docker schema 1 are refused by name', () => {
    const type = 'application/vnd.docker.distribution.manifest.v1+prettyjws'
    for (const document of [
      { schemaVersion: 1, name: 'x', fsLayers: [] },
      { schemaVersion: 2, fsLayers: [] },
    ]) {
      expect(failure(() => parseImageDocument(bytes(document), type))).toMatchObject({
        code: 'media-type-unsupported',
        facts: { mediaType: type, schemaVersion: 1 },
      })
    }
  })

  it('of an unknown kind are refused by name', () => {
    const mediaType = 'application/vnd.cncf.helm.chart.v1+json'
    expect(failure(() => parseImageDocument(bytes({ ...plain, mediaType })))).toMatchObject({
      code: 'media-type-unsupported',
      facts: { mediaType },
    })
    expect(
      failure(() => parseImageDocument(bytes({ ...plain, mediaType: undefined }), 'text/html')).code,
    ).toBe('media-type-unsupported')
  })
})

describe('documents', () => {
  it.each([
    ['nothing', ''],
    ['no JSON', '{'],
    ['what follows', `${JSON.stringify(plain)} {}`],
    ['a byte order mark', `\ufeff${JSON.stringify(plain)}`],
  ])('are refused with %s', (_, text) => {
    expect(failure(() => parseManifest(bytes(text)))).toMatchObject({
      code: 'manifest-invalid',
      facts: { field: '$' },
    })
  })

  it('are refused when they are not UTF-8', () => {
    const broken = Buffer.concat([Buffer.from('{"a":"'), Buffer.from([0xc3, 0x28]), Buffer.from('"}')])
    expect(failure(() => parseManifest(broken)).code).toBe('manifest-invalid')
  })

  it.each([
    ['[]', 'a list'],
    ['"x"', '"x"'],
    ['1', '1'],
    ['null', 'null'],
    ['true', 'true'],
  ])('are objects, not %s', (text, found) => {
    expect(failure(() => parseManifest(bytes(text)))).toMatchObject({
      code: 'manifest-invalid',
      message: `Cannot read the manifest: $ is ${found}, not an object`,
      facts: { field: '$', found },
    })
  })

  it('are nested 64 levels deep at most, brackets in strings not counted', () => {
    const nest = (levels: number) => `{"x":${'['.repeat(levels)}${']'.repeat(levels)}}`
    expect(failure(() => parseManifest(bytes(nest(64))))).toMatchObject({
      code: 'limit-exceeded',
      facts: { limit: 64 },
    })
    expect(failure(() => parseManifest(bytes(nest(63)))).code).toBe('manifest-invalid')
    const inString = JSON.stringify({ ...plain, annotations: { x: `\\"${'[{'.repeat(200)}` } })
    expect(parseManifest(bytes(inString)).layers).toHaveLength(1)
    expect(failure(() => parseManifest(bytes('['.repeat(1_000_000)))).code).toBe('limit-exceeded')
  })

  it('have 4 MiB at most', () => {
    const limit = 4 * 1024 * 1024
    const padded = Buffer.from(JSON.stringify(plain).padEnd(limit))
    expect(parseManifest(padded).layers).toHaveLength(1)
    expect(failure(() => parseManifest(Buffer.concat([padded, Buffer.from(' ')])))).toEqual({
      code: 'limit-exceeded',
      facts: { document: 'manifest', bytes: limit + 1, limit },
      message: 'Cannot read the manifest: it has 4194305 bytes, at most 4194304 are read',
    })
  })

  it('have 4096 layers at most', () => {
    const layers = Array.from({ length: 4097 }, () => layer)
    expect(failure(() => parseManifest(bytes({ ...plain, layers })))).toMatchObject({
      code: 'limit-exceeded',
      facts: { field: '$.layers', items: 4097, limit: 4096 },
    })
  })

  it('show hostile text only in printable form and cut short', () => {
    const hostile = `\u001b[31m\u202e\n${'x'.repeat(500)}`
    const { message } = failure(() =>
      parseManifest(bytes({ ...plain, layers: [{ ...layer, digest: hostile }] })),
    )
    expect(message).toContain('\\x1b[31m\\u202e\\x0a')
    expect(message.length).toBeLessThan(250)
  })
})

describe('indexes', () => {
  const entry = { mediaType: OCI_MANIFEST, digest, size: 5 }

  it('are told from manifests by what they have', () => {
    const bare = { schemaVersion: 2, manifests: [entry] }
    expect(parseImageDocument(bytes(bare))).toEqual({
      kind: 'index',
      index: { mediaType: OCI_INDEX, manifests: [entry], annotations: {} },
    })
    expect(parseIndex(bytes({ ...bare, manifests: null })).manifests).toEqual([])
    expect(parseIndex(bytes({ ...bare, mediaType: DOCKER_INDEX }), DOCKER_INDEX).mediaType).toBe(DOCKER_INDEX)
  })

  it('take a platform of empty words for none', () => {
    const manifests = [{ ...entry, platform: { os: '', architecture: '' } }]
    expect(parseIndex(bytes({ ...index, manifests })).manifests).toEqual([entry])
  })

  it.each<[string, unknown, string]>([
    ['no manifests', { schemaVersion: 2 }, '$.manifests'],
    [
      'half a platform',
      { ...index, manifests: [{ ...entry, platform: { os: 'linux' } }] },
      '$.manifests[0].platform.architecture',
    ],
    [
      'a platform that is text',
      { ...index, manifests: [{ ...entry, platform: 'linux' }] },
      '$.manifests[0].platform',
    ],
    [
      'an entry without a digest',
      { ...index, manifests: [{ ...entry, digest: null }] },
      '$.manifests[0].digest',
    ],
  ])('are refused with %s', (_, document, field) => {
    expect(failure(() => parseIndex(bytes(document)))).toMatchObject({
      code: 'index-invalid',
      facts: { field },
    })
  })
})
