/**
 * The differential test of whole images: what `groot create` makes of an image must be what umoci unpacks of it, entry
 * by entry, whatever kind of source it comes from and however its layers are compressed.
 */
import { expect } from 'vitest'
import { treeLines } from '../../lib/testkit/tree-lines.js'
import { DRIVERS } from '../support/mounts.js'
import { compareTrees, judge } from './compare.js'
import { type Compression, tagOf } from './layout.js'
import { groot, run, scratchDirectory } from './tools.js'

/** Where groot takes an image from. */
export const SOURCES = ['registry', 'oci', 'oci-archive', 'docker-archive'] as const
export type Source = (typeof SOURCES)[number]

export const COMPRESSIONS: readonly Compression[] = ['gzip', 'zstd']

/** An image in a layout, and perhaps in a registry. */
export interface PlacedImage {
  readonly name: string
  /** Directory of the OCI layout; holds the image under the tags of tagOf(). */
  readonly layout: string
  /** Reference in a registry by compression; undefined without a registry. */
  readonly registry: ((compression: Compression) => string) | undefined
  readonly implicit: readonly string[]
}

/** What umoci made of an image, and when. */
export interface Unpacked {
  readonly lines: readonly string[]
  readonly ran: readonly [from: number, to: number]
}

/** Unpacks the gzip twin of an image: umoci 0.4.7 does not read zstd. */
export async function umociTree(image: PlacedImage): Promise<Unpacked> {
  using scratch = scratchDirectory()
  // By way of skopeo, which takes from an index the image of this machine; umoci wants one manifest.
  const copy = `oci:${scratch.file('layout')}:image`
  await skopeoCopy(scratch.path, `oci:${image.layout}:${tagOf(image.name, 'gzip')}`, copy)
  const from = Date.now() / 1000
  await run('umoci', ['unpack', '--image', `${scratch.file('layout')}:image`, scratch.file('bundle')])
  const to = Date.now() / 1000
  return { lines: treeLines(scratch.file('bundle/rootfs')), ran: [from, to] }
}

/**
 * Creates a bundle of the image in a store of its own and expects umoci's tree.
 *
 * @returns names of the faults of umoci that were met
 */
export async function expectSameTree(
  image: PlacedImage,
  source: Source,
  compression: Compression,
  umoci: Unpacked,
): Promise<readonly string[]> {
  using scratch = scratchDirectory()
  const reference = await referenceOf(image, source, compression, scratch.path)
  // Half of the cases each, so that both drivers meet every image.
  const driver = compression === 'zstd' ? DRIVERS.at(-1)! : DRIVERS[0]!
  return await expectTreeOf(reference, scratch.file('store'), image, umoci, driver)
}

/** The same for any reference that groot reads. */
export async function expectTreeOf(
  reference: string,
  store: string,
  image: PlacedImage,
  umoci: Unpacked,
  driver: string,
): Promise<readonly string[]> {
  const host = /^docker:\/\/([^/]+)\//.exec(reference)?.[1]
  const insecure = host === undefined ? [] : ['--insecure-registry', host]
  const printed = await groot(store, ['--driver', driver, 'create', ...insecure, reference, 'compared'])
  const bundle = printed.trimEnd()
  expect(bundle).toBe(`${store}/bundles/compared`)
  expect(umoci.lines.length).toBeGreaterThan(1)
  const differences = compareTrees(treeLines(`${bundle}/rootfs`), umoci.lines)
  const { unexplained, faults } = judge(differences, {
    implicit: new Set(image.implicit),
    umociRan: umoci.ran,
  })
  expect(unexplained).toEqual([])
  return faults
}

async function referenceOf(
  image: PlacedImage,
  source: Source,
  compression: Compression,
  scratch: string,
): Promise<string> {
  const placed = `oci:${image.layout}:${tagOf(image.name, compression)}`
  switch (source) {
    case 'registry':
      if (image.registry === undefined) throw new Error(`Image ${image.name} is in no registry`)
      return `docker://${image.registry(compression)}`
    case 'oci':
      return placed
    case 'oci-archive':
      await skopeoCopy(scratch, placed, `oci-archive:${scratch}/image.tar:image`)
      return `oci-archive:${scratch}/image.tar`
    case 'docker-archive':
      // Plain layers first: skopeo 1.9.3 writes docker-archives with nothing else, and makes them of gzip only.
      await skopeoCopy(scratch, placed, `dir:${scratch}/plain`, '--dest-decompress')
      await skopeoCopy(
        scratch,
        `dir:${scratch}/plain`,
        `docker-archive:${scratch}/image.tar:example.org/image:latest`,
      )
      return `docker-archive:${scratch}/image.tar`
    default:
      return source satisfies never
  }
}

/** Copies an image with skopeo, which takes nothing from the machine's own configuration. */
export async function skopeoCopy(
  scratch: string,
  from: string,
  to: string,
  ...options: string[]
): Promise<void> {
  const copy = ['copy', '-q', '--dest-tls-verify=false', ...options, from, to]
  await run('skopeo', ['--insecure-policy', '--tmpdir', scratch, ...copy])
}
