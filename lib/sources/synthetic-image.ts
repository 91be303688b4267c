/**
 * Manifests for sources that have none of their own: made from config and layers, the same bytes for the same content.
 *
 * So the digest of such an image names its content, whatever file or directory it came from, and whenever.
 */
import type { DiffId } from '../digest.js'
import { sha256 } from '../digest.js'
import { parseConfig } from '../image/config.js'
import { checkLayers, type ImageLayer } from '../image/layers.js'
import { parseManifest } from '../image/manifest.js'
import { OCI_CONFIG, OCI_LAYER, OCI_MANIFEST } from '../image/media-types.js'
import type { Platform } from '../image/platform.js'
import type { Compression } from '../layer/decompress.js'
import type { ResolvedImage } from './source.js'

/** A layer for the manifest: media type, digest and size. */
export type LayerDescriptor = ImageLayer['descriptor']

/** How a layer with this compression is described. */
export function layerMediaType(compression: Compression): string {
  return compression === 'none' ? OCI_LAYER : `${OCI_LAYER}+${compression}`
}

/**
 * Makes an image of a config and layers.
 *
 * @param layers base first; as many as the config has diff ids
 * @throws {ImageError} `config-invalid`, `layer-invalid`
 */
export function imageOf(
  reference: string,
  configBytes: Uint8Array,
  layers: readonly LayerDescriptor[],
): ResolvedImage {
  const config = parseConfig(configBytes)
  // The order of the keys is part of the digest: schema, type, config, layers, as the image-spec has them.
  const manifestBytes = json({
    schemaVersion: 2,
    mediaType: OCI_MANIFEST,
    config: { mediaType: OCI_CONFIG, digest: sha256(configBytes), size: configBytes.length },
    layers: layers.map(({ mediaType, digest, size }) => ({ mediaType, digest, size })),
  })
  const manifest = parseManifest(manifestBytes)
  return {
    reference,
    digest: sha256(manifestBytes),
    manifestBytes,
    manifest,
    configBytes,
    config,
    layers: checkLayers(manifest, config),
  }
}

/** The least config that makes an image of one layer: what it runs on, and the layer. */
function minimalConfig(diffId: DiffId, { os, architecture, variant }: Platform): Uint8Array {
  return json({
    architecture,
    os,
    ...(variant === undefined ? {} : { variant }),
    config: {},
    rootfs: { type: 'layers', diff_ids: [diffId] },
  })
}

/**
 * An image of one layer that is all there is: a tar or a directory.
 *
 * The manifest describes the plain tar, so that the image is the same however the tar was compressed; only the layer
 * that is read says what the bytes at hand are.
 *
 * @param plainBytes size of the plain tar
 * @param blob what is read
 */
export function imageOfOneLayer(
  reference: string,
  platform: Platform,
  diffId: DiffId,
  plainBytes: number,
  blob: LayerDescriptor,
): ResolvedImage {
  const plain = { mediaType: OCI_LAYER, digest: diffId, size: plainBytes }
  const image = imageOf(reference, minimalConfig(diffId, platform), [plain])
  return { ...image, layers: [{ diffId, descriptor: blob }] }
}

function json(value: unknown): Uint8Array {
  return Buffer.from(JSON.stringify(value))
}
