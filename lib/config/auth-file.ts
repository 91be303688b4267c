/**
 * Docker's config.json and podman's auth.json: what they say of credentials, and which of it is for a registry.
 *
 * Reading is lazy: one entry that is damaged keeps nobody from the others. Helpers are named here and run elsewhere.
 * Secrets go out by the one value that asks for them, and into no message. Of Docker's file nothing else is read:
 * headers and proxies that it has for the daemon are none of ours.
 */
import { isProblem, normalizeRegistry } from '../image/host.js'
import { quote } from '../image/json.js'
import { fileName, HUB, HUB_ADDRESS, HUB_HOST, imageName } from './names.js'
import { invalidConfiguration, member, members, optionalText, refuse, text, type Value } from './value.js'

/** A user name and a password, or the refresh token that an earlier login left. */
export type StoredCredentials =
  | { readonly username: string; readonly password: string }
  | { readonly identityToken: string }

/** Where a file says that the credentials for a registry are. */
export type CredentialPlace =
  | { readonly kind: 'entry'; readonly credentials: StoredCredentials }
  /** `docker-credential-NAME`, which is asked for the first address that it knows. */
  | { readonly kind: 'helper'; readonly name: string; readonly addresses: readonly string[] }

export interface AuthFile {
  readonly file: string
  readonly auths: Value
  /** Registry to helper. */
  readonly helpers: Value
  /** The helper for all other registries. */
  readonly store: string | undefined
}

/** `config` has its entries below `auths`; `legacy` is ~/.dockercfg, which is all entries. */
export type AuthFormat = 'config' | 'legacy'

/**
 * @param file absolute path, for messages
 * @throws {UsageError} `configuration-invalid`
 */
export function parseAuthFile(source: string, file: string, format: AuthFormat): AuthFile {
  const root: Value = { file, key: '', found: parseJson(source, file) }
  members(root)
  const auths = format === 'legacy' ? root : member(root, 'auths')
  const helpers = format === 'legacy' ? { ...root, found: undefined } : member(root, 'credHelpers')
  members(auths)
  members(helpers)
  return {
    file,
    auths,
    helpers,
    store: format === 'legacy' ? undefined : optionalText(member(root, 'credsStore')),
  }
}

/**
 * Where to look in a file for the credentials for a repository, likeliest first: a helper of the registry, the helper for
 * all, then the entry with the longest name that is the repository, a namespace of it or its registry.
 *
 * @param registry `host[:port]` in normal form
 * @param repository undefined for the registry as a whole
 * @throws {UsageError} `configuration-invalid`
 */
export function placesInFile(
  file: AuthFile,
  registry: string,
  repository: string | undefined,
): CredentialPlace[] {
  const places: CredentialPlace[] = []
  const own = helperFor(file, registry)
  if (own !== null) places.push(own)
  else if (file.store !== undefined) {
    places.push({
      kind: 'helper',
      name: checkHelper(file.store, file.file, 'credsStore'),
      addresses: serverAddresses(registry),
    })
  }
  const entry = entryFor(file, registry, repository)
  if (entry !== null) places.push({ kind: 'entry', credentials: entry })
  return places
}

/** Stands for the files of Docker and podman where helpers are listed. */
export const FILES_HELPER = 'containers-auth.json'

/** What helpers know a registry by, likeliest first. */
export function serverAddresses(registry: string): string[] {
  return fileName(registry) === HUB ? [HUB_ADDRESS, HUB] : [registry]
}

/** The key of an entry for a registry as Docker writes it. */
export function entryKey(registry: string): string {
  return fileName(registry) === HUB ? HUB_ADDRESS : registry
}

