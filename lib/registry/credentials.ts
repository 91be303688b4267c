/**
 * Where credentials for registries are found: in the files of Docker and podman, and with the helpers that these name.
 *
 * Nothing is read before somebody asks, and each file once. A finder lives as long as one operation, so that tokens which
 * a helper renews are asked for again by the next. Who may see what was found is decided elsewhere.
 */
import {
  type AuthFile,
  type CredentialPlace,
  FILES_HELPER,
  parseAuthFile,
  placesInFile,
  serverAddresses,
} from '../config/auth-file.js'
import type { AuthPlace } from '../config/places.js'
import { readConfigFile } from './config-files.js'
import { getFromHelper } from './credential-helper.js'
import type { Credentials } from './hosts.js'

export interface FinderOptions {
  readonly places: readonly AuthPlace[]
  /** `credential-helpers` of registries.conf, asked for when credentials are. Default: the files alone. */
  readonly helpers?: () => Promise<readonly string[] | undefined>
}

export interface CredentialFinder {
  /**
   * The credentials for a repository: of the first place that has some.
   *
   * @param registry `host[:port]` in normal form
   * @param repository undefined for the registry as a whole
   * @returns null when nobody has any
   * @throws {UsageError} `configuration-invalid`
   * @throws {AuthError} `credential-helper-failed`
   * @throws {SystemError} for a file that cannot be read
   * @throws {AbortedError}
   */
  find(registry: string, repository: string | undefined, signal: AbortSignal): Promise<Credentials | null>
}

export function credentialFinder({
  places,
  helpers = async () => undefined,
}: FinderOptions): CredentialFinder {
  const files = new Map<AuthPlace, Promise<AuthFile | null>>()
  const readOnce = (place: AuthPlace) => {
    const known = files.get(place) ?? readAuthFile(place)
    files.set(place, known)
    return known
  }

  async function findInFiles(registry: string, repository: string | undefined, signal: AbortSignal) {
    for (const place of places) {
      const file = await readOnce(place)
      if (file === null) continue
      for (const found of placesInFile(file, registry, repository)) {
        const credentials = await take(found, signal)
        if (credentials !== null) return credentials
      }
    }
    return null
  }

  return {
    async find(registry, repository, signal) {
      for (const name of (await helpers()) ?? [FILES_HELPER]) {
        const credentials =
          name === FILES_HELPER
            ? await findInFiles(registry, repository, signal)
            : await take({ kind: 'helper', name, addresses: serverAddresses(registry) }, signal)
        if (credentials !== null) return credentials
      }
      return null
    },
  }
}

async function readAuthFile(place: AuthPlace): Promise<AuthFile | null> {
  const source = await readConfigFile(place)
  return source === null ? null : parseAuthFile(source, place.path, place.format)
}

async function take(place: CredentialPlace, signal: AbortSignal): Promise<Credentials | null> {
  if (place.kind === 'entry') return place.credentials
  for (const address of place.addresses) {
    const credentials = await getFromHelper(place.name, address, { signal })
    if (credentials !== null) return credentials
  }
  return null
}
