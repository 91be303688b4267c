import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { sha256 } from '../../../lib/digest.js'
import type { GrootError } from '../../../lib/errors.js'
import { OCI_CONFIG, OCI_LAYER, OCI_MANIFEST } from '../../../lib/image/media-types.js'
import { parsePlatform } from '../../../lib/image/platform.js'
import { DEFAULT_LIMITS } from '../../../lib/layer/limits.js'
import { plainHosts } from '../../../lib/registry/hosts.js'
import { openSource } from '../../../lib/sources/open.js'
import type { ResolvedImage } from '../../../lib/sources/source.js'
import { layer } from '../../../lib/testkit/index.js'
import { REPOSITORY, startRegistry } from '../registry/fake-registry.js'

const options = { insecureRegistries: [] }
const request = { platform: parsePlatform('linux/amd64'), signal: new AbortController().signal }
const tar = layer().file('hello', 'world').build()
const config = Buffer.from(
  JSON.stringify({ os: 'linux', architecture: 'amd64', rootfs: { type: 'layers', diff_ids: [sha256(tar)] } }),
)
const manifest = Buffer.from(
  JSON.stringify({
    schemaVersion: 2,
    mediaType: OCI_MANIFEST,
    config: { mediaType: OCI_CONFIG, digest: sha256(config), size: config.length },
    layers: [{ mediaType: OCI_LAYER, digest: sha256(tar), size: tar.length }],
  }),
)

let room: string
const context = { events() {}, limits: DEFAULT_LIMITS, scratch: async () => room }
const at = (name: string) => path.join(room, name)

beforeEach(async () => {
  room = await mkdtemp(path.join(tmpdir(), 'groot-open-'))
})

afterEach(async () => {
  await rm(room, { recursive: true })
})

async function resolve(image: string): Promise<ResolvedImage> {
  await using source = await openSource(image, context, options)
  return await source.resolve(request) // before the source is disposed of
}

async function failure(work: Promise<unknown>): Promise<GrootError> {
  return work.then(
    () => Promise.reject(new Error('it was accepted')),
    (error: GrootError) => error,
  )
}

/** The files of an OCI layout with one image. */
function layoutFiles(tag: string): Record<string, Uint8Array | string> {
  const entry = {
    mediaType: OCI_MANIFEST,
    digest: sha256(manifest),
    size: manifest.length,
    annotations: { 'org.opencontainers.image.ref.name': tag },
  }
  const blobs = [manifest, config, tar].map((bytes) => [`blobs/${sha256(bytes).replace(':', '/')}`, bytes])
  return {
    'oci-layout': '{"imageLayoutVersion":"1.0.0"}',
    'index.json': JSON.stringify({ schemaVersion: 2, manifests: [entry] }),
    ...Object.fromEntries(blobs),
  }
}

async function writeLayout(name: string, tag = 'v1'): Promise<void> {
  await mkdir(at(`${name}/blobs/sha256`), { recursive: true })
  for (const [file, content] of Object.entries(layoutFiles(tag)))
    await writeFile(at(`${name}/${file}`), content)
}

async function writeTar(name: string, files: Record<string, Uint8Array | string>): Promise<void> {
  const archive = layer()
  for (const [file, content] of Object.entries(files)) archive.file(file, content)
  await writeFile(at(name), archive.build())
}

describe('the name of an image opens', () => {
  it('a registry', async () => {
    await using registry = await startRegistry()
    const { digest } = registry.putImage([tar], { tag: 'v1' })
    const image = await resolve(`docker://${registry.host}/${REPOSITORY}:v1`)
    expect([image.digest, image.reference]).toEqual([digest, `docker://${registry.host}/${REPOSITORY}:v1`])
  })

  it('a layout, with a tag, a digest or neither', async () => {
    await writeLayout('layout')
    for (const suffix of ['', ':v1', `@${sha256(manifest)}`]) {
      expect((await resolve(`oci:${at('layout')}${suffix}`)).digest).toBe(sha256(manifest))
      expect((await resolve(`oci://${at('layout')}${suffix}`)).digest).toBe(sha256(manifest))
    }
  })

  it('an archive of a layout', async () => {
    await writeTar('layout.tar', layoutFiles('v1'))
    expect((await resolve(`oci-archive:${at('layout.tar')}:v1`)).digest).toBe(sha256(manifest))
  })

  it('an archive of docker', async () => {
    const list = [{ Config: 'config.json', RepoTags: ['app:v1'], Layers: ['layer.tar'] }]
    await writeTar('app.tar', {
      'config.json': config,
      'layer.tar': tar,
      'manifest.json': JSON.stringify(list),
    })
    for (const suffix of ['', ':app:v1']) {
      expect((await resolve(`docker-archive:${at('app.tar')}${suffix}`)).config.diffIds).toEqual([
        sha256(tar),
      ])
    }
  })

  it('a tar, whatever it is called, also behind a symlink', async () => {
    await writeFile(at('thing'), tar)
    await symlink('thing', at('link'))
    expect((await resolve(at('thing'))).layers.map(({ diffId }) => diffId)).toEqual([sha256(tar)])
    expect((await resolve(at('link'))).layers.map(({ diffId }) => diffId)).toEqual([sha256(tar)])
  })

  it('a directory, also one that ends in .tar', async () => {
    await mkdir(at('tree.tar'))
    await writeFile(at('tree.tar/file'), 'x')
    expect((await resolve(at('tree.tar'))).layers).toHaveLength(1)
  })
})

