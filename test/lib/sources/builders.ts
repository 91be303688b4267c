/** Layouts, archives and small images for the tests of sources; hostile ones are made by changing what these make. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { type Header, pack } from 'tar-stream'
import { expect } from 'vitest'
import { sha256 } from '../../../lib/digest.js'
import { GrootError } from '../../../lib/errors.js'
import type { GrootEvent } from '../../../lib/events.js'
import type { Platform } from '../../../lib/image/platform.js'
import { DEFAULT_LIMITS } from '../../../lib/layer/limits.js'
import type {
  BlobContent,
  ImageLayer,
  ImageSource,
  ResolvedImage,
  SourceContext,
} from '../../../lib/sources/source.js'

export const AMD64: Platform = { os: 'linux', architecture: 'amd64' }
export const ARM64: Platform = { os: 'linux', architecture: 'arm64' }

export const MANIFEST = 'application/vnd.oci.image.manifest.v1+json'
export const INDEX = 'application/vnd.oci.image.index.v1+json'
export const CONFIG = 'application/vnd.oci.image.config.v1+json'
export const LAYER = 'application/vnd.oci.image.layer.v1.tar'
const REF_NAME = 'org.opencontainers.image.ref.name'

/** A directory for one test, and what a source is given besides its request. */
export class Scratch implements AsyncDisposable {
  readonly path = mkdtempSync(join(tmpdir(), 'groot-sources-'))
  readonly events: GrootEvent[] = []

  get context(): SourceContext {
    return {
      events: (event) => this.events.push(event),
      limits: DEFAULT_LIMITS,
      scratch: async () => {
        mkdirSync(this.join('scratch'), { recursive: true })
        return this.join('scratch')
      },
    }
  }

  join(name: string): string {
    return join(this.path, name)
  }

  /** Writes files below the directory. */
  write(files: Readonly<Record<string, string | Uint8Array>>, below = ''): string {
    for (const [name, content] of Object.entries(files)) {
      const path = join(this.path, below, name)
      mkdirSync(dirname(path), { recursive: true })
      writeFileSync(path, content)
    }
    return join(this.path, below)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    rmSync(this.path, { recursive: true, force: true })
  }
}

export type Member = Partial<Header> & Pick<Header, 'name'> & { readonly content?: string | Uint8Array }

export function file(name: string, content: string | Uint8Array): Member {
  return { name, content, mtime: new Date(0) }
}

export async function tar(...members: readonly Member[]): Promise<Buffer> {
  const stream = pack()
  for (const { content, ...header } of members) {
    if (content === undefined) stream.entry(header)
    else stream.entry(header, Buffer.from(content as Uint8Array))
  }
  stream.finalize()
  const parts: Buffer[] = []
  for await (const part of stream) parts.push(part as Buffer)
  return Buffer.concat(parts)
}

export async function tarOf(files: Readonly<Record<string, string | Uint8Array>>): Promise<Buffer> {
  return tar(...Object.entries(files).map(([name, content]) => file(name, content)))
}

export const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value))

export function descriptor(mediaType: string, bytes: Uint8Array, more: object = {}) {
  return { mediaType, digest: sha256(bytes), size: bytes.length, ...more }
}

export function configOf(layers: readonly Uint8Array[], platform: Platform = AMD64): Buffer {
  const rootfs = { type: 'layers', diff_ids: layers.map((layer) => sha256(layer)) }
  return json({ ...platform, config: { Cmd: ['sh'] }, rootfs })
}

export const blobName = (digest: string): string => `blobs/${digest.replace(':', '/')}`

/** An image as a layout holds it: two layers, the second with gzip. */
export interface BuiltImage {
  readonly manifest: Buffer
  readonly config: Buffer
  readonly plain: readonly Buffer[]
  readonly blobs: readonly Buffer[]
  /** Everything by its name in a layout. */
  readonly files: Readonly<Record<string, Buffer>>
}

export async function buildImage(platform: Platform = AMD64, text = 'hello'): Promise<BuiltImage> {
  const plain = [await tarOf({ 'etc/motd': text }), await tarOf({ 'bin/sh': `#!${text}` })]
  const blobs = [plain[0]!, gzipSync(plain[1]!)]
  const config = configOf(plain, platform)
  const manifest = json({
    schemaVersion: 2,
    mediaType: MANIFEST,
    config: descriptor(CONFIG, config),
    layers: [descriptor(LAYER, blobs[0]!), descriptor(`${LAYER}+gzip`, blobs[1]!)],
  })
  const all = [manifest, config, ...blobs]
  const files = Object.fromEntries(all.map((bytes) => [blobName(sha256(bytes)), bytes]))
  return { manifest, config, plain, blobs, files }
}

export function indexOf(...manifests: readonly object[]): Buffer {
  return json({ schemaVersion: 2, mediaType: INDEX, manifests })
}

export const named = (name: string) => ({ annotations: { [REF_NAME]: name } })

/** The files of a layout that has one image, named `latest`. */
export async function buildLayout(image?: BuiltImage): Promise<Record<string, Buffer>> {
  const { manifest, files } = image ?? (await buildImage())
  return {
    'oci-layout': json({ imageLayoutVersion: '1.0.0' }),
    'index.json': indexOf(descriptor(MANIFEST, manifest, named('latest'))),
    ...files,
  }
}

export function resolveIt(source: ImageSource, platform: Platform = AMD64): Promise<ResolvedImage> {
  return source.resolve({ platform, signal: new AbortController().signal })
}

export async function blobBytes(source: ImageSource, layer: ImageLayer): Promise<Buffer> {
  return contentBytes(await source.openBlob(layer, new AbortController().signal))
}

async function contentBytes(content: BlobContent): Promise<Buffer> {
  if (content.kind === 'file') {
    const { readFileSync } = await import('node:fs')
    return readFileSync(content.path).subarray(content.offset, content.offset + content.length)
  }
  const parts: Buffer[] = []
  for await (const chunk of content.chunks) parts.push(Buffer.from(chunk))
  return Buffer.concat(parts)
}

/** Code and facts of what a promise is rejected with; fails the test when it is anything but one of groot's errors. */
export async function failure(
  promise: Promise<unknown>,
): Promise<{ code: string; facts: GrootError['facts'] }> {
  const error = await promise.then(
    () => null,
    (thrown: unknown) => thrown,
  )
  if (!(error instanceof GrootError)) throw error ?? new Error('nothing was thrown')
  expect(error.message).toMatch(/^Cannot /)
  return { code: error.code, facts: error.facts }
}
