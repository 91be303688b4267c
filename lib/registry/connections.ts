/**
 * Connections to registries: pools of them, by what is trusted, what certificate is shown, and which addresses names may
 * lead to.
 *
 * A connection made on one endpoint's terms is never used on another's.
 */
import { X509Certificate } from 'node:crypto'
import http from 'node:http'
import https from 'node:https'
import type net from 'node:net'
import tls from 'node:tls'
import { UsageError } from '../errors.js'
import { type Place, watchfulLookup } from './addresses.js'
import type { RegistryEndpoint } from './hosts.js'
import { ConnectTimeoutError } from './network-error.js'
import type { ProxyRule } from './proxy.js'
import { ForwardAgent, TunnelAgent } from './proxy-agents.js'

/** How connections to one endpoint are made. Pools go by the identity of this, so make it once for each endpoint. */
export interface Access {
  /** Where all of it holds; elsewhere only what is trusted does. */
  readonly origins: ReadonlySet<string>
  readonly ca: readonly string[]
  /** What to show; null for nothing. */
  readonly client: { readonly cert: string; readonly key: string } | null
  /** Whether the certificate of the other side has to be good. */
  readonly isVerified: boolean
  readonly connectTimeoutMs: number | null
}

/** @param connectTimeoutMs for an endpoint that has none of its own */
export function accessOf(endpoint: RegistryEndpoint, connectTimeoutMs: number | null): Access {
  const { host, security, ca = [], client = [] } = endpoint
  return {
    origins: new Set([new URL(`https://${host}`).origin, new URL(`http://${host}`).origin]),
    ca,
    client: client[0] ?? null,
    isVerified: security !== 'unverified' && security !== 'any',
    connectTimeoutMs: endpoint.connectTimeoutMs ?? connectTimeoutMs,
  }
}

export interface PoolOptions {
  readonly connectMs: number
  /** PEM texts, besides what Node trusts. */
  readonly certificates: readonly string[]
  readonly proxyFor: ProxyRule
  /** Told where a name leads, unless a stranger made us look. */
  readonly onLookup: (hostname: string, place: Place) => void
}

const ANYWHERE: Access = {
  origins: new Set(),
  ca: [],
  client: null,
  isVerified: true,
  connectTimeoutMs: null,
}

export interface LimitedAgent {
  readonly agent: http.Agent
  /** What it allows until a connection is there. */
  readonly connectMs: number
}

/** All connections of one transport. */
export class ConnectionPools {
  readonly #options: PoolOptions
  readonly #pools = new Map<Access, Map<Place, Connections>>()
  readonly #elsewhere = new Map<Access, Access>()

  constructor(options: PoolOptions) {
    this.#options = options
  }

  /**
   * The agent for a URL.
   *
   * @param access what holds for the endpoint that was asked first; null for none
   * @param hasLeft whether a redirect has led to another origin since
   * @param from where who made us go there is: names may lead to what that may send us to
   */
  agentFor(url: URL, access: Access | null, hasLeft: boolean, from: Place): LimitedAgent {
    const holds = access === null ? ANYWHERE : this.#terms(access, url, hasLeft)
    const pools = this.#pools.get(holds) ?? new Map<Place, Connections>()
    this.#pools.set(holds, pools)
    let pool = pools.get(from)
    if (pool === undefined) {
      const onLookup = from === 'far' ? () => {} : this.#options.onLookup
      pool = new Connections(this.#options, holds, watchfulLookup(onLookup, from))
      pools.set(from, pool)
    }
    return { agent: pool.agentFor(url), connectMs: pool.connectMs }
  }

  destroy(): void {
    for (const pools of this.#pools.values()) for (const pool of pools.values()) pool.destroy()
  }

  #terms(access: Access, url: URL, hasLeft: boolean): Access {
    if (!hasLeft && access.origins.has(url.origin)) return access
    if (access.ca.length === 0) return ANYWHERE
    const elsewhere = this.#elsewhere.get(access) ?? { ...ANYWHERE, ca: access.ca }
    this.#elsewhere.set(access, elsewhere)
    return elsewhere
  }
}

/** Agents for one set of terms: direct ones, and some for each proxy that is met. */
class Connections {
  readonly #options: PoolOptions
  readonly #access: Access
  readonly #lookup: net.LookupFunction
  readonly #agents = new Map<string, http.Agent>()
  #context: tls.SecureContext | null = null

