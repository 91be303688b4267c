/**
 * Credentials: what a registry gets to see, and who else does.
 *
 * Basic (RFC 7617) and the bearer tokens of registries (distribution-spec leaves them to the "Docker Token
 * Authentication" scheme). Tokens are asked for with the least that is needed, `repository:NAME:pull`, whatever scope
 * the registry names. Where the credentials come from is not known here.
 */
import { AuthError, RegistryError, UsageError } from '../errors.js'
import { quote } from '../image/json.js'
import { type Challenge, parseChallenges } from './challenge.js'
import type { Transport } from './transport.js'

export interface Credentials {
  readonly username: string
  readonly password: string
}

export interface Authenticator {
  /** The Authorization header for a repository, as far as it is known; none before the first challenge. */
  header(repository: string): string | undefined
  /**
   * Answers a challenge: a new Authorization header, fetched if need be.
   *
   * @param registry base address of the registry that asked
   * @throws {AuthError} `auth-required`, `auth-denied`, `auth-realm-refused`
   * @throws {RegistryError}
   */
  answer(challenge: string | null, registry: URL, repository: string, signal: AbortSignal): Promise<string>
  /** The error for a registry that still says no. */
  denied(registry: URL, repository: string, status: number, detail: string | null): AuthError
  /** Text without anything secret in it that this room knows of. */
  redact(text: string): string
}

export interface AuthenticatorOptions {
  readonly transport: Transport
  readonly credentials?: Credentials
  /** Hosts (`URL.host`) that may see credentials over http. */
  readonly insecureHosts: ReadonlySet<string>
  /** Milliseconds of a clock that never jumps. */
  readonly now?: () => number
}

const MAX_TOKEN_ANSWER = 1024 * 1024
const MAX_TOKEN = 16 * 1024 // longer headers no server takes
const LEAST_SECONDS = 60 // what the token scheme gives a token that says nothing
const MARGIN_MS = 5_000

interface Token {
  readonly text: string
  /** By the clock of the options. */
  readonly until: number
}

export function createAuthenticator(options: AuthenticatorOptions): Authenticator {
  const { credentials, now = () => performance.now() } = options
  const basic = credentials === undefined ? null : basicHeader(credentials)
  const tokens = new Map<string, Token>()
  const secrets = new Set<string>()
  let wantsBasic = false
  if (credentials !== undefined) secrets.add(credentials.password)
  if (basic !== null) secrets.add(basic.slice('Basic '.length))

  return {
    header(repository) {
      if (wantsBasic && basic !== null) return basic
      const token = tokens.get(repository)
      return token !== undefined && token.until > now() ? `Bearer ${token.text}` : undefined
    },

    async answer(header, registry, repository, signal) {
      const challenges = header === null ? [] : parseChallenges(header)
      const bearer = challenges.find(({ scheme }) => scheme === 'bearer')
      if (bearer !== undefined) {
        const realm = tokenAddress(bearer, registry, repository, options)
        const { text, seconds } = await fetchToken(
          realm,
          basic,
          registry,
          repository,
          options.transport,
          signal,
        )
        secrets.add(text)
        tokens.set(repository, { text, until: now() + seconds * 1000 - MARGIN_MS })
        return `Bearer ${text}`
      }
      if (challenges.some(({ scheme }) => scheme === 'basic')) {
        if (basic === null) throw denied(false, registry, repository, 401, null)
        wantsBasic = true
        return basic
      }
      throw unknownScheme(registry, challenges)
    },

    denied: (registry, repository, status, detail) =>
      denied(credentials !== undefined, registry, repository, status, detail),

    redact(text) {
      let clean = text
      for (const secret of secrets) if (secret.length > 3) clean = clean.replaceAll(secret, '…')
      return clean
    },
  }
}

function denied(
  hasCredentials: boolean,
  registry: URL,
  repository: string,
  status: number,
  detail: string | null,
): AuthError {
  const facts = { registry: registry.host, repository, status, detail }
  const what = `Cannot read "${repository}" at "${registry.host}"`
  const said = detail === null ? '' : ` (${detail})`
  return hasCredentials
    ? new AuthError('auth-denied', `${what}: it does not accept the credentials${said}`, { facts })
    : new AuthError('auth-required', `${what}: it wants credentials, or there is no such image${said}`, {
        facts,
      })
}

/** Where to ask for a token to pull a repository with. */
function tokenAddress(
  challenge: Challenge,
  registry: URL,
  repository: string,
  { credentials, insecureHosts }: AuthenticatorOptions,
): URL {
  const realm = checkRealm(challenge.params.get('realm'), registry, credentials !== undefined, insecureHosts)
  const service = challenge.params.get('service')
  if (service !== undefined) realm.searchParams.append('service', service)
  realm.searchParams.append('scope', `repository:${repository}:pull`)
  return realm
}

