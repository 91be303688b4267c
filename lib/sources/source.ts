/**
 * Where images come from: each source is one implementation of ImageSource and one line in the table of open.ts.
 *
 * A source hands out bytes and says what they should be; verifying blobs is the work of the ingest that reads them.
 * Manifests and configs are verified by the source (size and digest of the descriptor) before they are parsed.
 */
import type { Digest } from '../digest.js'
import type { GrootError } from '../errors.js'
import type { EventSink } from '../events.js'
import type { ImageConfig } from '../image/config.js'
import type { ImageLayer } from '../image/layers.js'
import type { Manifest } from '../image/manifest.js'
import type { Platform } from '../image/platform.js'
import type { LayerLimits } from '../layer/limits.js'

export type { ImageLayer }

/** An image, resolved once: everything after goes by digest. */
export interface ResolvedImage {
  /** What the user asked for, in full form: `docker://registry-1.docker.io/library/alpine:latest`. */
  readonly reference: string
  /** Digest of the manifest bytes (of one made from the contents for sources without a manifest). */
  readonly digest: Digest
  readonly manifestBytes: Uint8Array
  readonly manifest: Manifest
  readonly configBytes: Uint8Array
  readonly config: ImageConfig
  /** Base first; as many as diff_ids. */
  readonly layers: readonly ImageLayer[]
}

/** The bytes of a blob, not verified yet. A file region is read by the ingest itself, on its own thread. */
export type BlobContent =
  | { readonly kind: 'file'; readonly path: string; readonly offset: number; readonly length: number }
  | {
      readonly kind: 'stream'
      readonly chunks: AsyncIterable<Uint8Array>
      /**
       * Says that the bytes were not what the descriptor says.
       *
       * @param error what was found: `digest-mismatch` or `size-mismatch`
       * @returns null when openBlob has another place to get them from; else the error to throw, which says who was asked
       */
      refuse?(error: GrootError): GrootError | null
    }

export interface ResolveOptions {
  readonly platform: Platform
  readonly signal: AbortSignal
  /**
   * The image that a manifest of this digest and size makes for this platform, where it was read lately. A source that knows
   * the digest may ask before it reads documents that it would only verify to be the same.
   */
  known?(digest: Digest, size: number): ResolvedImage | null
}

export interface SourceContext {
  readonly events: EventSink
  /** Of the image that is asked for. */
  readonly limits: LayerLimits
  /** A private directory for temporary files, made on first use and removed by the caller. */
  scratch(): Promise<string>
}

export interface ImageSource extends AsyncDisposable {
  /**
   * The reference in full form when it names its image by digest, so that it means the same for ever and a cached image
   * needs no look at the source; absent otherwise.
   */
  readonly pinned?: string
  /** The reference in full form, of sources that may be out of reach; absent for files of this machine. */
  readonly name?: string
  /** @throws {ImageError | RegistryError | AuthError | NotFoundError | IntegrityError} */
  resolve(options: ResolveOptions): Promise<ResolvedImage>
  /** Opens a layer of the image that resolve returned. May be called for several at once. */
  openBlob(layer: ImageLayer, signal: AbortSignal): Promise<BlobContent>
}
