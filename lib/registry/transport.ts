/**
 * One request over http or https, within limits.
 *
 * Here are the rules that hold whatever is asked for: who gets Authorization, which redirects are followed, how long to
 * wait, what an address may be. What a status means and how to get credentials is not known here, and nothing is tried
 * twice.
 */
import http from 'node:http'
import https from 'node:https'
import type net from 'node:net'
import tls from 'node:tls'
import fetch from 'node-fetch'
import { RegistryError, throwIfAborted } from '../errors.js'
import { isLocalHost, watchfulLookup } from './addresses.js'
import { Answer } from './answer.js'
import { ConnectTimeoutError } from './network-error.js'
import { type Timeouts, Watch } from './watch.js'

export interface Request {
  readonly url: URL
  /** In lower case; nothing secret, because they go along on redirects. */
  readonly headers: Readonly<Record<string, string>>
  /** Goes to the origin of `url` and to no other. */
  readonly authorization?: string
  /** Who made us go to `url`, when it was not the user. */
  readonly sentBy?: URL
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
  /** Certificates to trust besides those that Node trusts: PEM. */
  readonly certificates?: string
}

const MAX_REDIRECTS = 10
const USER_AGENT = 'groot'

export function createTransport(options: TransportOptions = {}): Transport {
  const timeouts = { connectMs: options.connectTimeoutMs ?? 20_000, idleMs: options.idleTimeoutMs ?? 60_000 }
  const localNames = new Set<string>()
  const { certificates } = options
  const noteLookup = (name: string, isLocal: boolean) => {
    if (isLocal) localNames.add(name)
    else localNames.delete(name)
  }
  // Two pools, so that a connection made for someone who may reach local addresses is not handed to who may not.
  const direct = new Connections(timeouts.connectMs, certificates, watchfulLookup(noteLookup, true))
  const guarded = new Connections(
    timeouts.connectMs,
    certificates,
    watchfulLookup(() => {}, false),
  )

  return {
    async send(request) {
      const { signal, sentBy = request.url } = request
      let { url, authorization } = request
      for (let hops = 0; ; hops++) {
        throwIfAborted(signal)
        checkUrl(url, sentBy, localNames)
        const isOwn = url.hostname === sentBy.hostname || isLocal(sentBy, localNames)
        const pool = isOwn ? direct : guarded
        const answer = await sendOnce({ ...request, url }, authorization, pool, timeouts)
        const next = redirectOf(answer)
        if (next === null) return answer
        await answer.discard()
        if (hops === MAX_REDIRECTS)
          throw refused(url, next, `there are more than ${MAX_REDIRECTS} redirects in a row`)
        if (url.protocol === 'https:' && next.protocol !== 'https:')
          throw refused(url, next, 'it leaves https')
        // Once gone it stays gone: what a stranger sends us back to is the stranger's choice.
        if (next.origin !== url.origin) authorization = undefined
        url = next
      }
    },
    close() {
      direct.destroy()
      guarded.destroy()
    },
  }
}

async function sendOnce(
  { url, headers, signal }: Request,
  authorization: string | undefined,
  connections: Connections,
  timeouts: Timeouts,
): Promise<Answer> {
  const watch = new Watch(signal, timeouts, url)
  try {
    const response = await watch.during('answer', () =>
      fetch(url, {
        headers: {
          'user-agent': USER_AGENT,
          // What arrives has to be what the digest is of.
          'accept-encoding': 'identity',
          ...headers,
          ...(authorization === undefined ? {} : { authorization }),
        },
        agent: connections.agentFor(url),
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
function checkUrl(url: URL, sentBy: URL, localNames: ReadonlySet<string>): void {
  if (url.protocol !== 'https:' && url.protocol !== 'http:')
    throw refused(sentBy, url, 'only http and https are followed')
  if (url.username !== '' || url.password !== '')
    throw refused(sentBy, url, 'it carries a user name or password')
  if (url.hostname !== sentBy.hostname && isLocalHost(url.hostname) && !isLocal(sentBy, localNames)) {
    throw refused(sentBy, url, 'registries may not send us to addresses of this machine or its link')
  }
}

function isLocal(url: URL, localNames: ReadonlySet<string>): boolean {
  return isLocalHost(url.hostname) || localNames.has(url.hostname)
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

/** A pool of connections for each scheme. */
class Connections {
  readonly #http: http.Agent
  readonly #https: https.Agent

  constructor(timeoutMs: number, certificates: string | undefined, lookup: net.LookupFunction) {
    const options = { keepAlive: true, maxFreeSockets: 4, lookup }
    // A list of one's own replaces the default one, so that has to be in it.
    const trust = certificates === undefined ? {} : { ca: [...tls.rootCertificates, certificates] }
    this.#http = new http.Agent(options)
    this.#https = new https.Agent({ ...options, ...trust })
    limitConnect(this.#http, 'connect', timeoutMs)
    limitConnect(this.#https, 'secureConnect', timeoutMs)
  }

  agentFor(url: URL): http.Agent {
    return url.protocol === 'https:' ? this.#https : this.#http
  }

  destroy(): void {
    this.#http.destroy()
    this.#https.destroy()
  }
}

/** Ends connections of an agent that are not set up in time. */
function limitConnect(agent: http.Agent, done: 'connect' | 'secureConnect', timeoutMs: number): void {
  const create = agent.createConnection.bind(agent)
  agent.createConnection = (options, callback) => {
    const socket = create(options, callback)
    if (socket) {
      const timer = setTimeout(() => socket.destroy(new ConnectTimeoutError('connect timeout')), timeoutMs)
      const stop = () => clearTimeout(timer)
      socket.once(done, stop)
      socket.once('close', stop)
    }
    return socket
  }
}
