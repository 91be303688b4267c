/**
 * Layers of any size, to see that memory does not grow with them: few large files, written as a stream into an OCI layout.
 */
import { createCipheriv, createHash } from 'node:crypto'
import { createWriteStream, mkdirSync, renameSync, writeFileSync } from 'node:fs'
import { pipeline } from 'node:stream/promises'
import { createGzip } from 'node:zlib'
import { rawMember } from '../lib/testkit/tar-bytes.js'

export interface BigLayer {
  readonly name: string
  readonly files: readonly { readonly bytes: number; readonly content: 'random' | 'zeros' }[]
}

const CHUNK_BYTES = 1024 * 1024

/** Writes a layout with one image of one layer for each of them. */
export async function writeBigLayers(
  layout: string,
  layers: readonly BigLayer[],
  signal: AbortSignal,
): Promise<void> {
  mkdirSync(`${layout}/blobs/sha256`, { recursive: true })
  const manifests: unknown[] = []
  for (const layer of layers) manifests.push(await writeImage(layout, layer, signal))
  writeFileSync(`${layout}/index.json`, JSON.stringify({ schemaVersion: 2, manifests }))
  writeFileSync(`${layout}/oci-layout`, '{"imageLayoutVersion":"1.0.0"}')
}

async function writeImage(layout: string, layer: BigLayer, signal: AbortSignal): Promise<unknown> {
  const { diffId, descriptor } = await writeLayer(layout, layer, signal)
  const architecture = { x64: 'amd64' }[process.arch as string] ?? process.arch
  const config = { architecture, os: 'linux', config: {}, rootfs: { type: 'layers', diff_ids: [diffId] } }
  const mediaType = 'application/vnd.oci.image.manifest.v1+json'
  const manifest = {
    schemaVersion: 2,
    mediaType,
    config: writeJson(layout, 'application/vnd.oci.image.config.v1+json', config),
    layers: [descriptor],
  }
  const annotations = { 'org.opencontainers.image.ref.name': layer.name }
  return { ...writeJson(layout, mediaType, manifest), annotations }
}

async function writeLayer(layout: string, layer: BigLayer, signal: AbortSignal) {
  const [plain, packed] = [createHash('sha256'), createHash('sha256')]
  let size = 0
  const tar = async function* () {
    for (const bytes of tarOf(layer)) {
      plain.update(bytes)
      yield bytes
    }
  }
  const counted = async function* (source: AsyncIterable<Buffer>) {
    for await (const bytes of source) {
      size += bytes.length
      packed.update(bytes)
      yield bytes
    }
  }
  const part = `${layout}/${layer.name}.part`
  const gzip = createGzip({ level: 1, chunkSize: CHUNK_BYTES })
  await pipeline(tar, gzip, counted, createWriteStream(part), { signal })
  const digest = packed.digest('hex')
  renameSync(part, `${layout}/blobs/sha256/${digest}`)
  const mediaType = 'application/vnd.oci.image.layer.v1.tar+gzip'
  return {
    diffId: `sha256:${plain.digest('hex')}`,
    descriptor: { mediaType, digest: `sha256:${digest}`, size },
  }
}

function* tarOf({ name, files }: BigLayer): Generator<Uint8Array> {
  for (const [i, { bytes, content }] of files.entries()) {
    // Base-256, as sizes from 8 GiB on would need it.
    yield rawMember({ name: `file-${i}`, size: BigInt(bytes) })
    const next = content === 'zeros' ? zeros() : noise(`${name} ${i}`)
    for (let left = bytes; left > 0; left -= CHUNK_BYTES)
      yield next().subarray(0, Math.min(left, CHUNK_BYTES))
    yield Buffer.alloc((512 - (bytes % 512)) % 512)
  }
  yield Buffer.alloc(1024)
}

function zeros(): () => Uint8Array {
  const chunk = Buffer.alloc(CHUNK_BYTES)
  return () => chunk
}

/** Bytes that look random and are the same in every run. */
function noise(seed: string): () => Uint8Array {
  const key = createHash('sha256').update(seed).digest()
  const cipher = createCipheriv('aes-256-ctr', key, Buffer.alloc(16))
  const plain = Buffer.alloc(CHUNK_BYTES)
  return () => cipher.update(plain)
}

function writeJson(layout: string, mediaType: string, value: unknown) {
  const bytes = Buffer.from(JSON.stringify(value))
  const digest = createHash('sha256').update(bytes).digest('hex')
  writeFileSync(`${layout}/blobs/sha256/${digest}`, bytes)
  return { mediaType, digest: `sha256:${digest}`, size: bytes.length }
}
