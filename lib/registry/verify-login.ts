/**
 * Whether a registry takes credentials: the base of its interface, asked with them (distribution-spec, "Determining
 * Support"; Docker's registries say there who may come in at all).
 *
 * Asked once: whoever logs in is there to see what is wrong and try again.
 */
import { AuthError, isGrootError, RegistryError } from '../errors.js'
import type { Answer } from './answer.js'
import { createAuthenticator } from './auth.js'
import { accessOf } from './connections.js'
import { endpointBase } from './endpoint.js'
import type { HostConfiguration, PasswordCredentials, RegistryEndpoint } from './hosts.js'
import { readComplaint } from './status.js'
import { createTransport } from './transport.js'

const TIMEOUT_MS = 60_000

/**
 * Asks a registry whether it accepts credentials.
 *
 * @returns false when it lets everybody in, so that nobody knows
 * @throws {AuthError} `auth-denied`, `auth-required` for a scheme that is not known, `auth-realm-refused`
 * @throws {RegistryError}
 * @throws {AbortedError}
 */
export async function verifyLogin(
  endpoint: RegistryEndpoint,
  credentials: PasswordCredentials,
  hosts: HostConfiguration,
  signal: AbortSignal,
): Promise<boolean> {
  const transport = createTransport({
    get certificates() {
      return hosts.certificates ?? []
    },
    proxies: hosts.proxies ?? {},
  })
  const access = accessOf(endpoint, null)
  const auth = createAuthenticator({
    transport,
    access,
    credentials: async () => credentials,
    mayUseHttp: (host) => hosts.mayUseHttp(host),
  })
  try {
    const base = await endpointBase(endpoint, access, transport)(signal)
    const ask = (authorization?: string) =>
      transport.send({
        url: new URL(`${endpoint.path}/`, base),
        headers: {},
        ownHeaders: endpoint.headers ?? {},
        access,
        wholeMs: TIMEOUT_MS,
        signal,
        ...(authorization === undefined ? {} : { authorization }),
      })
    let answer = await ask()
    const isChallenge = answer.status === 401 && answer.url.origin === base.origin
    if (isChallenge) {
      const challenge = answer.header('www-authenticate')
      await answer.discard()
      answer = await ask(await auth.answer(challenge, undefined, base, '', signal))
    }
    if (answer.status !== 200)
      throw refused(endpoint, answer, await readComplaint(answer, auth.redact.bind(auth)))
    await answer.discard()
    return isChallenge
  } catch (error) {
    if (isGrootError(error) && error.code === 'auth-denied') throw denied(endpoint, error)
    throw error
  } finally {
    transport.close()
  }
}

function refused(
  { host }: RegistryEndpoint,
  { status, url }: Answer,
  detail: string | null,
): AuthError | RegistryError {
  const said = detail === null ? '' : ` (${detail})`
  const facts = { registry: host, status, answeredBy: url.origin, detail }
  if (status === 401 || status === 403) {
    return new AuthError('auth-denied', `the registry answered with status ${status}${said}`, { facts })
  }
  const found = status === 404 ? 'it does not answer as registries do' : `it answered with status ${status}`
  return new RegistryError('registry-status', `Cannot log in at "${host}": ${found}${said}`, {
    facts,
    temporary: status === 429 || status >= 500,
  })
}

function denied(
  { host }: RegistryEndpoint,
  cause: AuthError | { readonly facts: AuthError['facts'] },
): AuthError {
  const { detail } = cause.facts
  const said = typeof detail === 'string' ? ` (${detail})` : ''
  return new AuthError(
    'auth-denied',
    `Cannot log in at "${host}": it does not accept the credentials${said}`,
    {
      facts: { ...cause.facts, registry: host },
      cause,
    },
  )
}