  constructor(options: PoolOptions, access: Access, lookup: net.LookupFunction) {
    this.#options = options
    this.#access = access
    this.#lookup = lookup
  }

  get connectMs(): number {
    return this.#access.connectTimeoutMs ?? this.#options.connectMs
  }

  agentFor(url: URL): http.Agent {
    const proxy = this.#options.proxyFor(url)
    const key = `${url.protocol} ${proxy?.url.href ?? ''}`
    let agent = this.#agents.get(key)
    if (agent === undefined) {
      agent = url.protocol === 'https:' ? this.#secureAgent(proxy) : this.#plainAgent(proxy)
      this.#agents.set(key, agent)
    }
    return agent
  }

  destroy(): void {
    for (const agent of this.#agents.values()) agent.destroy()
  }

  #plainAgent(proxy: ReturnType<ProxyRule>): http.Agent {
    if (proxy !== null) return new ForwardAgent(KEPT, this.#route(proxy))
    return limitConnect(new http.Agent({ ...KEPT, lookup: this.#lookup }), 'connect', this.connectMs)
  }

  #secureAgent(proxy: ReturnType<ProxyRule>): https.Agent {
    const terms = { secureContext: this.#secureContext(), rejectUnauthorized: this.#access.isVerified }
    if (proxy !== null) return new TunnelAgent({ ...KEPT, ...terms }, this.#route(proxy))
    const agent = new https.Agent({ ...KEPT, ...terms, lookup: this.#lookup })
    return limitConnect(agent, 'secureConnect', this.connectMs)
  }

  #route(proxy: NonNullable<ReturnType<ProxyRule>>) {
    const { certificates } = this.#options
    return { proxy, timeoutMs: this.connectMs, secureContext: () => secureContext(certificates, null) }
  }

  // Once for all connections: reading the trusted certificates takes longer than a handshake.
  #secureContext(): tls.SecureContext {
    const { ca, client } = this.#access
    this.#context ??= secureContext([...this.#options.certificates, ...ca.map(checkCertificates)], client)
    return this.#context
  }
}

const KEPT = { keepAlive: true, maxFreeSockets: 4 }

function secureContext(certificates: readonly string[], client: Access['client']): tls.SecureContext {
  // A list of one's own replaces the default one, so that has to be in it.
  const trust = certificates.length === 0 ? {} : { ca: [...tls.rootCertificates, ...certificates] }
  try {
    return tls.createSecureContext({ ...trust, ...(client ?? {}) })
  } catch (error) {
    throw unusable(error)
  }
}

/** Node passes over what is none, and the connection then fails as if nothing had been configured. */
function checkCertificates(pem: string): string {
  const texts = pem.match(/-----BEGIN [A-Z0-9 ]*CERTIFICATE-----.*?-----END [A-Z0-9 ]*CERTIFICATE-----/gs)
  if (texts === null) throw unusable(new Error('there is none in the text'))
  try {
    for (const text of texts) new X509Certificate(text)
    return pem
  } catch (error) {
    throw unusable(error)
  }
}

function unusable(error: unknown): UsageError {
  const found = error instanceof Error ? error.message : String(error)
  const what = 'Cannot use the certificates that are configured for a registry'
  return new UsageError('option-invalid', `${what}: ${found}`, { facts: { option: 'certificates' } })
}

/** Ends connections of an agent that are not set up in time. */
function limitConnect<A extends http.Agent>(
  agent: A,
  done: 'connect' | 'secureConnect',
  timeoutMs: number,
): A {
  const create = agent.createConnection.bind(agent)
  agent.createConnection = (options: http.ClientRequestArgs, callback) => {
    const socket = create(options, callback)
    if (socket) {
      const timer = setTimeout(() => socket.destroy(new ConnectTimeoutError('connect timeout')), timeoutMs)
      const stop = () => clearTimeout(timer)
      socket.once(done, stop)
      socket.once('close', stop)
    }
    return socket
  }
  return agent
}
