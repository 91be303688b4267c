/**
 * Making the volumes of a bundle: directories beside the rootfs that begin with what the image has at their places.
 */
import { chmodSync, mkdirSync } from 'node:fs'
import type { IdMapping } from '../ids/mapping.js'
import type { ImageConfig } from '../image/config.js'
import { planVolumes, VOLUMES_DIRECTORY, type Volume } from '../image/volumes.js'
import { syncFilesystemOf } from '../linux/sync.js'
import type { DurableBatch } from '../store/durable.js'
import type { ObjectReader } from '../store/objects.js'
import { type MaterialiseOptions, materialise } from '../tree/materialise.js'
import type { Tree } from '../tree/model.js'
import { letPass } from './mapping.js'

/** Fills the volumes in a bundle's directory; nothing is made for an image without. Durable with the batch. */
export async function makeVolumes(
  config: ImageConfig,
  tree: (volume: Volume) => Promise<Tree>,
  objects: ObjectReader,
  directory: string,
  options: MaterialiseOptions & { readonly batch: DurableBatch; readonly mapping: IdMapping | null },
): Promise<void> {
  const volumes = planVolumes(config)
  if (volumes.length === 0) return
  const above = `${directory}/${VOLUMES_DIRECTORY}`
  mkdirSync(above)
  chmodSync(above, 0o700)
  if (options.mapping !== null) letPass(above, options.mapping)
  let isEmpty = true
  for (const volume of volumes) {
    const begins = await tree(volume)
    await materialise(begins, objects, `${directory}/${volume.directory}`, options)
    options.batch.directory(`${directory}/${volume.directory}`)
    isEmpty &&= begins.root.children.size === 0
  }
  options.batch.directory(above)
  // The batch knows of these directories, and of nothing that is in them.
  if (isEmpty) return
  syncFilesystemOf(above)
}