/** The helper that a file has for a registry by its name, and what it knows it by. */
function helperFor(file: AuthFile, registry: string): (CredentialPlace & { kind: 'helper' }) | null {
  const names = fileName(registry) === HUB ? [HUB, HUB_ADDRESS, 'index.docker.io', HUB_HOST] : [registry]
  for (const key of names) {
    const value = member(file.helpers, key)
    const name = optionalText(value)
    if (name === undefined) continue
    const addresses = [...new Set([key, ...serverAddresses(registry)])]
    return { kind: 'helper', name: checkHelper(name, file.file, value.key), addresses }
  }
  return null
}

const HELPER = /^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?$/

/**
 * A helper's name becomes the name of a program, so it is a name and no path.
 *
 * @throws {UsageError} `configuration-invalid`
 */
export function checkHelper(name: string, file: string, key: string): string {
  if (HELPER.test(name)) return name
  throw invalidConfiguration(
    file,
    key,
    `is ${quote(name)}, not the name of a credential helper: letters, digits, dots, dashes and underscores`,
  )
}

function entryFor(
  file: AuthFile,
  registry: string,
  repository: string | undefined,
): StoredCredentials | null {
  for (const key of entryKeys(file, registry, repository)) {
    const credentials = readEntry(member(file.auths, key))
    if (credentials !== null) return credentials
  }
  return null
}

/**
 * The keys of a file that are for a repository or for what it is in, longest first; of those that are equal otherwise,
 * plain names go before addresses such as `https://HOST/v1/`.
 */
export function entryKeys(file: AuthFile, registry: string, repository: string | undefined): string[] {
  const wanted = repository === undefined ? fileName(registry) : imageName(registry, repository)
  return members(file.auths)
    .map(([key]) => ({ key, ...normalKey(key) }))
    .filter(({ name }) => wanted === name || wanted.startsWith(`${name}/`))
    .sort((a, b) => b.name.length - a.name.length || Number(a.isAddress) - Number(b.isAddress))
    .map(({ key }) => key)
}

/** What a key names: `host[:port][/namespace…]`; empty, which is nobody's name, when it names nothing. */
function normalKey(key: string): { readonly name: string; readonly isAddress: boolean } {
  const [, scheme, host = '', path = ''] = /^(https?:\/\/)?([^/]+)(\/.*)?$/i.exec(key) ?? []
  const registry = normalizeRegistry(host)
  if (isProblem(registry)) return { name: '', isAddress: true }
  // Docker wrote whole addresses of old; what is behind their host is the version of an interface.
  const isAddress = scheme !== undefined || /^\/v[12]\/?$/.test(path)
  return { name: `${fileName(registry)}${isAddress ? '' : path.replace(/\/+$/, '')}`, isAddress }
}

/** Null for an entry without credentials, as Docker leaves one when a helper has them. */
function readEntry(entry: Value): StoredCredentials | null {
  members(entry)
  const identityToken = optionalText(member(entry, 'identitytoken'))
  if (identityToken !== undefined) return { identityToken }
  const auth = member(entry, 'auth')
  const encoded = optionalText(auth)
  if (encoded !== undefined) return decodeAuth(auth, encoded)
  const username = optionalText(member(entry, 'username'))
  return username === undefined ? null : { username, password: text(member(entry, 'password')) }
}

function decodeAuth(value: Value, encoded: string): StoredCredentials {
  const isBase64 = /^[A-Za-z0-9+/\s]*={0,2}\s*$/.test(encoded)
  // Old versions of Docker padded with NUL.
  const decoded = Buffer.from(encoded, 'base64').toString('utf8').replace(/\0+$/, '')
  const colon = decoded.indexOf(':')
  if (!isBase64 || colon < 1) refuse(value, 'is not the base64 of USER:PASSWORD')
  return { username: decoded.slice(0, colon), password: decoded.slice(colon + 1) }
}

function parseJson(source: string, file: string): unknown {
  // An empty file is what `touch` leaves, and Docker takes it too.
  if (source.trim() === '') return {}
  try {
    return JSON.parse(source)
  } catch {
    // The parser's own message quotes the file.
    throw invalidConfiguration(file, '', 'is not JSON')
  }
}
