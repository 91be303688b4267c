/**
 * login and logout: credentials for a registry, verified and kept where Docker keeps them. No store is needed.
 */
import { answeringName } from '../config/names.js'
import { authPlaces, loginPlace } from '../config/places.js'
import { throwIfAborted, toGrootError, UsageError } from '../errors.js'
import { isProblem, normalizeRegistry } from '../image/host.js'
import { quote } from '../image/json.js'
import {
  eraseCredentials,
  filesWithEntry,
  type Keeper,
  storeCredentials,
} from '../registry/auth-file-store.js'
import { basicHeader } from '../registry/basic.js'
import { surroundings } from '../registry/host-files.js'
import { verifyLogin } from '../registry/verify-login.js'
import type { LoginRequest, LoginResult, LogoutRequest, LogoutResult } from './api.js'
import { eventSink, signalOf } from './call.js'
import { registryHosts } from './registry-hosts.js'

/**
 * Verifies credentials with a registry and keeps them. When this throws, nothing has changed.
 *
 * @throws {UsageError} `option-invalid`, `configuration-invalid`
 * @throws {AuthError} `auth-denied`, `auth-required`, `auth-realm-refused`, `credential-helper-failed`
 * @throws {RegistryError}
 * @throws {SystemError}
 */
export async function login(request: LoginRequest): Promise<LoginResult> {
  const host = readHost(request.host)
  return await asGroot(`Cannot log in at ${quote(host)}`, async () => {
    const { credentials, registry: settings = {} } = request
    const [events, signal] = [eventSink(request), signalOf(request)]
    basicHeader(credentials) // refuses what could not be sent
    const path = filePath(request)
    const { onEvent, insecureRegistries } = request
    const hosts = await registryHosts({
      registry: settings,
      ...(onEvent === undefined ? {} : { onEvent }),
      ...(insecureRegistries === undefined ? {} : { insecureRegistries }),
    })
    const endpoint = await hosts.endpointOf(host)
    const isVerified = await verifyLogin(endpoint, credentials, hosts, signal)
    throwIfAborted(signal)
    const keeper = await storeCredentials(path, host, credentials, signal)

    if (!isVerified) {
      events({
        kind: 'warning',
        code: 'login-unverified',
        message: `Nobody knows whether the credentials are right: ${quote(host)} lets everybody in`,
        facts: { host },
      })
    }
    const places = authPlaces(settings, surroundings())
    const before = places.slice(
      0,
      Math.max(
        0,
        places.findIndex((place) => place.path === path),
      ),
    )
    for (const file of await filesWithEntry(before, host)) {
      events({
        kind: 'warning',
        code: 'login-shadowed',
        message: `Other credentials for ${quote(host)} count before these: those in ${quote(file)}`,
        facts: { host, file },
      })
    }
    return { host, keptIn: keptIn(keeper) }
  })
}

/**
 * Forgets the credentials for a registry; that there are none is no error.
 *
 * @throws {UsageError} `option-invalid`, `configuration-invalid`
 * @throws {AuthError} `credential-helper-failed`
 * @throws {SystemError}
 */
export async function logout(request: LogoutRequest): Promise<LogoutResult> {
  const host = readHost(request.host)
  return await asGroot(`Cannot log out at ${quote(host)}`, async () => {
    const events = eventSink(request)
    const path = filePath(request)
    const existed = await eraseCredentials(path, host, signalOf(request))
    const others = authPlaces(request.registry ?? {}, surroundings()).filter((place) => place.path !== path)
    for (const file of await filesWithEntry(others, host)) {
      events({
        kind: 'warning',
        code: 'logout-incomplete',
        message: `There are other credentials for ${quote(host)}, in ${quote(file)}`,
        facts: { host, file },
      })
    }
    return { host, existed }
  })
}

/** `HOST[:PORT]`, also in the form of an address, as Docker's is `https://index.docker.io/v1/`. */
function readHost(text: string): string {
  const bare = text.replace(/^https?:\/\//i, '').replace(/\/(?:v[12]\/?)?$/, '')
  const host = normalizeRegistry(bare)
  if (!isProblem(host)) return answeringName(host)
  throw new UsageError('option-invalid', `Cannot log in at ${quote(text)}: ${host.problem}`, {
    facts: { option: 'host', value: text },
  })
}

function filePath({ registry: settings = {} }: LogoutRequest): string {
  const path = loginPlace(settings, surroundings())
  if (path !== null) return path
  throw new UsageError(
    'option-invalid',
    'Cannot choose a file for credentials: no home directory is known; name a file',
    { facts: { option: 'authFile' } },
  )
}

function keptIn(keeper: Keeper): LoginResult['keptIn'] {
  return keeper.kind === 'file'
    ? { kind: 'file', path: keeper.path }
    : { kind: 'helper', name: `docker-credential-${keeper.name}` }
}

async function asGroot<T>(doing: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    throw toGrootError(error, doing)
  }
}