/** @param basic the credentials for the token service, which checkRealm found may have them */
async function fetchToken(
  realm: URL,
  basic: string | null,
  registry: URL,
  repository: string,
  transport: Transport,
  signal: AbortSignal,
): Promise<{ readonly text: string; readonly seconds: number }> {
  const answer = await transport.send({
    url: realm,
    headers: { accept: 'application/json' },
    sentBy: registry,
    signal,
    ...(basic === null ? {} : { authorization: basic }),
  })
  if (answer.status === 200) return parseToken(await answer.read(MAX_TOKEN_ANSWER), realm)
  await answer.discard()
  throw tokenRefused(realm, registry, repository, answer.status, basic !== null)
}

function basicHeader({ username, password }: Credentials): string {
  if (username.includes(':') || /[\u0000-\u001f\u007f]/.test(username + password)) {
    throw new UsageError(
      'option-invalid',
      `Cannot use the user name ${quote(username)}: neither it nor the password may have control characters, it no colon`,
      { facts: { option: 'username' } },
    )
  }
  return `Basic ${Buffer.from(`${username}:${password}`, 'utf8').toString('base64')}`
}

function checkRealm(
  text: string | undefined,
  registry: URL,
  hasCredentials: boolean,
  insecure: ReadonlySet<string>,
): URL {
  if (text === undefined || !URL.canParse(text)) throw realmRefused(registry, null, 'it is no address')
  const realm = new URL(text)
  if (realm.protocol !== 'https:' && realm.protocol !== 'http:')
    throw realmRefused(registry, realm, 'it is not https')
  if (realm.username !== '' || realm.password !== '') {
    throw realmRefused(registry, realm, 'it carries a user name or password')
  }
  if (realm.protocol === 'http:') {
    if (registry.protocol === 'https:') throw realmRefused(registry, realm, 'it leaves https')
    if (hasCredentials && realm.origin !== registry.origin && !insecure.has(realm.host)) {
      throw realmRefused(
        registry,
        realm,
        'another host gets credentials over https only, or when it is named as insecure',
      )
    }
  }
  return realm
}

function realmRefused(registry: URL, realm: URL | null, why: string): AuthError {
  const shown = realm === null ? 'its token service' : `its token service "${realm.protocol}//${realm.host}"`
  return new AuthError(
    'auth-realm-refused',
    `Cannot ask "${registry.host}" for a token at ${shown}: ${why}`,
    {
      facts: { registry: registry.host, realm: realm === null ? null : `${realm.protocol}//${realm.host}` },
    },
  )
}

function tokenRefused(
  realm: URL,
  registry: URL,
  repository: string,
  status: number,
  hasCredentials: boolean,
): Error {
  const facts = { registry: registry.host, realm: realm.host, repository, status }
  const what = `Cannot get a token for "${repository}" from "${realm.host}"`
  if (status === 401 || status === 403) {
    return hasCredentials
      ? new AuthError('auth-denied', `${what}: it does not accept the credentials`, { facts })
      : new AuthError('auth-required', `${what}: it wants credentials`, { facts })
  }
  return new RegistryError('registry-status', `${what}: it answered with status ${status}`, {
    facts,
    temporary: status === 429 || status >= 500,
  })
}

function parseToken(bytes: Uint8Array | null, realm: URL): { text: string; seconds: number } {
  const answer = bytes === null ? null : jsonObject(bytes)
  const token = answer?.token || answer?.access_token
  // What is not printable would break out of the header.
  if (typeof token !== 'string' || token.length > MAX_TOKEN || !/^[\x21-\x7e]+$/.test(token)) {
    throw new RegistryError(
      'registry-protocol',
      `Cannot use the answer of "${realm.host}": it has no token`,
      {
        facts: { realm: realm.host },
      },
    )
  }
  const seconds = answer?.expires_in
  const isUsable = typeof seconds === 'number' && seconds >= LEAST_SECONDS && seconds < 1e9
  return { text: token, seconds: isUsable ? seconds : LEAST_SECONDS }
}

function jsonObject(
  bytes: Uint8Array,
): { token?: unknown; access_token?: unknown; expires_in?: unknown } | null {
  try {
    const value: unknown = JSON.parse(Buffer.from(bytes).toString('utf8'))
    return typeof value === 'object' ? value : null
  } catch {
    return null // the caller says what is wrong with it
  }
}

function unknownScheme(registry: URL, challenges: readonly Challenge[]): AuthError {
  const schemes = challenges.map(({ scheme }) => scheme).slice(0, 8)
  const found = schemes.length === 0 ? 'it does not say how' : `it asks for ${schemes.map(quote).join(', ')}`
  return new AuthError(
    'auth-required',
    `Cannot log in at "${registry.host}": ${found}, only "bearer" and "basic" are known`,
    { facts: { registry: registry.host, schemes } },
  )
}
