/**
 * An image of a registry as the distribution-spec has it ("Pull"): manifests by tag or digest, blobs by descriptor, from
 * whichever endpoint has them.
 *
 * What belongs to one endpoint is in registry-host.ts, whom to ask next in failover.ts; which manifest is wanted, the
 * caller knows.
 */
import { type Digest, isDigest, sha256 } from '../digest.js'
import { AbortedError, ImageError, isGrootError } from '../errors.js'
import type { EventSink } from '../events.js'
import { MAX_DOCUMENT_BYTES, quote } from '../image/json.js'
import type { Descriptor } from '../image/manifest.js'
import { DOCKER_INDEX, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST } from '../image/media-types.js'
import { checkDocumentSize, verifyDigest, verifyDocument } from '../image/verify.js'
import type { Answer } from './answer.js'
import { BlobDownloads, type BlobStream, eager } from './download.js'
import { type Course, Failover } from './failover.js'
import type { Capability, HostConfiguration, WantedImage } from './hosts.js'
import { RegistryHost } from './registry-host.js'
import { type Clock, DEFAULT_RETRY, type RetryPolicy, SYSTEM_CLOCK } from './retry.js'
import { CONNECT_TIMEOUT_MS, createTransport, type Transport } from './transport.js'

export interface ClientOptions {
  readonly image: WantedImage
  readonly hosts: HostConfiguration
  readonly events?: EventSink
  /** Default: one of the client's own, with the proxies and certificates of the configuration. */
  readonly transport?: Transport
  /** Until it is said that nobody can be reached, all endpoints together. Default 20 s. */
  readonly connectTimeoutMs?: number
  readonly retry?: RetryPolicy
  readonly clock?: Clock
}

interface ManifestAnswer {
  readonly bytes: Uint8Array
  /** The digest that was asked for; for a tag, sha256 of the bytes. */
  readonly digest: Digest
  readonly size: number
  /** As the Content-Type says. */
  readonly mediaType?: string
}

/**
 * One image, for one operation. All methods may be called at once, and throw RegistryError, AuthError and AbortedError
 * besides what stands with them; the fact `attempts` has what was tried where.
 */
export interface RegistryClient {
  /**
   * Gets a manifest or an index, at most 4 MiB. By digest the bytes are checked; a tag is looked up anew each time, so
   * ask once and go on with the digest.
   *
   * @throws {NotFoundError} `image-missing`
   * @throws {IntegrityError} `digest-mismatch`, also when a registry itself announces another digest
   * @throws {ImageError} `limit-exceeded`
   */
  getManifest(reference: string, signal: AbortSignal): Promise<ManifestAnswer>
  /**
   * Opens a blob: exactly as many bytes as the descriptor says, not verified otherwise. Leaving the loop closes the
   * connection. What goes wrong is thrown in the loop.
   *
   * @throws {NotFoundError} `blob-missing`
   * @throws {IntegrityError} `size-mismatch`
   */
  getBlob(blob: Descriptor, signal: AbortSignal): Promise<BlobStream>
  /**
   * A small blob as a whole, verified.
   *
   * @throws {ImageError} `limit-exceeded` beyond 4 MiB
   * @throws {NotFoundError} `blob-missing`
   * @throws {IntegrityError} `size-mismatch`, `digest-mismatch`
   */
  readBlob(blob: Descriptor, signal: AbortSignal): Promise<Uint8Array>
  close(): void
}

const MANIFEST_TYPES = [OCI_INDEX, OCI_MANIFEST, DOCKER_INDEX, DOCKER_MANIFEST].join(', ')
const DOCUMENT_TIMEOUT_MS = 120_000 // 4 MiB at a modem's pace
/** Blobs whose first bytes are asked for before anybody reads them, so that their round trips overlap. */
const MAX_EAGER = 8

/** @throws {UsageError} `option-invalid` for proxies that are none */
export function createClient(options: ClientOptions): RegistryClient {
  return new Client(options)
}

class Client implements RegistryClient {
  readonly #options: ClientOptions
  readonly #transport: Transport
  readonly #course: Course
  readonly #downloads = new Map<string, BlobDownloads>()
  #hosts: Promise<readonly RegistryHost[]> | null = null
  #eager = 0
  readonly #closed = new AbortController()

