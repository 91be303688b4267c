/**
 * OCI layouts for tests: layers that a test built become images in a directory, as the image-spec describes it
 * (image-layout.md). Knows nothing of how groot reads them.
 */
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { gzipSync } from 'node:zlib'

export type Compression = 'gzip' | 'zstd'

export interface OwnImage {
  readonly name: string
  /** Plain tars, base first. */
  readonly layers: readonly Uint8Array[]
  /** The `config` of the image's configuration. */
  readonly config: Readonly<Record<string, unknown>>
}

interface Descriptor {
  readonly mediaType: string
  readonly digest: string
  readonly size: number
}

const OCI = 'application/vnd.oci.image'
const CREATED = '2023-11-14T22:13:20Z'

/** The tag of an image in the layout: NAME for gzip, NAME-zstd for zstd. */
export function tagOf(name: string, compression: Compression): string {
  return compression === 'gzip' ? name : `${name}-${compression}`
}

/** Writes every image in every compression. zstd needs the tool of that name. */
export function writeLayout(
  directory: string,
  images: readonly OwnImage[],
  compressions: readonly Compression[],
): void {
  mkdirSync(`${directory}/blobs/sha256`, { recursive: true })
  const layout = new Layout(directory)
  const manifests = images.flatMap((image) =>
    compressions.map((compression) => ({
      ...layout.image(image, compression),
      annotations: { 'org.opencontainers.image.ref.name': tagOf(image.name, compression) },
    })),
  )
  const index = { schemaVersion: 2, mediaType: `${OCI}.index.v1+json`, manifests }
  writeFileSync(`${directory}/index.json`, JSON.stringify(index))
  writeFileSync(`${directory}/oci-layout`, JSON.stringify({ imageLayoutVersion: '1.0.0' }))
}

class Layout {
  readonly #directory: string
  /** By compression and digest of the tar: images share layers. */
  readonly #layers = new Map<string, Descriptor>()

  constructor(directory: string) {
    this.#directory = directory
  }

  image(image: OwnImage, compression: Compression): Descriptor {
    const config = {
      created: CREATED,
      architecture: { x64: 'amd64', ia32: '386' }[process.arch as string] ?? process.arch,
      os: 'linux',
      config: image.config,
      rootfs: { type: 'layers', diff_ids: image.layers.map((tar) => digestOf(tar)) },
      history: image.layers.map((_, i) => ({ created: CREATED, created_by: `layer ${i}` })),
    }
    const manifest = {
      schemaVersion: 2,
      mediaType: `${OCI}.manifest.v1+json`,
      config: this.#json(`${OCI}.config.v1+json`, config),
      layers: image.layers.map((tar) => this.#layer(tar, compression)),
    }
    return this.#json(manifest.mediaType, manifest)
  }

  #layer(tar: Uint8Array, compression: Compression): Descriptor {
    const key = `${compression} ${digestOf(tar)}`
    const known = this.#layers.get(key)
    if (known !== undefined) return known
    const bytes = compression === 'gzip' ? gzipSync(tar, { level: 6 }) : zstd(tar)
    const descriptor = this.#blob(`${OCI}.layer.v1.tar+${compression}`, bytes)
    this.#layers.set(key, descriptor)
    return descriptor
  }

  #json(mediaType: string, value: unknown): Descriptor {
    return this.#blob(mediaType, Buffer.from(JSON.stringify(value)))
  }

  #blob(mediaType: string, bytes: Uint8Array): Descriptor {
    const digest = digestOf(bytes)
    writeFileSync(`${this.#directory}/blobs/sha256/${digest.slice('sha256:'.length)}`, bytes)
    return { mediaType, digest, size: bytes.length }
  }
}

function digestOf(bytes: Uint8Array): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`
}

function zstd(bytes: Uint8Array): Uint8Array {
  const { status, stdout, error } = spawnSync('zstd', ['-q', '-3', '-c'], {
    input: bytes,
    maxBuffer: 1024 ** 3,
  })
  if (status !== 0) throw error ?? new Error(`zstd: exit ${status}`)
  return stdout
}
