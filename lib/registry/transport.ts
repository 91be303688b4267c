/**
 * One request over http or https, within limits.
 *
 * Here are the rules that hold whatever is asked for: who gets what is secret, which redirects are followed, how long to
 * wait, what an address may be. What a status means and how to get credentials is not known here, and nothing is tried
 * twice.
 */
import fetch from 'node-fetch'
import { RegistryError, throwIfAborted } from '../errors.js'
import { maySend, type Place, placeOfHost } from './addresses.js'
import { Answer } from './answer.js'
import { type Access, ConnectionPools, type LimitedAgent } from './connections.js'
import type { ProxySettings } from './hosts.js'
import { proxyRule } from './proxy.js'
import { type Timeouts, Watch } from './watch.js'

export interface Request {
  readonly url: URL
  /** In lower case; nothing secret, because they go along on redirects. */
  readonly headers: Readonly<Record<string, string>>
  /** Goes to the origin of `url` and to no other. */
  readonly authorization?: string
  /** Further headers that go to the origin of `url` and to no other. */
  readonly ownHeaders?: Readonly<Record<string, string>>
  /** A form to POST instead of a GET. It may be secret, so no redirect is followed. */
  readonly form?: URLSearchParams
  /** Who made us go to `url`, when it was not the user. */
  readonly sentBy?: URL
  /** How to connect to the endpoint that this is about. */
  readonly access?: Access
  /** Until the body is at its end, in milliseconds; absent for bodies that may take their time. */
  readonly wholeMs?: number
  readonly signal: AbortSignal
}

export interface Transport {
  /**
   * Sends a GET and follows redirects.
   *
   * @returns the answer, whatever its status; its body has to be read or discarded
   * @throws {RegistryError} `registry-unreachable`, `registry-timeout`, `registry-protocol`, `redirect-refused`
   * @throws {AbortedError}
   */
  send(request: Request): Promise<Answer>
  /** Closes every connection, also those with a body under way. */
  close(): void
}

export interface TransportOptions {
  /** Until TCP and TLS are set up. Default 20 s. */
  readonly connectTimeoutMs?: number
  /** Until the headers have come, and between two pieces of a body. Default 60 s. */
  readonly idleTimeoutMs?: number
  /** What a body has to bring on the whole, once the idle time was spent on waiting for it. Default 1024. */
  readonly minBytesPerSecond?: number
  /** Certificates to trust besides those that Node trusts: PEM texts. Looked at when TLS is spoken. */
  readonly certificates?: readonly string[]
  readonly proxies?: ProxySettings
}

/** Until TCP and TLS are set up, where nobody says otherwise. */
export const CONNECT_TIMEOUT_MS = 20_000
const IDLE_TIMEOUT_MS = 60_000
const MIN_BYTES_PER_SECOND = 1024 // less than a modem; a gigabyte would take twelve days
const MAX_REDIRECTS = 10
const USER_AGENT = 'groot'

/** @throws {UsageError} `option-invalid` for a proxy that is none */
export function createTransport(options: TransportOptions = {}): Transport {
  const { connectTimeoutMs = CONNECT_TIMEOUT_MS } = options
  const { idleTimeoutMs = IDLE_TIMEOUT_MS, minBytesPerSecond = MIN_BYTES_PER_SECOND } = options
  const timeouts = { connectMs: connectTimeoutMs, idleMs: idleTimeoutMs, minBytesPerSecond }
  const places = new Map<string, Place>()
  const onLookup = (name: string, place: Place) => void places.set(name, place)
  const proxyFor = proxyRule(options.proxies ?? {})
  const pools = new ConnectionPools({
    connectMs: connectTimeoutMs,
    get certificates() {
      return options.certificates ?? []
    },
    proxyFor,
    onLookup,
  })

  return {
    async send(request) {
      const { signal, access = null, sentBy = request.url } = request
      let { url } = request
      let hasLeft = false
      for (let hops = 0; ; hops++) {
        throwIfAborted(signal)
        // A host that the user named may be anywhere.
        const from = url.hostname === sentBy.hostname ? 'link' : placeOf(sentBy, places)
        checkUrl(url, sentBy, from)
        const agent = pools.agentFor(url, access, hasLeft, from)
        const answer = await sendOnce(request, url, hasLeft, agent, timeouts)
        const next = redirectOf(answer)
        if (next === null) return answer
        await answer.discard()
        if (request.form !== undefined) throw refused(url, next, 'what was sent is not sent anywhere else')
        if (hops === MAX_REDIRECTS)
          throw refused(url, next, `there are more than ${MAX_REDIRECTS} redirects in a row`)
        if (url.protocol === 'https:' && next.protocol !== 'https:')
          throw refused(url, next, 'it leaves https')
        // Once left for ever left: what a stranger sends us back to is the stranger's choice.
        if (next.origin !== url.origin) hasLeft = true
        url = next
      }
    },
    close() {
      pools.destroy()
    },
  }
}

async function sendOnce(
  { headers, authorization, ownHeaders, form, wholeMs, signal }: Request,
  url: URL,
  hasLeft: boolean,
  { agent, connectMs }: LimitedAgent,
  timeouts: Timeouts,
): Promise<Answer> {
  const watch = new Watch(signal, { ...timeouts, connectMs }, url, wholeMs ?? null)
  const isWithheld = hasLeft || authorization === undefined
  try {
    const response = await watch.during('answer', () =>
      fetch(url, {
        headers: {
          'user-agent': USER_AGENT,
          ...(hasLeft ? {} : ownHeaders),
          // What arrives has to be what the digest is of.
          'accept-encoding': 'identity',
          ...headers,
          ...(isWithheld ? {} : { authorization }),
        },
        ...(form === undefined ? {} : { method: 'POST', body: form }),
        agent,
        compress: false,
        redirect: 'manual',
        signal: watch.signal,
      }),
    )
    return new Answer(response, url, watch)
  } catch (thrown) {
    watch.close()
    throw watch.explain(thrown)
  }
}

/** Checks where a request is about to go: an address that the user gave passes by definition. */
function checkUrl(url: URL, sentBy: URL, from: Place): void {
  if (url.protocol !== 'https:' && url.protocol !== 'http:')
    throw refused(sentBy, url, 'only http and https are followed')
  if (url.username !== '' || url.password !== '')
    throw refused(sentBy, url, 'it carries a user name or password')
  if (!maySend(from, placeOfHost(url.hostname)))
    throw refused(sentBy, url, 'registries may not send us to addresses of this machine or its link')
}

/** By its name alone, else by what the name led to when it was looked up. */
function placeOf(url: URL, places: ReadonlyMap<string, Place>): Place {
  const place = placeOfHost(url.hostname)
  return place === 'far' ? (places.get(url.hostname) ?? 'far') : place
}

const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308])

function redirectOf(answer: Answer): URL | null {
  const location = answer.header('location')
  if (!REDIRECTS.has(answer.status) || location === null) return null
  if (!URL.canParse(location, answer.url.href)) {
    answer.abandon()
    throw new RegistryError(
      'registry-protocol',
      `Cannot follow the redirect of "${answer.url.host}": its Location is no address`,
      { facts: { registry: answer.url.host, status: answer.status } },
    )
  }
  return new URL(location, answer.url.href)
}

function refused(from: URL, to: URL, why: string): RegistryError {
  // Path and query of a redirect may be signed, so only the origin is shown.
  const target = `${to.protocol}//${to.host}`
  return new RegistryError('redirect-refused', `Cannot follow "${from.host}" to "${target}": ${why}`, {
    facts: { from: from.origin, to: target },
  })
}
