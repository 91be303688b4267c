/**
 * Making the volumes of a bundle: directories beside the rootfs that begin with what the image has at their places.
 */
import { chmodSync, mkdirSync } from 'node:fs'
import { ImageError } from '../errors.js'
import type { IdMapping } from '../ids/mapping.js'
import type { ImageConfig } from '../image/config.js'
import { quote } from '../image/json.js'
import { planVolumes, VOLUMES_DIRECTORY, type Volume } from '../image/volumes.js'
import type { LayerLimits } from '../layer/limits.js'
import { syncFilesystemOf } from '../linux/sync.js'
import type { DurableBatch } from '../store/durable.js'
import type { ObjectReader } from '../store/objects.js'
import { type MaterialiseOptions, materialise } from '../tree/materialise.js'
import type { Tree } from '../tree/model.js'
import { treeBytes, treeEntries } from '../tree/size.js'
import { letPass } from './mapping.js'

interface VolumeOptions extends MaterialiseOptions {
  readonly batch: DurableBatch
  readonly mapping: IdMapping | null
  /** What all volumes together may be filled with. */
  readonly limits: Pick<LayerLimits, 'maxTotalBytes' | 'maxEntries'>
}

/**
 * Fills the volumes in a bundle's directory; nothing is made for an image without. Durable with the batch.
 *
 * @throws {ImageError} `limit-exceeded` before anything is written
 */
export async function makeVolumes(
  config: ImageConfig,
  tree: (volume: Volume) => Promise<Tree>,
  objects: ObjectReader,
  directory: string,
  options: VolumeOptions,
): Promise<void> {
  const volumes = planVolumes(config)
  if (volumes.length === 0) return
  const trees = await volumeTrees(volumes, tree, options.limits)
  const above = `${directory}/${VOLUMES_DIRECTORY}`
  mkdirSync(above)
  chmodSync(above, 0o700)
  if (options.mapping !== null) letPass(above, options.mapping)
  let isEmpty = true
  for (const [volume, begins] of trees) {
    await materialise(begins, objects, `${directory}/${volume.directory}`, options)
    options.batch.directory(`${directory}/${volume.directory}`)
    isEmpty &&= begins.root.children.size === 0
  }
  options.batch.directory(above)
  // The batch knows of these directories, and of nothing that is in them.
  if (isEmpty) return
  syncFilesystemOf(above)
}

/**
 * What each volume begins with. Volumes below one another, and links of the image, have the same files written many times:
 * an image of a few megabytes could fill a disk.
 */
async function volumeTrees(
  volumes: readonly Volume[],
  tree: (volume: Volume) => Promise<Tree>,
  { maxTotalBytes, maxEntries }: VolumeOptions['limits'],
): Promise<Map<Volume, Tree>> {
  const trees = new Map<Volume, Tree>()
  let bytes = 0
  let entries = 0
  for (const volume of volumes) {
    const begins = await tree(volume)
    bytes += treeBytes(begins)
    entries += treeEntries(begins)
    if (bytes > maxTotalBytes) throw tooMuch(volume, 'bytes', bytes, maxTotalBytes)
    if (entries > maxEntries) throw tooMuch(volume, 'entries', entries, maxEntries)
    trees.set(volume, begins)
  }
  return trees
}

function tooMuch({ destination }: Volume, what: string, found: number, limit: number): ImageError {
  return new ImageError(
    'limit-exceeded',
    `Cannot fill the image's volumes: up to ${quote(destination)} they begin with ${found} ${what}, the limit is ${limit}`,
    { facts: { document: 'config', field: '$.config.Volumes', volume: destination, [what]: found, limit } },
  )
}