  constructor(options: ClientOptions) {
    const { hosts, connectTimeoutMs: connectMs = CONNECT_TIMEOUT_MS } = options
    this.#options = options
    this.#course = {
      policy: options.retry ?? DEFAULT_RETRY,
      clock: options.clock ?? SYSTEM_CLOCK,
      events: options.events ?? (() => {}),
      connectMs,
    }
    this.#transport =
      options.transport ??
      createTransport({
        connectTimeoutMs: connectMs,
        // Looked at when TLS is spoken: the system's list takes longer to read than many an answer.
        get certificates() {
          return hosts.certificates ?? []
        },
        ...(hosts.proxies === undefined ? {} : { proxies: hosts.proxies }),
      })
  }

  async getManifest(reference: string, until: AbortSignal): Promise<ManifestAnswer> {
    const signal = this.#open(until)
    const hosts = await this.#hostsFor(isDigest(reference) ? 'pull' : 'resolve')
    const failover = new Failover(hosts, { kind: 'manifest', name: reference }, this.#course)
    for (;;) {
      const host = await failover.next(signal)
      try {
        return await askManifest(host, reference, signal)
      } catch (thrown) {
        failover.failed(host, thrown)
      }
    }
  }

  async getBlob(blob: Descriptor, signal: AbortSignal): Promise<BlobStream> {
    const stream = (await this.#downloadsOf(blob)).open(this.#open(signal))
    if (this.#eager >= MAX_EAGER) return stream
    this.#eager++
    return { ...stream, chunks: eager(stream.chunks, () => void this.#eager--) }
  }

  async readBlob(blob: Descriptor, signal: AbortSignal): Promise<Uint8Array> {
    checkDocumentSize('blob', blob)
    const downloads = await this.#downloadsOf(blob)
    for (;;) {
      const stream = downloads.open(this.#open(signal), DOCUMENT_TIMEOUT_MS)
      const pieces: Uint8Array[] = []
      for await (const piece of stream.chunks) pieces.push(piece)
      const bytes = Buffer.concat(pieces)
      try {
        verifyDocument('blob', bytes, blob)
        return bytes
      } catch (error) {
        if (!isGrootError(error)) throw error
        const final = stream.refuse(error)
        if (final !== null) throw final
      }
    }
  }

  close(): void {
    this.#closed.abort(new AbortedError('The image was closed while it was read'))
    this.#transport.close()
  }

  /** A signal that fires also when the client is closed, so that nothing is tried again after that. */
  #open(signal: AbortSignal): AbortSignal {
    return AbortSignal.any([signal, this.#closed.signal])
  }

  async #downloadsOf(blob: Descriptor): Promise<BlobDownloads> {
    const hosts = await this.#hostsFor('pull')
    const known = this.#downloads.get(`${blob.digest} ${blob.size}`)
    const downloads = known ?? new BlobDownloads(blob, hosts, this.#course)
    this.#downloads.set(`${blob.digest} ${blob.size}`, downloads)
    return downloads
  }

  async #hostsFor(capability: Capability): Promise<readonly RegistryHost[]> {
    this.#hosts ??= this.#configuredHosts()
    return (await this.#hosts).filter(({ endpoint }) => endpoint.capabilities.has(capability))
  }

  async #configuredHosts(): Promise<readonly RegistryHost[]> {
    const { hosts, image } = this.#options
    const endpoints = await hosts.endpointsFor(image)
    // All together they have the time that one alone would have.
    const connectMs = endpoints.length > 1 ? this.#course.connectMs / endpoints.length : null
    return endpoints.map((endpoint) => new RegistryHost(endpoint, hosts, this.#transport, connectMs))
  }
}

async function askManifest(
  host: RegistryHost,
  reference: string,
  signal: AbortSignal,
): Promise<ManifestAnswer> {
  const answer = await host.ask(
    { kind: 'manifest', reference, accept: MANIFEST_TYPES, statuses: [200], wholeMs: DOCUMENT_TIMEOUT_MS },
    signal,
  )
  const bytes = await readManifest(answer, host, reference)
  const announced = answer.header('docker-content-digest')
  if (isDigest(reference)) verifyDigest('manifest', bytes, reference)
  else if (isDigest(announced)) verifyDigest('manifest', bytes, announced)
  const mediaType = answer.header('content-type')
  const digest = isDigest(reference) ? reference : sha256(bytes)
  return { bytes, digest, size: bytes.length, ...(mediaType === null ? {} : { mediaType }) }
}

async function readManifest(
  answer: Answer,
  { endpoint: { host, repository } }: RegistryHost,
  reference: string,
): Promise<Uint8Array> {
  const bytes = await answer.read(MAX_DOCUMENT_BYTES)
  if (bytes !== null) return bytes
  throw new ImageError(
    'limit-exceeded',
    `Cannot read the manifest ${quote(reference)} of "${repository}": it has more than ${MAX_DOCUMENT_BYTES} bytes`,
    { facts: { registry: host, repository, reference, limit: MAX_DOCUMENT_BYTES } },
  )
}
