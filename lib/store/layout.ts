/**
 * Where things are in a store (docs/store-format.md). Paths only: nothing here touches the disk.
 */
import type { ChainId, DiffId, Digest } from '../digest.js'
import type { BaseId } from './base-id.js'
import type { BundleId } from './bundle-id.js'

export interface StoreLayout {
  readonly root: string
  readonly descriptor: string
  readonly objects: string
  readonly layers: string
  readonly images: string
  readonly refs: string
  readonly bases: string
  readonly bundles: string
  readonly records: string
  readonly drivers: string
  readonly leases: string
  readonly locks: string
  readonly spares: string
  readonly staging: string
  readonly trash: string
  readonly pins: string
  /** What clean and ingests tell each other: see generation.ts and publishing.ts. */
  readonly gc: string
  readonly generation: string
  readonly publishing: string
  /** There as long as something may be unsynced: see unsynced.ts. */
  readonly unsynced: string
  layer(diffId: DiffId): string
  blob(digest: Digest): string
  base(id: BaseId): string
  bundle(id: BundleId): string
  record(id: BundleId): string
  driver(name: string): string
}

export function storeLayout(root: string): StoreLayout {
  return {
    root,
    descriptor: `${root}/store.json`,
    objects: `${root}/objects`,
    layers: `${root}/layers`,
    images: `${root}/images`,
    refs: `${root}/images/refs`,
    bases: `${root}/bases`,
    bundles: `${root}/bundles`,
    records: `${root}/records`,
    drivers: `${root}/drivers`,
    leases: `${root}/leases`,
    locks: `${root}/locks`,
    spares: `${root}/spares`,
    staging: `${root}/staging`,
    trash: `${root}/trash`,
    pins: `${root}/pins`,
    gc: `${root}/gc`,
    generation: `${root}/gc/generation`,
    publishing: `${root}/gc/publishing`,
    unsynced: `${root}/gc/unsynced.json`,
    layer: (diffId) => `${root}/layers/${fileName(diffId)}`,
    blob: (digest) => `${root}/images/${fileName(digest)}`,
    base: (id) => `${root}/bases/${id}.json`,
    bundle: (id) => `${root}/bundles/${id}`,
    record: (id) => `${root}/records/${id}.json`,
    driver: (name) => `${root}/drivers/${name}`,
  }
}

/** The directories of a store and their modes; a mapped container must pass through to its bundle, and to nothing else. */
export function storeDirectories(
  layout: StoreLayout,
): readonly { readonly path: string; readonly mode: number }[] {
  const open = [layout.objects, layout.bundles]
  const closed = [
    layout.layers,
    layout.images,
    layout.refs,
    layout.bases,
    layout.records,
    layout.drivers,
    layout.leases,
    layout.locks,
    layout.spares,
    layout.staging,
    layout.trash,
    layout.pins,
    layout.gc,
    layout.publishing,
  ]
  return [...open.map((path) => ({ path, mode: 0o711 })), ...closed.map((path) => ({ path, mode: 0o700 }))]
}

/** A digest as a file name: `sha256-<hex>`. */
function fileName(digest: Digest | ChainId): string {
  return digest.replace(':', '-')
}

/** The digest that a file name stands for, or null. */
export function digestOfFileName(name: string): string | null {
  return /^(?:sha256-[0-9a-f]{64}|sha512-[0-9a-f]{128})$/.test(name) ? name.replace('-', ':') : null
}
