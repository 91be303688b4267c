/**
 * WWW-Authenticate: what a server wants to see (RFC 9110, sections 11.2 to 11.6).
 *
 * Strict: what does not follow the grammar is refused as a whole, because a challenge that is half understood decides
 * who gets a password.
 */
import { RegistryError } from '../errors.js'
import { quote } from '../image/json.js'

export interface Challenge {
  /** Lower case: `bearer`, `basic`. */
  readonly scheme: string
  /** By lower-case name; empty when the scheme came with a token or with nothing. */
  readonly params: ReadonlyMap<string, string>
}

const MAX_HEADER = 8192
const TOKEN = "[!#$%&'*+.^_`|~0-9A-Za-z-]+"
const QUOTED = '"(?:[\\t !\\x23-\\x5b\\x5d-\\x7e\\x80-\\xff]|\\\\[\\t\\x20-\\x7e\\x80-\\xff])*"'
/** What stands between two commas of the list, commas in quotes not counted. */
const ELEMENT = new RegExp(`(?:[^",]|${QUOTED})+`, 'g')
const PARAMETER = new RegExp(`^(${TOKEN})[ \\t]*=[ \\t]*(${TOKEN}|${QUOTED})$`)
const START = new RegExp(`^(${TOKEN})(?: +([^ ].*))?$`, 's')
const TOKEN68 = /^[A-Za-z0-9._~+/-]+=*$/

/**
 * @param header one header, or several joined by commas
 * @throws {RegistryError} `registry-protocol`
 */
export function parseChallenges(header: string): Challenge[] {
  if (header.length > MAX_HEADER || !/^,*$/.test(header.replaceAll(ELEMENT, ''))) throw malformed(header)
  const challenges: { scheme: string; params: Map<string, string>; isClosed: boolean }[] = []
  for (const [text] of header.matchAll(ELEMENT)) {
    const element = text.replace(/^[ \t]+|[ \t]+$/g, '')
    if (element === '') continue // the list may have empty elements
    const start = PARAMETER.test(element) ? null : START.exec(element)
    if (start !== null) {
      const isClosed = start[2] !== undefined && !PARAMETER.test(start[2])
      if (isClosed && !TOKEN68.test(start[2]!)) throw malformed(header)
      challenges.push({ scheme: start[1]!.toLowerCase(), params: new Map(), isClosed })
    }
    const parameter = PARAMETER.exec(start === null ? element : (start[2] ?? ''))
    if (parameter === null && start === null) throw malformed(header)
    if (parameter !== null) addParameter(header, challenges.at(-1), parameter)
  }
  return challenges.map(({ scheme, params }) => ({ scheme, params }))
}

function addParameter(
  header: string,
  to: { readonly params: Map<string, string>; readonly isClosed: boolean } | undefined,
  [, name, value]: RegExpExecArray,
): void {
  const key = name!.toLowerCase()
  // Parameters come once each, and not beside a token.
  if (to === undefined || to.isClosed || to.params.has(key)) throw malformed(header)
  to.params.set(key, value!.startsWith('"') ? value!.slice(1, -1).replace(/\\(.)/gs, '$1') : value!)
}

function malformed(header: string): RegistryError {
  return new RegistryError(
    'registry-protocol',
    `Cannot understand what the registry wants to see: its WWW-Authenticate header is ${quote(header)}`,
    { facts: { header: 'www-authenticate', found: quote(header) } },
  )
}
