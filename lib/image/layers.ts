/**
 * The layers of an image: what the manifest says of the blobs, put together with what the config says of their content.
 */
import type { DiffId } from '../digest.js'
import { ImageError } from '../errors.js'
import type { ImageConfig } from './config.js'
import type { Descriptor, Manifest } from './manifest.js'
import { checkConfigType, layerCompression } from './media-types.js'

export interface ImageLayer {
  /** Digest of the plain tar, from the config's rootfs.diff_ids. */
  readonly diffId: DiffId
  /** The blob: media type, digest and size of its (compressed) bytes. */
  readonly descriptor: Descriptor
}

/**
 * Checks that a manifest describes an image, before anything that it names is fetched.
 *
 * @throws {ImageError} `media-type-unsupported` for an artifact, or for a layer of a kind that is not read
 */
export function checkManifestTypes(manifest: Manifest): void {
  checkConfigType(manifest.config.mediaType)
  for (const layer of manifest.layers) layerCompression(layer.mediaType)
}

/**
 * Pairs the layers of the manifest with the diff ids of the config, base first (image-spec, config.md, "rootfs").
 *
 * The history of the config also lists steps that made no layer; it has no say here.
 *
 * @throws {ImageError} `layer-invalid` when there are more of one than of the other
 */
export function checkLayers(manifest: Manifest, config: ImageConfig): ImageLayer[] {
  const { layers } = manifest
  const { diffIds } = config
  if (layers.length !== diffIds.length) {
    throw new ImageError(
      'layer-invalid',
      `Cannot use the image: its manifest has ${layers.length} layers, its config has ${diffIds.length} diff ids`,
      { facts: { layers: layers.length, diffIds: diffIds.length } },
    )
  }
  return layers.map((descriptor, index) => ({ diffId: diffIds[index]!, descriptor }))
}
