import { writeFileSync } from 'node:fs'
import { gzipSync } from 'node:zlib'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { encodedOf, sha256 } from '../../../lib/digest.js'
import { dockerArchiveSource } from '../../../lib/sources/docker-archive.js'
import {
  AMD64,
  ARM64,
  blobBytes,
  CONFIG,
  configOf,
  descriptor,
  failure,
  file,
  json,
  LAYER,
  MANIFEST,
  type Member,
  resolveIt,
  Scratch,
  tar,
  tarOf,
} from './builders.js'

let scratch: Scratch
beforeEach(() => {
  scratch = new Scratch()
})
afterEach(() => scratch[Symbol.asyncDispose]())

const hex = (bytes: Uint8Array) => encodedOf(sha256(bytes))

async function open(members: readonly Member[], reference?: string) {
  const path = scratch.join('image.tar')
  writeFileSync(path, await tar(...members))
  return dockerArchiveSource({ path, ...(reference === undefined ? {} : { reference }) }, scratch.context)
}

async function resolveArchive(members: readonly Member[], reference?: string, platform = AMD64) {
  await using source = await open(members, reference)
  return await resolveIt(source, platform)
}

interface Entry {
  readonly Config?: unknown
  readonly RepoTags?: unknown
  readonly Layers?: unknown
}

/** An archive in the form of old versions of `docker save`, with what is asked for changed. */
async function oldForm(change: Entry = {}, tags: readonly string[] = ['alpine:3.20']) {
  const layers = [await tarOf({ 'etc/motd': 'hello' }), await tarOf({ 'bin/sh': '#!' })]
  const config = configOf(layers)
  const manifest = [
    { Config: `${hex(config)}.json`, RepoTags: tags, Layers: ['a/layer.tar', 'b/layer.tar'], ...change },
  ]
  const members = [
    file('a/layer.tar', layers[0]!),
    file('a/VERSION', '1.0'),
    file('b/layer.tar', layers[1]!),
    file(`${hex(config)}.json`, config),
    file('manifest.json', json(manifest)),
  ]
  return { layers, config, members }
}

/** An archive with an image for each of the lists of names. */
async function severalImages(...tags: readonly (readonly string[] | null)[]) {
  const configs = await Promise.all(
    tags.map(async (_, index) => configOf([await tarOf({ [`${index}`]: '' })])),
  )
  const layers = await Promise.all(tags.map((_, index) => tarOf({ [`${index}`]: '' })))
  const list = tags.map((RepoTags, index) => ({
    Config: `${hex(configs[index]!)}.json`,
    RepoTags,
    Layers: [`${index}.tar`],
  }))
  const members = [
    ...configs.map((config) => file(`${hex(config)}.json`, config)),
    ...layers.map((layer, index) => file(`${index}.tar`, layer)),
    file('manifest.json', json(list)),
  ]
  return { configs, members }
}

describe('an image in a Docker archive', () => {
  it('is resolved with a manifest made of its config and layers', async () => {
    const { layers, config, members } = await oldForm()
    await using source = await open(members)
    const resolved = await resolveIt(source)
    const manifest = json({
      schemaVersion: 2,
      mediaType: MANIFEST,
      config: descriptor(CONFIG, config),
      layers: layers.map((layer) => descriptor(LAYER, layer)),
    })
    expect(Buffer.from(resolved.manifestBytes).toString()).toBe(manifest.toString())
    expect(resolved).toMatchObject({
      reference: `docker-archive:${scratch.join('image.tar')}`,
      digest: sha256(manifest),
      layers: layers.map((layer) => ({ diffId: sha256(layer), descriptor: descriptor(LAYER, layer) })),
    })
    expect(Buffer.from(resolved.configBytes)).toEqual(config)
    for (const [index, layer] of resolved.layers.entries()) {
      expect(await blobBytes(source, layer)).toEqual(layers[index])
    }
  })

  it('has a digest that follows from its content, not from names, order or tags', async () => {
    const { members } = await oldForm()
    const first = await resolveArchive(members)
    const other = await oldForm({ Layers: ['b/../x.tar', './/b/layer.tar'] }, [])
    const moved = other.members.map((member) =>
      member.name === 'a/layer.tar' ? { ...member, name: 'x.tar' } : member,
    )
    expect((await resolveArchive(moved.reverse())).digest).toBe(first.digest)
  })

  it('is read from the form that is a layout at the same time, and with compressed layers', async () => {
    const plain = [await tarOf({ a: 'a' }), await tarOf({ b: 'b' })]
    const packed = [gzipSync(plain[0]!), gzipSync(plain[1]!)]
    const config = configOf(plain)
    const manifest = [
      {
        Config: `blobs/sha256/${hex(config)}`,
        RepoTags: null,
        Layers: [`blobs/sha256/${hex(packed[0]!)}`, 'second.tar'],
      },
    ]
    await using source = await open([
      file('oci-layout', '{"imageLayoutVersion":"1.0.0"}'),
      file(`blobs/sha256/${hex(config)}`, config),
      file(`blobs/sha256/${hex(packed[0]!)}`, packed[0]!),
      file('second.tar', packed[1]!),
      file('manifest.json', json(manifest)),
    ])
    const resolved = await resolveIt(source)
    expect(resolved.layers).toEqual(
      plain.map((layer, index) => ({
        diffId: sha256(layer),
        descriptor: descriptor(`${LAYER}+gzip`, packed[index]!),
      })),
    )
    expect(await Promise.all(resolved.layers.map((layer) => blobBytes(source, layer)))).toEqual(packed)
  })

  it('is read where a layer is a link to that of another', async () => {
    const layer = await tarOf({ a: 'a' })
    const config = configOf([layer, layer, layer])
    const list = [{ Config: 'config.json', Layers: ['one/layer.tar', 'two/layer.tar', 'three/layer.tar'] }]
    await using source = await open([
      { name: 'one/layer.tar', type: 'symlink', linkname: '../two/layer.tar' },
      file('two/layer.tar', layer),
      { name: 'three/layer.tar', type: 'link', linkname: 'two/layer.tar' },
      file('config.json', config),
      file('manifest.json', json(list)),
    ])
    const resolved = await resolveIt(source)
    expect(resolved.layers).toHaveLength(3)
    expect(await blobBytes(source, resolved.layers[0]!)).toEqual(layer)
  })

  it.each([
    'alpine',
    'alpine:latest',
    'library/alpine',
    'docker.io/library/alpine:latest',
    'index.docker.io/alpine',
    '@1',
  ])('is chosen by %s', async (reference) => {
    const { configs, members } = await severalImages(['busybox:latest'], ['alpine:latest', 'alpine:3'], null)
    const resolved = await resolveArchive(members, reference)
    expect([resolved.reference, resolved.manifest.config.digest]).toEqual([
      `docker-archive:${scratch.join('image.tar')}:${reference}`,
      sha256(configs[1]!),
    ])
  })

  it.each(['quay.io/alpine', 'alpine:4', 'me/alpine', '@3', '@01', '@x'])(
    'is not found by %s',
    async (reference) => {
      const { members } = await severalImages(['alpine:latest'], null, ['quay.io/x:1'])
      expect(await failure(resolveArchive(members, reference))).toEqual({
        code: 'image-missing',
        facts: {
          path: scratch.join('image.tar'),
          image: reference,
          available: ['alpine:latest', 'quay.io/x:1'],
        },
      })
    },
  )

  it('is not guessed where there are several', async () => {
    const { members } = await severalImages(['a:1', 'a:2'], null)
    const prefix = `docker-archive:${scratch.join('image.tar')}`
    expect(await failure(resolveArchive(members))).toEqual({
      code: 'reference-ambiguous',
      facts: { image: prefix, readings: [`${prefix}:a:1`, `${prefix}:@1`] },
    })
  })

  it('is missing from an archive of none', async () => {
    expect((await failure(resolveArchive([file('manifest.json', '[]')]))).code).toBe('image-missing')
  })

  it('is refused for another platform', async () => {
    const { members } = await oldForm()
    expect((await failure(resolveArchive(members, undefined, ARM64))).code).toBe('platform-missing')
  })
})

