/**
 * Stores made of records alone, for tests of what reads records: layers that are lists of objects, and whatever may name
 * them. Nothing of it could be made into a rootfs.
 */
import { createHash, randomUUID } from 'node:crypto'
import { closeSync, mkdirSync, openSync, readdirSync, writeFileSync } from 'node:fs'
import { type DiffId, type Digest, sha256, type VerityDigest } from '../../../lib/digest.js'
import { initStore } from '../../../lib/index.js'
import { RecordWriter } from '../../../lib/layer/record.js'
import { type BaseId, baseIdOf } from '../../../lib/store/base-id.js'
import { writeBase } from '../../../lib/store/bases.js'
import { keepImage } from '../../../lib/store/images.js'
import { type StoreLayout, storeLayout } from '../../../lib/store/layout.js'

export class SyntheticStore {
  readonly layout: StoreLayout

  private constructor(path: string) {
    this.layout = storeLayout(path)
  }

  /** @param path made; on a filesystem with flock */
  static async make(path: string): Promise<SyntheticStore> {
    await initStore({ path, driver: 'vfs' })
    return new SyntheticStore(path)
  }

  /** An object of a content that nothing else is known of. */
  object(seed: string | number, bytes = 100): VerityDigest {
    const digest = createHash('sha256').update(`object ${seed}`).digest('hex') as VerityDigest
    const directory = `${this.layout.objects}/${digest.slice(0, 2)}`
    mkdirSync(directory, { recursive: true })
    writeFileSync(`${directory}/${digest.slice(2)}`, Buffer.alloc(bytes, 'x'), { mode: 0o444 })
    return digest
  }

  /** A layer that names these objects. */
  layer(seed: string | number, objects: readonly VerityDigest[]): DiffId {
    const diffId = diffIdOf(seed)
    writeLayerRecord(this.layout.layer(diffId), objects)
    return diffId
  }

  base(layers: readonly DiffId[]): BaseId {
    const id = baseIdOf(layers)
    const digest = createHash('sha256').update(id).digest('hex') as VerityDigest
    const accounts = { passwd: null, group: null }
    const createdAt = new Date().toISOString()
    writeBase(this.layout, {
      format: 1,
      id,
      createdAt,
      digest,
      rootfsDigest: digest,
      mapping: null,
      layers,
      bytes: 0,
      imageBytes: 0,
      accounts,
      volumes: new Map(),
    })
    return id
  }

  /** An image of these layers in the cache, by this name. @returns the digest of its manifest */
  image(reference: string, layers: readonly DiffId[]): Digest {
    const configBytes = Buffer.from(
      JSON.stringify({
        os: 'linux',
        architecture: 'amd64',
        config: {},
        rootfs: { type: 'layers', diff_ids: layers },
        reference,
      }),
    )
    const descriptor = (mediaType: string, digest: Digest, size: number) => ({ mediaType, digest, size })
    const manifest = {
      schemaVersion: 2,
      mediaType: 'application/vnd.oci.image.manifest.v1+json',
      config: descriptor('application/vnd.oci.image.config.v1+json', sha256(configBytes), configBytes.length),
      layers: layers.map((layer) => descriptor('application/vnd.oci.image.layer.v1.tar', layer, 1)),
    }
    const manifestBytes = Buffer.from(JSON.stringify(manifest))
    const digest = sha256(manifestBytes)
    const image = { reference, digest, manifestBytes, configBytes, manifest: manifest as never }
    keepImage(
      this.layout,
      { ...image, config: null as never, layers: [] },
      { os: 'linux', architecture: 'amd64' },
    )
    return digest
  }

  /** @param change fields that are others, or no JSON at all */
  bundle(id: string, layers: readonly DiffId[], change: Record<string, unknown> | string = {}): void {
    const record = {
      format: 1,
      id,
      createdAt: new Date().toISOString(),
      image: { reference: 'x', digest: diffIdOf('manifest'), config: diffIdOf('config') },
      layers,
      base: baseIdOf(layers),
      digest: '0'.repeat(64),
      driver: 'vfs',
      readOnly: false,
      ignoreOwnership: true,
      verity: null,
      isDigestDemanded: false,
      noSync: false,
      mounts: [],
    }
    mkdirSync(`${this.layout.bundles}/${id}/rootfs`, { recursive: true })
    const text = typeof change === 'string' ? change : JSON.stringify({ ...record, ...change })
    writeFileSync(`${this.layout.records}/${id}.json`, text)
  }

  /** A lease as a killed process leaves it, unless its lock is held. */
  lease(needs: Record<string, unknown> | string, id: string = randomUUID()): string {
    const text =
      typeof needs === 'string' ? needs : JSON.stringify({ format: 1, id, pid: 1, since: '', needs })
    writeFileSync(`${this.layout.leases}/${id}.json`, text)
    return id
  }

  objects(): VerityDigest[] {
    return readdirSync(this.layout.objects)
      .flatMap((prefix) =>
        readdirSync(`${this.layout.objects}/${prefix}`).map((rest) => `${prefix}${rest}` as VerityDigest),
      )
      .sort()
  }

  layers(): string[] {
    return readdirSync(this.layout.layers)
      .map((name) => name.replace('-', ':'))
      .sort()
  }
}

export function diffIdOf(seed: string | number): DiffId {
  return `sha256:${createHash('sha256').update(`layer ${seed}`).digest('hex')}` as DiffId
}

export function writeLayerRecord(path: string, objects: readonly VerityDigest[]): void {
  const fd = openSync(path, 'w', 0o600)
  try {
    const writer = new RecordWriter(fd)
    for (const digest of objects) {
      writer.raw(Buffer.alloc(512, digest))
      writer.content({ kind: 'object', digest })
    }
    writer.end()
  } finally {
    closeSync(fd)
  }
}
