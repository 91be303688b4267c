/**
 * Where an endpoint answers: https, or http where the user allows it.
 *
 * A registry that is named as insecure is talked to over http. One on this machine's loopback is as well, because nobody
 * listens in there and it hardly ever has a certificate; if what answers is not http, it is https after all. Every other
 * registry is talked to over https, and no failure changes that.
 */
import { type GrootError, isGrootError } from '../errors.js'
import type { Access } from './connections.js'
import type { RegistryEndpoint } from './hosts.js'
import type { Transport } from './transport.js'

/** The base address of an endpoint; asks the endpoint itself at most once, and only where there is a choice. */
export type Base = (signal: AbortSignal) => Promise<URL>

const PROBE_TIMEOUT_MS = 60_000

export function endpointBase(endpoint: RegistryEndpoint, access: Access, transport: Transport): Base {
  const secure = new URL(`https://${endpoint.host}`)
  const plain = new URL(`http://${endpoint.host}`)
  const asked = (base: URL, signal: AbortSignal) =>
    probe(
      { url: new URL(`${endpoint.path}/`, base), headers: {}, access, wholeMs: PROBE_TIMEOUT_MS, signal },
      transport,
    )
  let known: URL | null = null
  return async (signal) => {
    switch (endpoint.security) {
      case 'verified':
      case 'unverified':
        return secure
      case 'plain':
        return plain
      case 'loopback':
        known ??= (await asked(plain, signal)) ? plain : secure
        return known
      case 'any':
        known ??= (await asked(secure, signal)) ? secure : plain
        return known
      default:
        return endpoint.security satisfies never
    }
  }
}

/** Whether the scheme of the request is spoken there. */
async function probe(request: Parameters<Transport['send']>[0], transport: Transport): Promise<boolean> {
  try {
    const answer = await transport.send(request)
    await answer.discard()
    return answer.status !== 400 // what some TLS servers say to plain http
  } catch (error) {
    if (!isGrootError(error)) throw error
    if (request.url.protocol === 'https:' ? isNotTls(error) : isNotHttp(error)) return false
    throw error
  }
}

// A TLS server that gets plain http answers with an alert or hangs up.
function isNotHttp({ code, facts }: GrootError): boolean {
  return code === 'registry-protocol' || facts.reason === 'ECONNRESET'
}

// Only an answer that is no TLS counts; who hangs up, or cannot agree on a version, gets no second try without it.
function isNotTls({ facts }: GrootError): boolean {
  return (
    typeof facts.reason === 'string' &&
    /^(?:EPROTO|ERR_SSL_WRONG_VERSION_NUMBER|ERR_SSL_PACKET_LENGTH_TOO_LONG)$/.test(facts.reason)
  )
}
