/**
 * Credentials: what a registry gets to see, and who else does.
 *
 * Basic (RFC 7617) and the bearer tokens of registries (distribution-spec leaves them to the "Docker Token
 * Authentication" scheme). Tokens are asked for with the least that is needed, `repository:NAME:pull`, whatever scope
 * the registry names. Where the credentials come from is not known here.
 */
import { AuthError, throwIfAborted } from '../errors.js'
import { quote } from '../image/json.js'
import { basicHeader } from './basic.js'
import { type Challenge, parseChallenges } from './challenge.js'
import type { Access } from './connections.js'
import type { Credentials } from './hosts.js'
import { fetchToken } from './token-service.js'
import type { Transport } from './transport.js'

/** What one endpoint of a registry gets to see. */
export interface Authenticator {
  /** The Authorization header for a repository, as far as it is known; none before the first challenge. */
  header(repository: string): string | undefined
  /**
   * Answers a challenge: a new Authorization header, fetched if need be. Those who ask at once share one token.
   *
   * @param sent the Authorization header that was not enough
   * @param registry base address of the registry that asked
   * @throws {AuthError} `auth-required`, `auth-denied`, `auth-realm-refused`
   * @throws {RegistryError}
   */
  answer(
    challenge: string | null,
    sent: string | undefined,
    registry: URL,
    repository: string,
    signal: AbortSignal,
  ): Promise<string>
  /** The error for a registry that still says no. */
  denied(
    registry: URL,
    repository: string,
    status: number,
    detail: string | null,
    signal: AbortSignal,
  ): Promise<AuthError>
  /** Text without anything secret in it that this room knows of. */
  redact(text: string): string
}

export interface AuthenticatorOptions {
  readonly transport: Transport
  /** How to connect to the endpoint, for a token service that is there too. */
  readonly access?: Access
  /** Asked for once, at the first challenge. */
  readonly credentials: (signal: AbortSignal) => Promise<Credentials | null>
  /** Whether a host (`URL.host`) may see credentials over http. */
  readonly mayUseHttp: (host: string) => boolean
  /** More that is never shown. */
  readonly secrets?: readonly string[]
  /** Milliseconds of a clock that never jumps. */
  readonly now?: () => number
}

const MARGIN_MS = 5_000 // so that a token does not run out on the way

interface Token {
  readonly text: string
  /** By the clock of the options. */
  readonly until: number
}

export function createAuthenticator(options: AuthenticatorOptions): Authenticator {
  return new EndpointAuthenticator(options)
}

class EndpointAuthenticator implements Authenticator {
  readonly #options: AuthenticatorOptions
  readonly #now: () => number
  readonly #tokens = new Map<string, Token>()
  readonly #asked = new Map<string, Promise<Token>>()
  readonly #secrets: Set<string>
  /** Undefined as long as nobody asked for them. */
  #credentials: Credentials | null | undefined
  #basic: string | undefined

  constructor(options: AuthenticatorOptions) {
    this.#options = options
    this.#now = options.now ?? (() => performance.now())
    this.#secrets = new Set(options.secrets)
  }

  header(repository: string): string | undefined {
    if (this.#basic !== undefined) return this.#basic
    const token = this.#tokens.get(repository)
    return token !== undefined && token.until > this.#now() ? `Bearer ${token.text}` : undefined
  }

  async answer(
    header: string | null,
    sent: string | undefined,
    registry: URL,
    repository: string,
    signal: AbortSignal,
  ): Promise<string> {
    // Somebody else may have brought what was missing since the request was sent.
    const known = this.header(repository)
    if (known !== undefined && known !== sent) return known
    const challenges = header === null ? [] : parseChallenges(header)
    const bearer = challenges.find(({ scheme }) => scheme === 'bearer')
    if (bearer !== undefined) return `Bearer ${await this.#token(bearer, registry, repository, signal)}`
    if (!challenges.some(({ scheme }) => scheme === 'basic')) throw unknownScheme(registry, challenges)
    const credentials = await this.#ask(signal)
    if (credentials === null) throw denied(false, registry, repository, 401, null)
    if ('identityToken' in credentials) throw onlyTokens(registry, repository)
    this.#basic = basicHeader(credentials)
    return this.#basic
  }

  async denied(
    registry: URL,
    repository: string,
    status: number,
    detail: string | null,
    signal: AbortSignal,
  ): Promise<AuthError> {
    return denied((await this.#ask(signal)) !== null, registry, repository, status, detail)
  }

  redact(text: string): string {
    let clean = text
    for (const secret of this.#secrets) if (secret.length > 3) clean = clean.replaceAll(secret, '…')
    return clean
  }

  async #token(
    challenge: Challenge,
    registry: URL,
    repository: string,
    signal: AbortSignal,
  ): Promise<string> {
    throwIfAborted(signal)
    let asked = this.#asked.get(repository)
    if (asked === undefined) {
      asked = this.#fetchToken(challenge, registry, repository, signal)
      this.#asked.set(repository, asked)
      const forget = () => void this.#asked.delete(repository)
      asked.then(forget, forget)
    }
    try {
      return (await asked).text
    } catch (error) {
      throwIfAborted(signal)
      // Who asked for all of us has given up, which is no reason for the rest.
      if ((error as { code?: unknown }).code !== 'aborted') throw error
      return await this.#token(challenge, registry, repository, signal)
    }
  }

  async #fetchToken(
    challenge: Challenge,
    registry: URL,
    repository: string,
    signal: AbortSignal,
  ): Promise<Token> {
    const credentials = await this.#ask(signal)
    const { text, seconds } = await fetchToken({
      ...this.#options,
      challenge,
      credentials,
      registry,
      repository,
      signal,
    })
    this.#secrets.add(text)
    const token = { text, until: this.#now() + seconds * 1000 - MARGIN_MS }
    this.#tokens.set(repository, token)
    return token
  }

  async #ask(signal: AbortSignal): Promise<Credentials | null> {
    if (this.#credentials === undefined) {
      const found = await this.#options.credentials(signal)
      // Two may have asked at once; the first answer stays.
      this.#credentials ??= found
      for (const secret of found === null ? [] : secretsOf(found)) this.#secrets.add(secret)
    }
    return this.#credentials
  }
}

function secretsOf(credentials: Credentials): string[] {
  if ('identityToken' in credentials) return [credentials.identityToken]
  return [credentials.password, basicHeader(credentials).slice('Basic '.length)]
}

function onlyTokens(registry: URL, repository: string): AuthError {
  return new AuthError(
    'auth-denied',
    `Cannot log in at "${registry.host}": it wants a user name and a password, and there is an identity token only`,
    { facts: { registry: registry.host, repository, status: 401, detail: null } },
  )
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

function unknownScheme(registry: URL, challenges: readonly Challenge[]): AuthError {
  const schemes = challenges.map(({ scheme }) => scheme).slice(0, 8)
  const found = schemes.length === 0 ? 'it does not say how' : `it asks for ${schemes.map(quote).join(', ')}`
  return new AuthError(
    'auth-required',
    `Cannot log in at "${registry.host}": ${found}, only "bearer" and "basic" are known`,
    { facts: { registry: registry.host, schemes } },
  )
}
