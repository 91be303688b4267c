/**
 * Real images from every source: the tree that groot makes is the tree that umoci unpacks. `npm run test:images` runs it
 * on images that are made elsewhere:
 *
 * - `GROOT_IMAGES`: directory of an OCI layout with images NAME and their twins NAME-zstd
 * - `GROOT_IMAGES_REGISTRY`: HOST:PORT of a registry with the same as NAME:latest and NAME:zstd (NAME-NN is NAME:NN there),
 *   and perhaps NAME:docker, the same under the media types of Docker; optional
 * - `GROOT_IMAGES_ONLY`: names to run, with commas between; optional
 */
import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { DRIVERS } from '../support/mounts.js'
import {
  COMPRESSIONS,
  expectSameTree,
  expectTreeOf,
  type PlacedImage,
  SOURCES,
  type Unpacked,
  umociTree,
} from './differential.js'
import { type Compression, tagOf } from './layout.js'
import { runBundle, whyRuncFails } from './runc.js'
import { groot, missing, scratchDirectory, titled } from './tools.js'

const LAYOUT = process.env.GROOT_IMAGES
const REGISTRY = process.env.GROOT_IMAGES_REGISTRY
const ONLY = process.env.GROOT_IMAGES_ONLY?.split(',')
const TIMEOUT_MS = 900_000

/** The rest of a series of near copies says nothing that the first does not. */
const isRepetition = (name: string) => /-(?!00$)\d+$/.test(name)

const why =
  LAYOUT === undefined
    ? 'needs GROOT_IMAGES, a directory with images'
    : missing({ root: true, oddFiles: true, tools: ['umoci', 'skopeo', 'mknod', 'setfattr'] })

describe.skipIf(why !== null)(titled('the tree of real images, against umoci, as root', why), async () => {
  const layout = LAYOUT ?? ''
  const tags = why === null ? tagsOf(layout) : []
  const names = tags.filter(
    (tag) => !tag.endsWith('-zstd') && !isRepetition(tag) && (ONLY?.includes(tag) ?? true),
  )

  const hasDockerTag = REGISTRY === undefined ? new Set<string>() : await dockerTags(REGISTRY, names)

  it('has images to compare', () => {
    expect(names).not.toEqual([])
  })

  for (const name of names) {
    const image: PlacedImage = {
      name,
      layout,
      registry:
        REGISTRY === undefined ? undefined : (compression) => registryReference(REGISTRY, name, compression),
      implicit: [],
    }
    let umoci: Promise<Unpacked> | undefined
    const unpacked = () => {
      umoci ??= umociTree(image)
      return umoci
    }
    const forms = COMPRESSIONS.filter((compression) => tags.includes(tagOf(name, compression)))
    describe.each(forms)(`${name} in %s`, (compression) => {
      for (const source of SOURCES) {
        const lacking = source === 'registry' && REGISTRY === undefined ? 'needs GROOT_IMAGES_REGISTRY' : null
        it.skipIf(lacking !== null)(
          titled(`is equal from ${source}`, lacking),
          { timeout: TIMEOUT_MS },
          async () => {
            expect(await expectSameTree(image, source, compression, await unpacked())).toEqual([])
          },
        )
      }
    })
    if (hasDockerTag.has(name)) {
      it(`is equal for ${name} under the media types of Docker`, { timeout: TIMEOUT_MS }, async () => {
        using scratch = scratchDirectory()
        const reference = `docker://${REGISTRY}/${name}:docker`
        const driver = DRIVERS.at(-1)!
        expect(await expectTreeOf(reference, scratch.file('store'), image, await unpacked(), driver)).toEqual(
          [],
        )
      })
    }
  }
})

/** What images that run print, by name. */
const PRINTS: Readonly<Record<string, RegExp>> = { python: /^hello 0\n$/, node: /^hello v\d+\.\d+\.\d+\n$/ }

const whyNotRun =
  REGISTRY === undefined
    ? 'needs GROOT_IMAGES_REGISTRY'
    : (missing({ root: true, tools: ['runc', 'busybox'] }) ?? (await whyRuncFails(undefined)))

describe.skipIf(whyNotRun !== null)(
  titled('real images from a registry, run by runc, as root', whyNotRun),
  () => {
    const names = Object.keys(PRINTS).filter((name) => ONLY?.includes(name) ?? true)

    it.each(names)('prints what the program of %s says', { timeout: TIMEOUT_MS }, async (name) => {
      using scratch = scratchDirectory()
      const reference = `docker://${REGISTRY}/${name}:latest`
      const args = ['create', '--insecure-registry', REGISTRY!, reference, name]
      const bundle = (await groot(scratch.file('store'), args)).trimEnd()
      const { status, stdout } = await runBundle(bundle, name, scratch.file('runc'))
      expect(stdout).toMatch(PRINTS[name]!)
      expect(status).toBe(0)
    })
  },
)

/** Names whose image the registry has under the tag `docker` too. */
async function dockerTags(host: string, names: readonly string[]): Promise<Set<string>> {
  const found = await Promise.all(
    names.map(async (name) => {
      const answer = await fetch(`http://${host}/v2/${name}/tags/list`)
      const { tags } = answer.ok ? ((await answer.json()) as { tags: string[] | null }) : { tags: null }
      return tags?.includes('docker') ? [name] : []
    }),
  )
  return new Set(found.flat())
}

function tagsOf(layout: string): string[] {
  const index = JSON.parse(readFileSync(`${layout}/index.json`, 'utf8')) as {
    manifests: { annotations?: Record<string, string> }[]
  }
  return index.manifests.flatMap(
    ({ annotations }) => annotations?.['org.opencontainers.image.ref.name'] ?? [],
  )
}

function registryReference(host: string, name: string, compression: Compression): string {
  const [repository, number] = name.split('-')
  const tag = [number, compression === 'gzip' ? null : compression].filter((part) => part != null).join('-')
  return `${host}/${repository}:${tag === '' ? 'latest' : tag}`
}
