/**
 * Faults for the registry of the tests: what a network, a load balancer or a hostile registry does to a request.
 *
 * A script says what becomes of the requests for one thing, one after the other; those after the last are served well.
 */

import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import type http from 'node:http'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Descriptor } from '../../../lib/image/manifest.js'
import { type FakeRegistry, respond, respondBlob } from './fake-registry.js'

/** Answers one request badly; what it does not answer is served well. */
export type Fault = (request: IncomingMessage, response: ServerResponse) => unknown

/** Which requests a script is for. */
export type Matcher = (path: string) => boolean

export const manifests: Matcher = (path) => path.includes('/manifests/')
export const blobs: Matcher = (path) => path.includes('/blobs/')
export const blob =
  ({ digest }: Pick<Descriptor, 'digest'>): Matcher =>
  (path) =>
    path.includes(`/blobs/${digest}`)

/** Sets what becomes of requests; scripts that were set before stay, and come after. */
export function script(registry: FakeRegistry, matches: Matcher, faults: readonly Fault[] | Fault): void {
  const before = registry.fault
  const left = Array.isArray(faults) ? [...faults] : null
  registry.fault = (request, response) => {
    if (matches(request.url ?? '')) {
      const fault = left === null ? (faults as Fault) : left.shift()
      if (fault !== undefined && fault !== well) {
        fault(request, response)
        return true
      }
    }
    return before(request, response)
  }
}

/** No fault at all. */
export const well: Fault = () => undefined

export const status =
  (code: number, headers: http.OutgoingHttpHeaders = {}, body = ''): Fault =>
  (_, response) =>
    respond(response, code, body, headers)

/** The connection is reset before there is an answer. */
export const reset: Fault = ({ socket }) => socket.resetAndDestroy()

/** The connection is closed before there is an answer. */
export const hangUp: Fault = ({ socket }) => socket.destroy()

/** There is no answer. */
export const silence: Fault = () => undefined

/** What the request asks for of these bytes, until so many have been sent; then the connection breaks. */
export const cutAfter =
  (count: number, bytes: Uint8Array, { ignoresRange = false } = {}): Fault =>
  (request, response) => {
    const [, first = '0'] = ignoresRange ? [] : (/^bytes=([0-9]+)-/.exec(request.headers.range ?? '') ?? [])
    const from = Number(first)
    const size = bytes.length
    const range = from > 0 ? { 'content-range': `bytes ${from}-${size - 1}/${size}` } : {}
    response.writeHead(from > 0 ? 206 : 200, { 'content-length': size - from, ...range })
    const part = bytes.subarray(from, from + count)
    // What is cut is what comes after, not what is still on its way.
    response.write(part, () => setTimeout(() => request.socket.destroy(), 20))
  }

/** The same, and then nothing. */
export const stopAfter =
  (count: number, bytes: Uint8Array): Fault =>
  (_, response) => {
    response.writeHead(200, { 'content-length': bytes.length })
    response.write(bytes.subarray(0, count))
  }

/** Other bytes, as many. */
export const lie =
  (bytes: Uint8Array): Fault =>
  (request, response) =>
    respondBlob(request, response, Buffer.from(bytes).fill(0x20, bytes.length >> 1))

/** All of it, whatever part was asked for. */
export const wholesale =
  (bytes: Uint8Array): Fault =>
  (_, response) =>
    respond(response, 200, bytes)

/** A 206 with this Content-Range, or none. */
export const partial =
  (range: string | undefined, body: Uint8Array): Fault =>
  (_, response) =>
    respond(response, 206, body, range === undefined ? {} : { 'content-range': range })

export const redirectTo =
  (location: string, code = 307): Fault =>
  (_, response) =>
    respond(response, code, '', { location })

/** The requests that were made for something. */
export function requests(registry: FakeRegistry, matches: Matcher): FakeRegistry['seen'] {
  return registry.seen.filter(({ path }) => matches(path))
}

/** Every origin that this process sends a request to, as long as it watches. */
export function watchOrigins(): { readonly origins: Set<string> } & Disposable {
  const origins = new Set<string>()
  const note = (message: unknown) => {
    const { request } = message as { request: http.ClientRequest }
    origins.add(`${request.protocol}//${request.getHeader('host')}`)
  }
  subscribe('http.client.request.start', note)
  return { origins, [Symbol.dispose]: () => void unsubscribe('http.client.request.start', note) }
}
