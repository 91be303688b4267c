/**
 * Connections through a proxy: tunnels for https (CONNECT, RFC 9110, section 9.3.6), whole addresses in the request line
 * for http (RFC 9112, section 3.2.2).
 *
 * Names are looked up by the proxy, and which addresses it goes to is its policy. Its credentials go to it alone: inside
 * of a tunnel the registry does not see them.
 */
import { once } from 'node:events'
import http from 'node:http'
import https from 'node:https'
import net from 'node:net'
import type { Duplex } from 'node:stream'
import tls from 'node:tls'
import { ConnectTimeoutError, proxyError } from './network-error.js'
import type { HttpProxy } from './proxy.js'

/** How to get to the proxy itself. */
export interface ProxyRoute {
  readonly proxy: HttpProxy
  /** Until the registry can be talked to. */
  readonly timeoutMs: number
  /** What is trusted when the proxy has https. */
  readonly secureContext: () => tls.SecureContext
}

type Callback = (error: Error | null, stream: Duplex) => void

/** For https: one tunnel for each connection. */
export class TunnelAgent extends https.Agent {
  readonly #route: ProxyRoute
  readonly #setups = new Setups()

  constructor(options: https.AgentOptions, route: ProxyRoute) {
    super(options)
    this.#route = route
  }

  override createConnection(target: https.RequestOptions, callback?: Callback): undefined {
    const connect = (socket: net.Socket) =>
      super.createConnection({ ...target, socket } as https.RequestOptions)
    this.#setups.run(this.#route.timeoutMs, callback, async (signal) => {
      const tunnel = await openTunnel(this.#route, authorityOf(target), signal)
      const secure = connect(tunnel) as tls.TLSSocket // what https agents make
      return await established(secure, 'secureConnect', signal)
    })
  }

  override destroy(): void {
    this.#setups.abort()
    super.destroy()
  }
}

/** For http: the proxy gets the request, with the whole address in it. */
export class ForwardAgent extends http.Agent {
  readonly #route: ProxyRoute
  readonly #setups = new Setups()

  constructor(options: http.AgentOptions, route: ProxyRoute) {
    super(options)
    this.#route = route
  }

  /** Called by Node with each request, before its first line is written; its types leave that out. */
  addRequest(request: http.ClientRequest, options: http.RequestOptions): void {
    const { authorization } = this.#route.proxy
    request.path = `http://${request.getHeader('host')}${request.path}`
    if (authorization !== null) request.setHeader('proxy-authorization', authorization)
    const node = http.Agent.prototype as unknown as Pick<ForwardAgent, 'addRequest'>
    node.addRequest.call(this, request, options)
  }

  override createConnection(_target: http.ClientRequestArgs, callback?: Callback): undefined {
    this.#setups.run(this.#route.timeoutMs, callback, (signal) => reachProxy(this.#route, signal))
  }

  override destroy(): void {
    this.#setups.abort()
    super.destroy()
  }
}

/** Connections that are being made: they end when there is no time left or the agent is closed. */
class Setups {
  readonly #running = new Set<AbortController>()

  run(
    timeoutMs: number,
    callback: Callback | undefined,
    connect: (signal: AbortSignal) => Promise<net.Socket>,
  ): void {
    const setup = new AbortController()
    const timer = setTimeout(() => setup.abort(new ConnectTimeoutError('connect timeout')), timeoutMs)
    this.#running.add(setup)
    connect(setup.signal)
      .finally(() => {
        clearTimeout(timer)
        this.#running.delete(setup)
      })
      .then(
        (socket) => callback?.(null, socket),
        // Agents read no stream when there is an error.
        (error) => callback?.(setup.signal.aborted ? setup.signal.reason : error, undefined as never),
      )
  }

  abort(): void {
    for (const setup of this.#running) setup.abort(new Error('closed'))
  }
}

async function reachProxy({ proxy, secureContext }: ProxyRoute, signal: AbortSignal): Promise<net.Socket> {
  const { url } = proxy
  const isSecure = url.protocol === 'https:'
  const to = { host: url.hostname.replace(/^\[|\]$/g, ''), port: Number(url.port) || (isSecure ? 443 : 80) }
  try {
    if (!isSecure) return await established(net.connect(to), 'connect', signal)
    const servername = net.isIP(to.host) === 0 ? { servername: to.host } : {}
    const socket = tls.connect({ ...to, ...servername, secureContext: secureContext() })
    return await established(socket, 'secureConnect', signal)
  } catch (error) {
    throw proxyError(error)
  }
}

function authorityOf({ host, port }: https.RequestOptions): string {
  return `${net.isIPv6(host ?? '') ? `[${host}]` : host}:${port}`
}

async function openTunnel(route: ProxyRoute, authority: string, signal: AbortSignal): Promise<net.Socket> {
  const socket = await reachProxy(route, signal)
  const { authorization } = route.proxy
  const request = http.request({
    method: 'CONNECT',
    path: authority,
    headers: { host: authority, ...(authorization === null ? {} : { 'proxy-authorization': authorization }) },
    createConnection: () => socket,
    signal,
  })
  try {
    request.end()
    const [answer, tunnel, head] = (await once(request, 'connect')) as [
      http.IncomingMessage,
      net.Socket,
      Buffer,
    ]
    const status = answer.statusCode ?? 0
    if (status < 200 || status > 299) throw Object.assign(new Error('refused'), { code: `STATUS_${status}` })
    if (head.length > 0) tunnel.unshift(head)
    return tunnel
  } catch (error) {
    socket.destroy()
    throw proxyError(error)
  }
}

async function established<S extends net.Socket>(
  socket: S,
  event: 'connect' | 'secureConnect',
  signal: AbortSignal,
): Promise<S> {
  try {
    await once(socket, event, { signal })
    // Until its user listens, an error has nobody to go to; the next read or write reports it.
    socket.on('error', () => {})
    return socket
  } catch (error) {
    socket.on('error', () => {})
    socket.destroy()
    throw error
  }
}
