/**
 * containerd's certs.d: `HOST/hosts.toml`, which says where the images of a registry are and how to get there. Which image is wanted plays no part here, and no file is read: certificates are paths.
 */
import { isProblem, normalizeRegistry } from '../image/host.js'
import { parseDuration } from './duration.js'
import { answeringName } from './names.js'
import { parseToml } from './toml.js'
import {
  flag,
  isTable,
  items,
  kindOf,
  member,
  members,
  optionalText,
  refuse,
  text,
  textOrTexts,
  texts,
  unknownKeys,
  type Value,
} from './value.js'

/** A certificate and its key: paths as they are written, relative to the directory of the file. */
export interface ClientPaths {
  readonly cert: string
  /** Null when the key is in the same file. */
  readonly key: string | null
}

/** What can be said of a host, and of the server too. */
export interface HostOptions {
  readonly capabilities: ReadonlySet<'pull' | 'resolve'>
  readonly ca: readonly string[]
  readonly client: readonly ClientPaths[]
  readonly skipVerify?: boolean
  /** By lower-case name. */
  readonly headers: Readonly<Record<string, string>>
  readonly dialTimeoutMs?: number
}

export interface TomlHost extends HostOptions {
  readonly scheme: 'http' | 'https'
  /** The name that answers, in normal form. */
  readonly host: string
  /** What stands before `/REPOSITORY/…`: begins with a slash and does not end with one, or is empty. */
  readonly path: string
}

export interface HostsToml {
  readonly file: string
  /** In the order of the file. */
  readonly hosts: readonly TomlHost[]
  /** Comes after the hosts; null when it is the registry itself. */
  readonly server: TomlHost | null
  /** What is said of the server; counts for the registry itself too. */
  readonly serverOptions: HostOptions
  /** Keys that nobody knows. */
  readonly unknown: readonly string[]
}

const OPTION_KEYS = ['capabilities', 'ca', 'client', 'skip_verify', 'header', 'override_path', 'dial_timeout']
const HOST_KEYS: ReadonlySet<string> = new Set(OPTION_KEYS)
const ROOT_KEYS: ReadonlySet<string> = new Set([...OPTION_KEYS, 'server', 'host'])

/**
 * @param file absolute path, for messages
 * @throws {UsageError} `configuration-invalid`
 */
export function parseHostsToml(source: string, file: string): HostsToml {
  const root = parseToml(source, file)
  const tables = members(member(root, 'host'))
  const server = member(root, 'server')
  const serverAddress = optionalText(server)
  const serverOptions = readOptions(root)
  return {
    file,
    hosts: tables.map(([address, table]) => ({
      ...readAddress(table, address, table),
      ...readOptions(table),
    })),
    server:
      serverAddress === undefined ? null : { ...readAddress(server, serverAddress, root), ...serverOptions },
    serverOptions,
    unknown: [
      ...unknownKeys(root, ROOT_KEYS),
      ...tables.flatMap(([, table]) => unknownKeys(table, HOST_KEYS)),
    ],
  }
}

/**
 * @param value what holds the address, for messages
 * @param options the table that may have `override_path`
 */
function readAddress(
  value: Value,
  address: string,
  options: Value,
): { readonly scheme: 'http' | 'https'; readonly host: string; readonly path: string } {
  const [, scheme = 'https', authority = '', path = ''] =
    /^(?:(https?):\/\/)?([^/?#@\\]+)(\/[^?#\\]*)?$/.exec(address) ?? []
  const host = normalizeRegistry(authority)
  if (isProblem(host)) refuse(value, 'is not an address like https://HOST[:PORT][/PATH]')
  const clean = cleanPath(path)
  if (clean === null) refuse(value, 'has a path with other than plain characters')
  const isWhole = flag(member(options, 'override_path')) === true || clean.endsWith('/v2')
  return {
    scheme: scheme === 'http' ? 'http' : 'https',
    host: answeringName(host),
    path: isWhole ? clean : `${clean}/v2`,
  }
}

/** Without doubled slashes and dots, and without a slash at its end; null for what would have to be escaped. */
function cleanPath(path: string): string | null {
  if (!/^[A-Za-z0-9/._~!$&'()*+,;=:@%-]*$/.test(path) || /%(?![0-9A-Fa-f]{2})/.test(path)) return null
  const parts: string[] = []
  for (const part of path.split('/')) {
    if (part === '..') parts.pop()
    else if (part !== '' && part !== '.') parts.push(part)
  }
  return parts.map((part) => `/${part}`).join('')
}

function readOptions(table: Value): HostOptions {
  const skipVerify = flag(member(table, 'skip_verify'))
  const timeout = member(table, 'dial_timeout')
  const timeoutText = optionalText(timeout)
  return {
    capabilities: readCapabilities(member(table, 'capabilities')),
    ca: textOrTexts(member(table, 'ca')),
    client: readClient(member(table, 'client')),
    headers: readHeaders(member(table, 'header')),
    ...(skipVerify === undefined ? {} : { skipVerify }),
    ...(timeoutText === undefined ? {} : { dialTimeoutMs: readTimeout(timeout, timeoutText) }),
  }
}

function readCapabilities(value: Value): ReadonlySet<'pull' | 'resolve'> {
  const found = texts(value).map((name) => name.toLowerCase())
  if (found.length === 0) return new Set(['pull', 'resolve'])
  // What else hosts can do, and containerd knows, is nothing that groot asks for.
  if (found.some((name) => !['pull', 'resolve', 'push', 'referrers'].includes(name))) {
    refuse(value, 'has other than pull, resolve and push')
  }
  return new Set(found.filter((name) => name === 'pull' || name === 'resolve'))
}

/** A path to both, a list of such paths, or a list of pairs; in a pair an empty key stands for the same file. */
function readClient(value: Value): ClientPaths[] {
  if (typeof value.found === 'string') return [{ cert: text(value), key: null }]
  return items(value).map((item) => {
    if (!Array.isArray(item.found)) return { cert: text(item), key: null }
    const [cert, key, ...more] = texts(item)
    if (cert === undefined || key === undefined || more.length > 0) {
      refuse(item, 'is not a pair of a certificate and its key')
    }
    return { cert, key: key === '' ? null : key }
  })
}

const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}$/
const MAX_HEADER = 8192
/** Headers on which a request's form rests; another value would make the request another one. */
const OWN_HEADERS = new Set([
  'host',
  'connection',
  'content-length',
  'transfer-encoding',
  'te',
  'trailer',
  'upgrade',
])

function readHeaders(table: Value): Record<string, string> {
  const headers = new Map<string, string>()
  for (const [name, value] of members(table)) {
    const lower = name.toLowerCase()
    if (!TOKEN.test(name) || OWN_HEADERS.has(lower)) refuse(value, 'is no header that can be set')
    if (isTable(value.found)) refuse(value, `is ${kindOf(value.found)}, not a text or a list of texts`)
    const joined = [headers.get(lower) ?? [], textOrTexts(value)].flat().join(', ')
    if (joined.length > MAX_HEADER || !/^[\t\x20-\x7e\x80-\xff]*$/.test(joined)) {
      refuse(value, 'has a value that no header can have')
    }
    headers.set(lower, joined)
  }
  return Object.fromEntries(headers)
}

const MAX_TIMER_MS = 2 ** 31 - 1

function readTimeout(value: Value, found: string): number {
  const ms = parseDuration(found)
  if (ms === null || ms <= 0) refuse(value, 'is not a time like 500ms or 5s')
  return Math.min(Math.max(Math.round(ms), 1), MAX_TIMER_MS)
}