describe('what a Docker archive must be', () => {
  it.each<[string, Entry, string]>([
    ['whose layer is a path out of it', { Layers: ['../../etc/passwd', 'b/layer.tar'] }, 'archive-invalid'],
    ['whose config is a path out of it', { Config: '../../../etc/passwd' }, 'archive-invalid'],
    ['whose layer is a path of this machine', { Layers: ['/etc/passwd', 'b/layer.tar'] }, 'blob-missing'],
    ['whose layer is a directory', { Layers: ['a', 'b/layer.tar'] }, 'blob-missing'],
    ['without a layer that it names', { Layers: ['a/layer.tar', 'c/layer.tar'] }, 'blob-missing'],
    ['without the config that it names', { Config: 'none.json' }, 'blob-missing'],
    ['with fewer layers than diff ids', { Layers: ['a/layer.tar'] }, 'layer-invalid'],
    ['without layers', { Layers: null }, 'layer-invalid'],
    ['whose config is no name', { Config: 7 }, 'archive-invalid'],
    ['whose layers are no list', { Layers: 'a/layer.tar' }, 'archive-invalid'],
    ['whose names are no texts', { RepoTags: [1] }, 'archive-invalid'],
  ])('one %s is refused', async (_, change, code) => {
    const { members } = await oldForm(change)
    expect((await failure(resolveArchive(members))).code).toBe(code)
  })

  it('one whose config is not what its name says is refused', async () => {
    const { config, members } = await oldForm()
    const other = json({ ...JSON.parse(config.toString()), architecture: 'arm64' })
    const changed = members.map((member) =>
      member.name === `${hex(config)}.json` ? file(member.name, other) : member,
    )
    expect(await failure(resolveArchive(changed))).toEqual({
      code: 'digest-mismatch',
      facts: { expected: sha256(config), found: sha256(other), bytes: other.length },
    })
  })

  it.each(['{}', '7', '[7]', '[null]', '[', '[[[['.repeat(100)])(
    'one with the manifest %j is refused',
    async (text) => {
      const { code } = await failure(resolveArchive([file('manifest.json', text)]))
      expect(['archive-invalid', 'limit-exceeded']).toContain(code)
    },
  )

  it('one with a manifest of more than 4 MiB is refused', async () => {
    const members = [file('manifest.json', Buffer.alloc(4 * 1024 * 1024 + 1, ' '))]
    expect((await failure(resolveArchive(members))).code).toBe('limit-exceeded')
  })

  it('one without a manifest is refused, and pointed to the other kind', async () => {
    const error = await resolveArchive([file('oci-layout', '{}')]).catch((thrown: unknown) => thrown)
    expect(error).toMatchObject({ code: 'archive-invalid' })
    expect(String(error)).toContain(`oci-archive:${scratch.join('image.tar')}`)
  })

  it('one whose links go in a circle is refused', async () => {
    const { members } = await oldForm({ Layers: ['x', 'b/layer.tar'] })
    const links: Member[] = [
      { name: 'x', type: 'symlink', linkname: 'y' },
      { name: 'y', type: 'symlink', linkname: 'x' },
    ]
    expect((await failure(resolveArchive([...members, ...links]))).code).toBe('archive-invalid')
  })
})
