/**
 * Where a registry answers: https, or http where the user allows it.
 *
 * A registry that is named as insecure is talked to over http. One on this machine's loopback is as well, because nobody
 * listens in there and it hardly ever has a certificate; if what answers is not http, it is https after all. Every other
 * registry is talked to over https, and no failure changes that.
 */
import { isGrootError } from '../errors.js'
import { isLoopbackHost } from './addresses.js'
import type { Transport } from './transport.js'

/** The base address of a registry; asks the registry itself at most once. */
export type Endpoint = (signal: AbortSignal) => Promise<URL>

/**
 * @param registry `host[:port]` in normal form
 * @param insecureRegistries in the same form
 */
export function createEndpoint(
  registry: string,
  insecureRegistries: readonly string[],
  transport: Transport,
): Endpoint {
  const secure = new URL(`https://${registry}`)
  const plain = new URL(`http://${registry}`)
  let known: URL | null = null
  if (insecureRegistries.includes(registry)) known = plain
  else if (!isLoopbackHost(secure.hostname)) known = secure
  return async (signal) => {
    known ??= (await speaksHttp(plain, transport, signal)) ? plain : secure
    return known
  }
}

async function speaksHttp(base: URL, transport: Transport, signal: AbortSignal): Promise<boolean> {
  try {
    const answer = await transport.send({ url: new URL('/v2/', base), headers: {}, signal })
    await answer.discard()
    return answer.status !== 400 // what some TLS servers say to plain http
  } catch (error) {
    // A TLS server that gets plain http answers with an alert or hangs up.
    if (!isGrootError(error)) throw error
    if (error.code === 'registry-protocol' || error.facts.reason === 'ECONNRESET') return false
    throw error
  }
}
