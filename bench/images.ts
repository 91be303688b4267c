/**
 * The images of an OCI layout, as far as measuring needs them: names, layers and their sizes. Nothing is verified.
 */
import { readFileSync } from 'node:fs'

export interface BenchImage {
  readonly name: string
  /** Blobs of the layers, base first. */
  readonly layers: readonly { readonly path: string; readonly bytes: number; readonly mediaType: string }[]
}

interface Descriptor {
  readonly mediaType: string
  readonly digest: string
  readonly size: number
  readonly annotations?: Readonly<Record<string, string>>
}

interface Index {
  readonly manifests: readonly Descriptor[]
}

/** Names of the images in a layout that are one image each, and not an index of several. */
export function imageNames(layout: string): string[] {
  const index = readJson(`${layout}/index.json`) as Index
  return index.manifests
    .filter(({ mediaType }) => mediaType === 'application/vnd.oci.image.manifest.v1+json')
    .flatMap(({ annotations }) => annotations?.['org.opencontainers.image.ref.name'] ?? [])
}

export function readImage(layout: string, name: string): BenchImage {
  const index = readJson(`${layout}/index.json`) as Index
  const found = index.manifests.find(
    ({ annotations }) => annotations?.['org.opencontainers.image.ref.name'] === name,
  )
  if (found === undefined) throw new Error(`There is no image "${name}" in ${layout}`)
  const manifest = readJson(blobPath(layout, found.digest)) as { readonly layers: readonly Descriptor[] }
  const layers = manifest.layers.map(({ digest, size, mediaType }) => ({
    path: blobPath(layout, digest),
    bytes: size,
    mediaType,
  }))
  return { name, layers }
}

function blobPath(layout: string, digest: string): string {
  return `${layout}/blobs/${digest.replace(':', '/')}`
}

function readJson(path: string): unknown {
  return JSON.parse(readFileSync(path, 'utf8'))
}
