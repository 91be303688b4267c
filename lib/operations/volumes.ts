/**
 * Making the volumes of a bundle: directories beside the rootfs that begin with what the image has at their places.
 */
import { chmodSync, closeSync, mkdirSync, openSync } from 'node:fs'
import type { ImageConfig } from '../image/config.js'
import { planVolumes, VOLUMES_DIRECTORY, volumeTree } from '../image/volumes.js'
import { syncFilesystem } from '../linux/sync.js'
import type { ObjectReader } from '../store/objects.js'
import { type MaterialiseOptions, materialise } from '../tree/materialise.js'
import type { Tree } from '../tree/model.js'

/** Fills the volumes in a bundle's directory; nothing is made for an image without. Synced when it returns. */
export async function makeVolumes(
  config: ImageConfig,
  tree: () => Tree,
  objects: ObjectReader,
  directory: string,
  options: MaterialiseOptions,
): Promise<void> {
  const volumes = planVolumes(config)
  if (volumes.length === 0) return
  const above = `${directory}/${VOLUMES_DIRECTORY}`
  mkdirSync(above)
  chmodSync(above, 0o700)
  for (const volume of volumes) {
    await materialise(volumeTree(tree(), volume), objects, `${directory}/${volume.directory}`, options)
  }
  const fd = openSync(above, 'r')
  try {
    syncFilesystem(fd)
  } finally {
    closeSync(fd)
  }
}
