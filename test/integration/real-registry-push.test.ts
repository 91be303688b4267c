/**
 * What skopeo pushes to docker-registry, in each form that images have there, is pulled as the tree that was pushed.
 */
import { createHash } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type GrootStore, openStore } from '../../lib/index.js'
import { layer } from '../../lib/testkit/layer.js'
import { writeLayout } from '../images/layout.js'
import { type LocalRegistry, startRegistry } from '../images/registry.js'
import { findTool, run, type Scratch, scratchDirectory, titled } from '../images/tools.js'

const missing = ['docker-registry', 'skopeo', 'zstd'].filter((tool) => findTool(tool) === null)
const why = missing.length === 0 ? null : `needs ${missing.join(', ')}`

const OCI = 'application/vnd.oci.image'
const DOCKER = 'application/vnd.docker'
const ARCHITECTURE = process.arch === 'x64' ? 'amd64' : process.arch

const base = layer()
  .dir('etc')
  .file('etc/large', Buffer.alloc(500_000, 'large'))
  .file('gone', 'soon')
  .symlink('link', 'etc/large')
const top = layer().whiteout('gone').file('etc/small', 'small')

let scratch: Scratch
let registry: LocalRegistry
let store: GrootStore
let expected: string

/** Adds an index of one image for two platforms to the layout, which only this machine's can be made of. */
function addIndex(layout: string): void {
  const index = JSON.parse(readFileSync(`${layout}/index.json`, 'utf8'))
  const [{ annotations: _, ...manifest }] = index.manifests
  const other = ARCHITECTURE === 's390x' ? 'amd64' : 's390x'
  const manifests = [ARCHITECTURE, other].map((architecture) => ({
    ...manifest,
    platform: { os: 'linux', architecture },
  }))
  const mediaType = `${OCI}.index.v1+json`
  const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType, manifests }))
  const hex = createHash('sha256').update(bytes).digest('hex')
  writeFileSync(`${layout}/blobs/sha256/${hex}`, bytes)
  const nested = {
    mediaType,
    digest: `sha256:${hex}`,
    size: bytes.length,
    annotations: { 'org.opencontainers.image.ref.name': 'multi' },
  }
  writeFileSync(`${layout}/index.json`, JSON.stringify({ ...index, manifests: [...index.manifests, nested] }))
}

async function push(name: string, tag: string, ...options: string[]): Promise<void> {
  const target = `docker://${registry.host}/team/app:${tag}`
  const source = `oci:${scratch.file('layout')}:${name}`
  await run('skopeo', ['--insecure-policy', 'copy', '--dest-tls-verify=false', ...options, source, target])
}

/** Media types of what a tag leads to, and of its layers. */
async function typesOf(tag: string): Promise<string[]> {
  const accept = [
    `${OCI}.index.v1+json`,
    `${OCI}.manifest.v1+json`,
    `${DOCKER}.distribution.manifest.v2+json`,
  ].join(', ')
  const answer = await fetch(`http://${registry.host}/v2/team/app/manifests/${tag}`, { headers: { accept } })
  const document = (await answer.json()) as { layers?: { mediaType: string }[] }
  return [answer.headers.get('content-type') ?? '', ...(document.layers ?? []).map((each) => each.mediaType)]
}

describe.skipIf(why !== null)(titled('an image that skopeo pushed', why), () => {
  beforeAll(async () => {
    scratch = scratchDirectory()
    registry = await startRegistry(scratch.file('registry'))
    const layers = [base, top].map((each) => each.build())
    writeLayout(scratch.file('layout'), [{ name: 'app', layers, config: {} }], ['gzip', 'zstd'])
    addIndex(scratch.file('layout'))
    store = await openStore({ path: scratch.file('local'), driver: 'vfs', thread: 'caller' })
    expected = (await store.digest({ image: `oci:${scratch.file('layout')}:app` })).digest
  })
  afterAll(async () => {
    await store?.close()
    await registry?.[Symbol.asyncDispose]()
    scratch?.[Symbol.dispose]()
  })

  it.each<[string, string, readonly string[], readonly string[]]>([
    [
      'gzip',
      'app',
      ['--format', 'oci'],
      [`${OCI}.manifest.v1+json`, `${OCI}.layer.v1.tar+gzip`, `${OCI}.layer.v1.tar+gzip`],
    ],
    [
      'zstd',
      'app-zstd',
      ['--format', 'oci'],
      [`${OCI}.manifest.v1+json`, `${OCI}.layer.v1.tar+zstd`, `${OCI}.layer.v1.tar+zstd`],
    ],
    [
      'docker',
      'app',
      ['--format', 'v2s2'],
      [
        `${DOCKER}.distribution.manifest.v2+json`,
        `${DOCKER}.image.rootfs.diff.tar.gzip`,
        `${DOCKER}.image.rootfs.diff.tar.gzip`,
      ],
    ],
    ['index', 'multi', ['--all'], [`${OCI}.index.v1+json`]],
  ])('as %s is pulled as the same tree', async (tag, name, options, types) => {
    await push(name, tag, ...options)
    expect(await typesOf(tag)).toEqual(types)
    const path = scratch.file(`store-${tag}`)
    await using own = await openStore({ path, driver: 'vfs', thread: 'caller' })
    const pulled = await own.pull({
      image: `docker://${registry.host}/team/app:${tag}`,
      registry: { ignoreHostFiles: true },
    })
    expect(pulled.digest).toBe(expected)
    expect(await own.images()).toMatchObject([
      {
        digest: pulled.image.digest,
        references: [`docker://${registry.host}/team/app:${tag}`],
        complete: true,
        tree: expected,
      },
    ])
    expect((await own.check()).problems).toEqual([])
  })

  it('for another platform only is refused with what there is', async () => {
    await push('multi', 'index', '--all')
    const pulling = store.pull({
      image: `docker://${registry.host}/team/app:index`,
      platform: 'linux/riscv64',
      registry: { ignoreHostFiles: true },
    })
    await expect(pulling).rejects.toMatchObject({ code: 'platform-missing', exitStatus: 13 })
  })
})
