/**
 * The token service that a registry names: asked with the least that is needed, and with credentials only where they may
 * go.
 *
 * A GET with a password or without ("Docker Token Authentication"), a POST with an identity token (OAuth 2, RFC 6749,
 * section 6, as Docker's registries have it). Tokens are kept in auth.ts.
 */
import { AuthError, RegistryError } from '../errors.js'
import type { Answer } from './answer.js'
import { basicHeader } from './basic.js'
import type { Challenge } from './challenge.js'
import type { Access } from './connections.js'
import type { Credentials } from './hosts.js'
import { retryAfter } from './status.js'
import type { Request, Transport } from './transport.js'

export interface TokenRequest {
  readonly challenge: Challenge
  readonly credentials: Credentials | null
  /** Base address of the registry that asked. */
  readonly registry: URL
  /** Empty for a login, which is about no repository. */
  readonly repository: string
  readonly transport: Transport
  readonly access?: Access
  readonly mayUseHttp: (host: string) => boolean
  readonly signal: AbortSignal
}

const MAX_TOKEN_ANSWER = 1024 * 1024
const MAX_TOKEN = 16 * 1024 // longer headers no server takes
const LEAST_SECONDS = 60 // what the token scheme gives a token that says nothing
const TOKEN_TIMEOUT_MS = 120_000
const CLIENT_ID = 'groot'

/**
 * Gets a token to pull a repository with.
 *
 * @throws {AuthError} `auth-required`, `auth-denied`, `auth-realm-refused`
 * @throws {RegistryError}
 */
export async function fetchToken(
  request: TokenRequest,
): Promise<{ readonly text: string; readonly seconds: number }> {
  const { challenge, credentials, registry, repository, transport, access, signal } = request
  const hasCredentials = credentials !== null
  const realm = checkRealm(challenge.params.get('realm'), registry, hasCredentials, request.mayUseHttp)
  const answer = await transport.send({
    ...question(realm, challenge.params.get('service'), repository, credentials),
    headers: { accept: 'application/json' },
    sentBy: registry,
    wholeMs: TOKEN_TIMEOUT_MS,
    signal,
    ...(access === undefined ? {} : { access }),
  })
  if (answer.status === 200) return parseToken(await answer.read(MAX_TOKEN_ANSWER), realm)
  await answer.discard()
  throw tokenRefused(answer, realm, registry, repository, hasCredentials)
}

function question(
  realm: URL,
  service: string | undefined,
  repository: string,
  credentials: Credentials | null,
): Pick<Request, 'url' | 'authorization' | 'form'> {
  const fields = new URLSearchParams(service === undefined ? [] : [['service', service]])
  // Without a repository it is only about who we are.
  if (repository !== '') fields.append('scope', `repository:${repository}:pull`)
  if (credentials !== null && 'identityToken' in credentials) {
    fields.append('grant_type', 'refresh_token')
    fields.append('client_id', CLIENT_ID)
    fields.append('refresh_token', credentials.identityToken)
    return { url: realm, form: fields }
  }
  const url = new URL(realm)
  for (const [name, value] of fields) url.searchParams.append(name, value)
  return credentials === null ? { url } : { url, authorization: basicHeader(credentials) }
}

function checkRealm(
  text: string | undefined,
  registry: URL,
  hasCredentials: boolean,
  mayUseHttp: (host: string) => boolean,
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
    if (hasCredentials && realm.origin !== registry.origin && !mayUseHttp(realm.host)) {
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
  answer: Answer,
  realm: URL,
  registry: URL,
  repository: string,
  hasCredentials: boolean,
): Error {
  const { status, url } = answer
  const facts = { registry: registry.host, realm: realm.host, repository, status, answeredBy: url.origin }
  const what = `Cannot get a token for "${repository}" from "${realm.host}"`
  if (status === 401 || status === 403) {
    return hasCredentials
      ? new AuthError('auth-denied', `${what}: it does not accept the credentials`, { facts })
      : new AuthError('auth-required', `${what}: it wants credentials`, { facts })
  }
  return new RegistryError('registry-status', `${what}: it answered with status ${status}`, {
    facts: { ...facts, ...retryAfter(answer) },
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