describe('a name with two meanings', () => {
  it.each([['docker://python'], ['docker://python:3']])('is refused, %s', async (image) => {
    expect(await failure(openSource(image, context, options))).toMatchObject({
      kind: 'usage',
      code: 'reference-ambiguous',
    })
  })

  it.each([
    ['groot-no-such-thing', ['./groot-no-such-thing', 'docker:///groot-no-such-thing']],
    [
      'localhost:5000/groot-no-such',
      ['./localhost:5000/groot-no-such', 'docker://localhost:5000/groot-no-such'],
    ],
  ])('is refused when there is no such path: %s', async (image, readings) => {
    const error = await failure(openSource(image, context, options))
    expect(error).toMatchObject({ kind: 'usage', code: 'reference-ambiguous', facts: { image, readings } })
    for (const reading of readings) expect(error.message).toContain(`"${reading}"`)
  })

  it('is what is there, when only one of them is', async () => {
    await writeLayout('a', 'b')
    expect((await resolve(`oci:${at('a')}:b`)).digest).toBe(sha256(manifest))
    await writeLayout('c:b')
    expect((await resolve(`oci:${at('c:b')}`)).digest).toBe(sha256(manifest))
  })

  it('is refused when both are there, and a slash tells them apart', async () => {
    await writeLayout('a', 'b')
    await writeLayout('a:b', 'other')
    expect(await failure(resolve(`oci:${at('a:b')}`))).toMatchObject({
      code: 'reference-ambiguous',
      facts: { image: `oci:${at('a:b')}`, readings: [`b in oci:${at('a')}`, `oci:${at('a:b')}`] },
    })
    expect((await resolve(`oci:${at('a')}/:b`)).digest).toBe(sha256(manifest))
    expect((await resolve(`oci:${at('a:b')}/`)).digest).toBe(sha256(manifest))
  })

  it('is refused for archives in the same way', async () => {
    await writeTar('x.tar', layoutFiles('v1'))
    await writeTar('x.tar:v1', layoutFiles('v1'))
    for (const kind of ['oci-archive', 'docker-archive']) {
      expect(await failure(resolve(`${kind}:${at('x.tar:v1')}`))).toMatchObject({
        code: 'reference-ambiguous',
        facts: { readings: [`v1 in ${kind}:${at('x.tar')}`, `${kind}:${at('x.tar:v1')}`] },
      })
    }
  })

  it('is refused for a directory that is a layout, unless it says so', async () => {
    await writeLayout('layout')
    expect(await failure(openSource(at('layout'), context, options))).toMatchObject({
      code: 'reference-ambiguous',
      facts: { readings: [`oci:${at('layout')}`, `${at('layout')}/.`] },
    })
    expect((await resolve(`${at('layout')}/.`)).layers).toHaveLength(1)
  })
})

describe('a name that means nothing', () => {
  it('is a missing file, and says which were looked for', async () => {
    const image = `oci:${at('a:b')}`
    const error = await failure(openSource(image, context, options))
    expect(error).toMatchObject({
      kind: 'not-found',
      code: 'file-missing',
      facts: { image, paths: [at('a'), at('a:b'), image] },
    })
    expect(error.message).toBe(
      `Cannot open image "${image}": there is no "${at('a')}" and no "${at('a:b')}" and no "${image}"`,
    )
    for (const name of [at('x'), './groot-no-such', 'groot-no-such.tar', at('x'.repeat(300))]) {
      expect(await failure(openSource(name, context, options))).toMatchObject({ code: 'file-missing' })
    }
  })

  it('is neither a file nor a directory', async () => {
    const server = createServer()
    await new Promise<void>((resolve) => server.listen(at('socket'), resolve))
    const error = await failure(openSource(at('socket'), context, options))
    await new Promise((resolve) => server.close(resolve))
    expect(error).toMatchObject({
      kind: 'usage',
      code: 'reference-invalid',
      facts: { image: at('socket'), part: 'path' },
    })
  })

  it.each(['', 'http://h.example/x', 'docker://h.example/X'])('is no reference: %j', async (image) => {
    expect(await failure(openSource(image, context, options))).toMatchObject({ code: 'reference-invalid' })
  })
})

describe('an alias', () => {
  it('is asked for where a name is neither a path nor has a host, and not before', async () => {
    await using registry = await startRegistry()
    registry.putImage([tar], { tag: 'v1' })
    await writeFile(at('there'), tar)
    const asked: string[] = []
    const hosts = async () => ({
      ...plainHosts({ insecureRegistries: [] }),
      expandAlias: async (text: string) => {
        asked.push(text)
        return text === 'my-app:v1' ? `docker://${registry.host}/${REPOSITORY}:v1` : null
      },
    })
    const open = (image: string) => openSource(image, context, { ...options, hosts })
    await using source = await open('my-app:v1')
    expect((await source.resolve(request)).reference).toBe(`docker://${registry.host}/${REPOSITORY}:v1`)
    expect((await failure(open('other'))).code).toBe('reference-ambiguous')
    expect((await failure(open('gone.tar'))).code).toBe('file-missing')
    await (await open(at('there')))[Symbol.asyncDispose]()
    expect(asked).toEqual(['my-app:v1', 'other'])
  })
})
