/**
 * Which proxy is between us and an address. Connections through it are made in proxy-agents.ts, and the environment that
 * names it is read elsewhere.
 *
 * The rules are those of Go's programs, because the same environment serves podman, containerd and groot: HTTPS_PROXY for
 * https, HTTP_PROXY for http, NO_PROXY for exceptions, and this machine is never asked through a proxy.
 */
import net from 'node:net'
import { UsageError } from '../errors.js'
import { quote } from '../image/json.js'
import { isLoopbackHost } from './addresses.js'
import type { ProxySettings } from './hosts.js'

/** A proxy; its password is in `authorization` alone. */
export interface HttpProxy {
  readonly url: URL
  /** Proxy-Authorization, when the address of the proxy had a user name. */
  readonly authorization: string | null
}

/** The proxy for a URL, null for none. */
export type ProxyRule = (url: URL) => HttpProxy | null

/**
 * @throws {UsageError} `option-invalid` for a proxy whose address is none, or of a kind that is not known
 */
export function proxyRule(settings: ProxySettings): ProxyRule {
  const proxies = {
    'http:': parseProxy('HTTP_PROXY', settings.http),
    'https:': parseProxy('HTTPS_PROXY', settings.https),
  }
  const exceptions = (settings.no ?? '').split(',').flatMap((text) => parseException(text.trim()))
  return (url) => {
    const proxy = url.protocol === 'https:' ? proxies['https:'] : proxies['http:']
    if (proxy === null || isLoopbackHost(url.hostname)) return null
    return exceptions.some((matches) => matches(url)) ? null : proxy
  }
}

function parseProxy(name: string, text: string | undefined): HttpProxy | null {
  if (text === undefined || text === '') return null
  const address = /^[a-z][a-z0-9+.-]*:\/\//i.test(text) ? text : `http://${text}`
  if (!URL.canParse(address)) throw invalid(name, 'it is no address')
  const url = new URL(address)
  if (url.protocol !== 'http:' && url.protocol !== 'https:')
    throw invalid(name, `${quote(url.protocol)} is not known, only "http:" and "https:" are`)
  const { username, password } = url
  url.username = ''
  url.password = ''
  if (username === '' && password === '') return { url, authorization: null }
  const secret = `${decode(name, username)}:${decode(name, password)}`
  return { url, authorization: `Basic ${Buffer.from(secret).toString('base64')}` }
}

function decode(name: string, text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    throw invalid(name, 'its user name or password has a "%" that is not followed by two hex digits')
  }
}

// The address itself is not shown, it may hold a password.
function invalid(name: string, problem: string): UsageError {
  return new UsageError('option-invalid', `Cannot use the proxy of ${name}: ${problem}`, {
    facts: { option: name },
  })
}

type Exception = (url: URL) => boolean

/** One word of NO_PROXY: `*`, an address, a block of addresses, a name with its subdomains, all but blocks with a port or without. */
function parseException(text: string): Exception[] {
  if (text === '') return []
  if (text === '*') return [() => true]
  const block = /^(.+)\/([0-9]{1,3})$/.exec(text)
  if (block !== null) return parseBlock(block[1]!, Number(block[2]))
  const [, host = text, port] = /^(\[.*\]|[^:]*):([0-9]+)$/.exec(text) ?? []
  const portMatches = (url: URL) => port === undefined || port === portOf(url)
  const bare = host.replace(/^\[|\]$/g, '').toLowerCase()
  if (net.isIP(bare) !== 0) {
    const addresses = new net.BlockList()
    addresses.addAddress(bare, family(bare))
    return [(url) => portMatches(url) && isIn(addresses, url)]
  }
  // `.example.com` means what is below it, `example.com` that and itself (and `*.example.com` is meant as the first).
  const name = bare.replace(/^\*/, '').replace(/\.$/, '')
  return [
    (url) => {
      const hostname = url.hostname.replace(/\.$/, '')
      const isBelow = hostname.endsWith(name.startsWith('.') ? name : `.${name}`)
      return portMatches(url) && (isBelow || hostname === name)
    },
  ]
}

function parseBlock(address: string, prefix: number): Exception[] {
  const bits = net.isIPv4(address) ? 32 : net.isIPv6(address) ? 128 : -1
  if (prefix > bits) return [] // what is no block matches nothing, as with other tools
  const block = new net.BlockList()
  block.addSubnet(address, prefix, family(address))
  return [(url) => isIn(block, url)]
}

function isIn(addresses: net.BlockList, { hostname }: URL): boolean {
  const address = hostname.replace(/^\[|\]$/g, '')
  return net.isIP(address) !== 0 && addresses.check(address, family(address))
}

function family(address: string): 'ipv4' | 'ipv6' {
  return net.isIPv6(address) ? 'ipv6' : 'ipv4'
}

function portOf({ port, protocol }: URL): string {
  return port !== '' ? port : protocol === 'https:' ? '443' : '80'
}
