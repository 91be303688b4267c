/**
 * A registry as the distribution-spec has it ("Pull"): manifests by tag or digest, blobs by descriptor.
 *
 * Knows addresses, statuses and what registries say when they say no. Limits and redirects are the transport's, who gets
 * credentials is auth's; which manifest is wanted, the caller knows. Nothing is tried twice, but once after a challenge.
 */
import { type Digest, isDigest, sha256 } from '../digest.js'
import { ImageError } from '../errors.js'
import { MAX_DOCUMENT_BYTES, quote } from '../image/json.js'
import type { Descriptor } from '../image/manifest.js'
import { DOCKER_INDEX, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST } from '../image/media-types.js'
import { checkDocumentSize, verifyDigest } from '../image/verify.js'
import type { Answer } from './answer.js'
import { type Credentials, createAuthenticator } from './auth.js'
import { exactBody } from './blob-body.js'
import { createEndpoint } from './endpoint.js'
import { readComplaint, statusError, type Wanted } from './status.js'
import { createTransport, type Transport } from './transport.js'

export interface ClientOptions {
  /** `host[:port]` in normal form. */
  readonly registry: string
  /** Registries that may be talked to over http, in normal form. */
  readonly insecureRegistries: readonly string[]
  readonly credentials?: Credentials
  readonly transport?: Transport
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
 * One registry, for one operation. All methods may be called at once, and throw RegistryError, AuthError and AbortedError
 * besides what stands with them.
 */
export interface RegistryClient {
  /**
   * Gets a manifest or an index, at most 4 MiB. By digest the bytes are checked; a tag is looked up anew each time, so
   * ask once and go on with the digest.
   *
   * @throws {NotFoundError} `image-missing`
   * @throws {IntegrityError} `digest-mismatch`, also when the registry itself announces another digest
   * @throws {ImageError} `limit-exceeded`
   */
  getManifest(repository: string, reference: string, signal: AbortSignal): Promise<ManifestAnswer>
  /**
   * Opens a blob: at most as many bytes as the descriptor says, not verified otherwise. Leaving the loop closes the
   * connection.
   *
   * @throws {NotFoundError} `blob-missing`
   * @throws {IntegrityError} `size-mismatch` here or in the loop, when it is longer or announced with another length
   * @throws {RegistryError} `blob-cut` in the loop, when it is shorter
   */
  getBlob(repository: string, blob: Descriptor, signal: AbortSignal): Promise<AsyncIterable<Uint8Array>>
  /** A small blob as a whole; throws as getBlob does, and `limit-exceeded` beyond 4 MiB. Not verified either. */
  readBlob(repository: string, blob: Descriptor, signal: AbortSignal): Promise<Uint8Array>
  close(): void
}

const MANIFEST_TYPES = [OCI_INDEX, OCI_MANIFEST, DOCKER_INDEX, DOCKER_MANIFEST].join(', ')

export function createClient(options: ClientOptions): RegistryClient {
  const { registry, transport = createTransport() } = options
  const get = createGet(options, transport)

  async function getBlob(repository: string, blob: Descriptor, signal: AbortSignal) {
    const wanted: Wanted = { kind: 'blob', registry, repository, reference: blob.digest }
    return exactBody(await get(wanted, `/v2/${repository}/blobs/${blob.digest}`, '*/*', signal), blob)
  }

  return {
    async getManifest(repository, reference, signal) {
      const wanted: Wanted = { kind: 'manifest', registry, repository, reference }
      const answer = await get(wanted, `/v2/${repository}/manifests/${reference}`, MANIFEST_TYPES, signal)
      const bytes = await readManifest(answer, wanted)
      const announced = answer.header('docker-content-digest')
      if (isDigest(reference)) verifyDigest('manifest', bytes, reference)
      else if (isDigest(announced)) verifyDigest('manifest', bytes, announced)
      const mediaType = answer.header('content-type')
      const digest = isDigest(reference) ? reference : sha256(bytes)
      return { bytes, digest, size: bytes.length, ...(mediaType === null ? {} : { mediaType }) }
    },

    getBlob,

    async readBlob(repository, blob, signal) {
      checkDocumentSize('blob', blob)
      const pieces: Uint8Array[] = []
      for await (const piece of await getBlob(repository, blob, signal)) pieces.push(piece)
      return Buffer.concat(pieces)
    },

    close() {
      transport.close()
    },
  }
}

/** Gets a path of the registry; any status but 200 is an error. */
type Get = (wanted: Wanted, path: string, accept: string, signal: AbortSignal) => Promise<Answer>

function createGet({ registry, insecureRegistries, credentials }: ClientOptions, transport: Transport): Get {
  const endpoint = createEndpoint(registry, insecureRegistries, transport)
  const auth = createAuthenticator({
    transport,
    insecureHosts: new Set(insecureRegistries.map((name) => new URL(`http://${name}`).host)),
    ...(credentials === undefined ? {} : { credentials }),
  })

  return async (wanted, path, accept, signal) => {
    const base = await endpoint(signal)
    const send = (authorization: string | undefined) => {
      const request = { url: new URL(path, base), headers: { accept }, signal }
      return transport.send(authorization === undefined ? request : { ...request, authorization })
    }
    // Whoever answers from another origin, after a redirect, has no right to challenge us.
    const isOwn = ({ url }: Answer) => url.origin === base.origin
    let answer = await send(auth.header(wanted.repository))
    if (answer.status === 401 && isOwn(answer)) {
      const challenge = answer.header('www-authenticate')
      await answer.discard()
      answer = await send(await auth.answer(challenge, base, wanted.repository, signal))
    }
    if (answer.status === 200) return answer
    const complaint = await readComplaint(answer, auth.redact)
    if (isOwn(answer) && (answer.status === 401 || answer.status === 403)) {
      throw auth.denied(base, wanted.repository, answer.status, complaint)
    }
    throw statusError(answer, wanted, complaint)
  }
}

async function readManifest(
  answer: Answer,
  { registry, repository, reference }: Wanted,
): Promise<Uint8Array> {
  const bytes = await answer.read(MAX_DOCUMENT_BYTES)
  if (bytes !== null) return bytes
  throw new ImageError(
    'limit-exceeded',
    `Cannot read the manifest ${quote(reference)} of "${repository}": it has more than ${MAX_DOCUMENT_BYTES} bytes`,
    { facts: { registry, repository, reference, limit: MAX_DOCUMENT_BYTES } },
  )
}
