/**
 * A registry in this process, for what real ones do rarely: it serves manifests and blobs, and a test may take over any
 * request to answer it badly.
 */
import http from 'node:http'
import https from 'node:https'
import type { AddressInfo } from 'node:net'
import { type Digest, sha256 } from '../../../lib/digest.js'
import type { Descriptor } from '../../../lib/image/manifest.js'
import { OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST } from '../../../lib/image/media-types.js'
import type { Certificate } from './certificate.js'

interface SeenRequest {
  readonly path: string
  readonly headers: http.IncomingHttpHeaders
}

/** Answers a request and returns true, or leaves it to the registry. */
type Fault = (request: http.IncomingMessage, response: http.ServerResponse) => boolean

export interface FakeRegistry extends AsyncDisposable {
  /** `127.0.0.1:PORT` */
  readonly host: string
  readonly origin: string
  readonly seen: SeenRequest[]
  fault: Fault
  putBlob(bytes: Uint8Array, mediaType?: string): Descriptor
  /** Stores a manifest or an index under its digest, and under a tag. */
  putManifest(document: object, tag?: string): Descriptor
  /** A whole image of layers with these bytes, which are their own diff ids. */
  putImage(layers: readonly Uint8Array[], options?: { tag?: string; platform?: object }): Descriptor
}

export const REPOSITORY = 'some/image'

/** @param options for TLS: a certificate with its key, and what else Node's https servers take */
export async function startRegistry(options?: Certificate & https.ServerOptions): Promise<FakeRegistry> {
  const blobs = new Map<string, Uint8Array>()
  const manifests = new Map<string, { bytes: Uint8Array; mediaType: string }>()
  const seen: SeenRequest[] = []

  const listener: http.RequestListener = (request, response) => {
    const path = request.url ?? ''
    seen.push({ path, headers: request.headers })
    if (registry.fault(request, response)) return
    const manifest = manifests.get(path.replace(`/v2/${REPOSITORY}/manifests/`, ''))
    const blob = blobs.get(path.replace(`/v2/${REPOSITORY}/blobs/`, ''))
    if (path === '/v2/') response.end('{}')
    else if (manifest !== undefined)
      respond(response, 200, manifest.bytes, { 'content-type': manifest.mediaType })
    else if (blob !== undefined) respondBlob(request, response, blob)
    else complain(response, 404, 'MANIFEST_UNKNOWN', 'there is no such thing')
  }
  const server = options === undefined ? http.createServer(listener) : https.createServer(options, listener)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const host = `127.0.0.1:${(server.address() as AddressInfo).port}`

  const registry: FakeRegistry = {
    host,
    origin: `${options === undefined ? 'http' : 'https'}://${host}`,
    seen,
    fault: () => false,
    putBlob(bytes, mediaType = OCI_LAYER) {
      const digest = sha256(bytes)
      blobs.set(digest, bytes)
      return { mediaType, digest, size: bytes.length }
    },
    putManifest(document, tag) {
      const bytes = Buffer.from(JSON.stringify(document))
      const mediaType = 'manifests' in document ? OCI_INDEX : OCI_MANIFEST
      const digest = sha256(bytes)
      for (const name of tag === undefined ? [digest] : [digest, tag])
        manifests.set(name, { bytes, mediaType })
      return { mediaType, digest, size: bytes.length }
    },
    putImage(layers, { tag, platform = { os: 'linux', architecture: 'amd64' } } = {}) {
      const diffIds: Digest[] = layers.map(sha256)
      const config = { ...platform, rootfs: { type: 'layers', diff_ids: diffIds } }
      return this.putManifest(
        {
          schemaVersion: 2,
          mediaType: OCI_MANIFEST,
          config: this.putBlob(Buffer.from(JSON.stringify(config)), OCI_CONFIG),
          layers: layers.map((bytes) => this.putBlob(bytes)),
        },
        tag,
      )
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
  return registry
}

/** A blob, or the part of it that the request asks for by `Range: bytes=FIRST-[LAST]`. */
export function respondBlob(
  { headers }: http.IncomingMessage,
  response: http.ServerResponse,
  blob: Uint8Array,
): true {
  const [, first, last] = /^bytes=([0-9]+)-([0-9]*)$/.exec(headers.range ?? '') ?? []
  if (first === undefined) return respond(response, 200, blob, { 'content-type': 'application/octet-stream' })
  if (Number(first) >= blob.length)
    return respond(response, 416, '', { 'content-range': `bytes */${blob.length}` })
  const end = last === '' ? blob.length : Number(last) + 1
  return respond(response, 206, blob.subarray(Number(first), end), {
    'content-range': `bytes ${first}-${end - 1}/${blob.length}`,
  })
}

export function respond(
  response: http.ServerResponse,
  status: number,
  body: Uint8Array | string,
  headers: http.OutgoingHttpHeaders = {},
): true {
  response.writeHead(status, { 'content-length': Buffer.byteLength(body), ...headers })
  response.end(body)
  return true
}

export function complain(response: http.ServerResponse, status: number, code: string, message: string): true {
  return respond(response, status, JSON.stringify({ errors: [{ code, message }] }), {
    'content-type': 'application/json',
  })
}

export function redirect(response: http.ServerResponse, location: string, status = 307): true {
  return respond(response, status, '', { location })
}
