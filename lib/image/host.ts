/**
 * Names of registries: `HOST[:PORT]`, with a host that is a DNS name, an IPv4 address or an IPv6 address in brackets.
 *
 * One spelling for each: lower case, IPv6 in its short form. Looking a name up is not done here.
 */
import { quote } from './json.js'

/** Which part of a text is wrong and what would be right; the caller knows what it was wanted for. */
export interface Problem {
  readonly part: string
  readonly problem: string
}

export function isProblem(value: unknown): value is Problem {
  return typeof value === 'object' && value !== null && 'problem' in value
}

/** @returns the normal form, or what is wrong */
export function normalizeRegistry(text: string): string | Problem {
  const bracket = text.startsWith('[') ? text.indexOf(']') : -1
  const colon = text.indexOf(':', bracket + 1)
  const host = normalizeHost(colon < 0 ? text : text.slice(0, colon))
  if (isProblem(host) || colon < 0) return host
  const port = text.slice(colon + 1)
  if (!/^[1-9][0-9]{0,4}$/.test(port) || Number(port) > 65535) {
    return { part: 'port', problem: `its port ${quote(port)} is not a number from 1 to 65535` }
  }
  return `${host}:${port}`
}

/** Whether a text can only be a registry and not the name of an image: it has a dot, a port or brackets, or is localhost. */
export function looksLikeRegistry(text: string): boolean {
  return /[.:[]/.test(text) || text.toLowerCase() === 'localhost'
}

function normalizeHost(text: string): string | Problem {
  const host = text.startsWith('[')
    ? normalizeIpv6(text)
    : isNumeric(text)
      ? normalizeIpv4(text)
      : normalizeName(text)
  return (
    host ?? {
      part: 'host',
      problem: `its host ${quote(text)} is not a DNS name, an IPv4 address or an IPv6 address in brackets`,
    }
  )
}

const LABEL = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/

function normalizeName(text: string): string | null {
  const name = text.toLowerCase()
  return name.length <= 253 && name.split('.').every((label) => LABEL.test(label)) ? name : null
}

// URL parsers and resolvers read names that end in a number as IPv4 addresses in many notations (0x7f.1 is 127.0.0.1),
// so such a name has to be an address in the one notation that all agree on.
function isNumeric(text: string): boolean {
  return /^(?:[0-9]+|0x[0-9a-f]*)$/i.test(text.slice(text.lastIndexOf('.') + 1))
}

function normalizeIpv4(text: string): string | null {
  const octets = text.split('.')
  const isOctet = (octet: string) => /^(?:0|[1-9][0-9]{0,2})$/.test(octet) && Number(octet) <= 255
  return octets.length === 4 && octets.every(isOctet) ? text : null
}

function normalizeIpv6(text: string): string | null {
  // A zone (%eth0) means something on one machine only, and a URL cannot hold it.
  if (!/^\[[0-9a-f:.]{2,45}\]$/i.test(text)) return null
  return URL.canParse(`http://${text}/`) ? new URL(`http://${text}/`).hostname : null
}
