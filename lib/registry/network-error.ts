/**
 * What the network layers throw, told in groot's words.
 *
 * Their own messages hold whole addresses, and addresses that a registry redirects to are often signed: whoever reads
 * them may fetch. So neither the messages nor the errors are passed on, only the host and the code.
 */
import { type GrootError, RegistryError } from '../errors.js'
import { LOCAL_ADDRESS } from './addresses.js'

const REASONS: ReadonlyMap<string, string> = new Map([
  ['ENOTFOUND', 'there is no such host'],
  ['EAI_AGAIN', 'its name could not be looked up'],
  ['ECONNREFUSED', 'the connection was refused'],
  ['ECONNRESET', 'the connection was reset'],
  ['EPIPE', 'the connection was closed'],
  ['ERR_STREAM_PREMATURE_CLOSE', 'the connection was closed'],
  ['EHOSTUNREACH', 'there is no way to the host'],
  ['ENETUNREACH', 'there is no way to its network'],
  ['ETIMEDOUT', 'the connection timed out'],
])

const CONNECT_TIMEOUT = 'GROOT_CONNECT_TIMEOUT'
/** Begins the codes of what went wrong on the way to a proxy, so that nobody looks for it at the registry. */
const PROXY = 'GROOT_PROXY_'

/** Codes after which another try can do better. */
const TEMPORARY = new Set([
  'EAI_AGAIN',
  'ECONNREFUSED',
  'ECONNRESET',
  'EPIPE',
  'ERR_STREAM_PREMATURE_CLOSE',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ETIMEDOUT',
])

/** Codes of connections that were never there. */
const NEVER_THERE = new Set([
  'ENOTFOUND',
  'EAI_AGAIN',
  'ECONNREFUSED',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ETIMEDOUT',
])

/** Thrown into a connection that was not set up in time. */
export class ConnectTimeoutError extends Error {
  readonly code = CONNECT_TIMEOUT
}

/** @param thrown what went wrong between us and a proxy; `STATUS_407` is the code of an answer */
export function proxyError(thrown: unknown): Error {
  if (isConnectTimeout(thrown)) return thrown as Error // its code was looked at
  return Object.assign(new Error('proxy'), { code: `${PROXY}${codeOf(thrown)}` })
}

/** Whether an error says that the other side was not reached at all. */
export function isConnectFailure({ facts }: GrootError): boolean {
  return facts.waitedFor === 'connect' || (typeof facts.reason === 'string' && NEVER_THERE.has(facts.reason))
}

/**
 * @param thrown what node-fetch, Node's http or its TLS threw
 * @param url where the request went; only its host is shown
 */
export function networkError(thrown: unknown, url: URL): RegistryError {
  const code = codeOf(thrown)
  if (code.startsWith(PROXY)) return unreachable(code.slice(PROXY.length), url, 'by the proxy: ')
  const facts = { registry: url.host, reason: code }
  if (code === LOCAL_ADDRESS) {
    const found = 'its name leads to an address of this machine or its link, where registries may not send us'
    return new RegistryError('redirect-refused', `Cannot follow to "${url.host}": ${found}`, { facts })
  }
  if (code.startsWith('HPE_')) {
    const found = code === 'HPE_HEADER_OVERFLOW' ? 'its headers are too long' : 'it does not answer in HTTP'
    return new RegistryError('registry-protocol', `Cannot talk to "${url.host}": ${found} (${code})`, {
      facts,
    })
  }
  return unreachable(code, url, '')
}

/** @param by says whose error it is, when it is not the registry's */
function unreachable(code: string, url: URL, by: string): RegistryError {
  const hint =
    isTls(code) && by === '' ? '; only a registry that is named as insecure is talked to over http' : ''
  return new RegistryError(
    'registry-unreachable',
    `Cannot reach "${url.host}": ${by}${reasonOf(code)} (${code})${hint}`,
    {
      facts: { registry: url.host, reason: code, ...(by === '' ? {} : { isProxy: true }) },
      temporary: TEMPORARY.has(code) || /^STATUS_5/.test(code),
    },
  )
}

/** Whether it was ConnectTimeoutError; node-fetch keeps nothing of an error but its code. */
export function isConnectTimeout(thrown: unknown): boolean {
  return codeOf(thrown) === CONNECT_TIMEOUT
}

/** What a request waits for: `speed` is a body that comes too slowly, `end` the end of something that should be short. */
export type Phase = 'connect' | 'answer' | 'body' | 'speed' | 'end'

const SILENCE: Readonly<Record<Phase, string>> = {
  connect: 'no connection was made',
  answer: 'it did not answer',
  body: 'it sent nothing more',
  speed: 'it sent next to nothing',
  end: 'it did not come to an end',
}

export function timeoutError(phase: Phase, timeoutMs: number, url: URL): RegistryError {
  const found = `${SILENCE[phase]} within ${timeoutMs / 1000} seconds`
  return new RegistryError('registry-timeout', `Cannot go on with "${url.host}": ${found}`, {
    facts: { registry: url.host, waitedFor: phase, timeoutMs },
    temporary: true,
  })
}

function codeOf(thrown: unknown): string {
  const code = (thrown as { code?: unknown } | null)?.code
  return typeof code === 'string' && /^[A-Z][A-Z0-9_]{1,63}$/.test(code) ? code : 'unknown'
}

function reasonOf(code: string): string {
  if (code.startsWith('STATUS_')) return `it refused with status ${code.slice('STATUS_'.length)}`
  if (isTls(code)) return 'it does not speak TLS as https needs'
  if (/CERT|SIGNATURE|ISSUER|ALTNAME|HOSTNAME/.test(code)) return 'its certificate is not trusted'
  return REASONS.get(code) ?? 'the request failed'
}

function isTls(code: string): boolean {
  return code === 'EPROTO' || code.startsWith('ERR_SSL_')
}
