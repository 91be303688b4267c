/**
 * What the files of this machine say of registries, as the registry client wants it: containerd's certs.d, podman's
 * registries.conf, certificates and credentials, and what came with the call.
 *
 * Made for one operation. Nothing is read before it is asked for, and every file at most once. For one registry one
 * configuration decides where its images are: hosts.toml in the registry's own directory of certs.d; else an entry of
 * registries.conf; else hosts.toml in `_default`; else the registry itself. What registries.conf blocks is blocked
 * whatever else is said.
 */
import { existsSync } from 'node:fs'
import { homedir } from 'node:os'
import { fileName } from '../config/names.js'
import {
  authPlaces,
  certificatePlaces,
  hostsPlace,
  proxySettings,
  registriesConfPlaces,
  type Surroundings,
  systemCertificates as systemPlaces,
} from '../config/places.js'
import { findEntry, pullSources } from '../config/pull-sources.js'
import { mergeRegistriesConf, type RegistriesConf, type RegistryEntry } from '../config/registries.js'
import type { RegistrySettings } from '../config/settings.js'
import { expandAlias } from '../config/short-names.js'
import { RegistryError } from '../errors.js'
import type { EventSink } from '../events.js'
import { quote } from '../image/json.js'
import { readCertificates, systemCertificates } from './certificates.js'
import { CertsDirectories } from './certs-directories.js'
import { readConfigDirectory, readConfigFile } from './config-files.js'
import { type CredentialFinder, credentialFinder } from './credentials.js'
import { sourceEndpoint, tomlEndpoints, type UnreadEndpoint, withCertificates } from './host-endpoints.js'
import {
  type Credentials,
  type HostConfiguration,
  type ProxySettings,
  type RegistryEndpoint,
  registryItself,
  type WantedImage,
} from './hosts.js'

export interface HostFilesOptions {
  readonly settings: RegistrySettings
  /** Registries (`host[:port]` in normal form) that are talked to over http, by the caller's word. */
  readonly insecureRegistries: readonly string[]
  /** For the registry of the reference; files and helpers are not asked for that one then. */
  readonly credentials?: Credentials
  readonly events: EventSink
  /** Default: this process. */
  readonly around?: Surroundings
}

export interface HostFiles extends HostConfiguration {
  /**
   * Where a registry itself is asked, without any image and without mirrors. Throws as endpointsFor does.
   *
   * @param registry `host[:port]` in normal form
   */
  endpointOf(registry: string): Promise<RegistryEndpoint>
  /**
   * What a text without a host stands for by the aliases of registries.conf: `docker://HOST/NAME…`; null for no alias.
   *
   * @throws {UsageError} `configuration-invalid`
   */
  expandAlias(text: string): Promise<string | null>
}

/** Looks at nothing yet; what it throws later is UsageError `configuration-invalid` and SystemError, beside what is said. */
export function hostFiles(options: HostFilesOptions): HostFiles {
  return new MachineFiles(options)
}

export function surroundings(): Surroundings {
  const home = homedir()
  return { uid: process.geteuid?.() ?? 0, home: home.startsWith('/') ? home : null }
}

class MachineFiles implements HostFiles {
  readonly proxies: ProxySettings
  readonly #options: HostFilesOptions
  readonly #around: Surroundings
  readonly #certs: CertsDirectories
  readonly #finder: CredentialFinder
  /** Hosts (`URL.host`) that the caller or a file allows to be talked to over http. */
  readonly #plainHosts: Set<string>
  #conf: Promise<RegistriesConf> | null = null
  #certificates: readonly string[] | null = null

  constructor(options: HostFilesOptions) {
    const { settings, insecureRegistries } = options
    this.#options = options
    this.#around = options.around ?? surroundings()
    this.#certs = new CertsDirectories(
      hostsPlace(settings),
      certificatePlaces(settings, this.#around),
      (toml) => this.#warnUnknown(toml.file, toml.unknown),
    )
    this.#finder = credentialFinder({
      places: authPlaces(settings, this.#around),
      helpers: async () => (await this.#registriesConf()).credentialHelpers,
    })
    this.#plainHosts = new Set(insecureRegistries.map(urlHost))
    this.proxies = proxySettings(settings)
  }

  get certificates(): readonly string[] {
    this.#certificates ??= systemCertificates(systemPlaces(this.#options.settings))
    return this.#certificates
  }

  async endpointsFor(image: WantedImage): Promise<readonly RegistryEndpoint[]> {
    const conf = await this.#registriesConf()
    const entry = findEntry(conf, image)
    if (entry?.isBlocked) throw blocked(image, entry)
    const found = await this.#place(image, conf, entry)
    const endpoints = await Promise.all(found.map((endpoint) => this.#complete(endpoint)))
    for (const { host, security } of endpoints) {
      if (security === 'plain' || security === 'any') this.#plainHosts.add(urlHost(host))
    }
    return endpoints
  }

  async endpointOf(registry: string): Promise<RegistryEndpoint> {
    const image = { registry, repository: ANY_REPOSITORY }
    const itself = (await this.endpointsFor(image)).find(({ host }) => host === registry)
    return itself ?? (await this.#complete({ endpoint: registryItself(image, false), paths: null }))
  }

  async credentialsFor(endpoint: RegistryEndpoint, signal: AbortSignal): Promise<Credentials | null> {
    const { credentials } = this.#options
    if (credentials !== undefined && !endpoint.isMirror) return credentials
    return await this.#finder.find(endpoint.host, endpoint.repository, signal)
  }

  mayUseHttp(host: string): boolean {
    return this.#plainHosts.has(host)
  }

  async expandAlias(text: string): Promise<string | null> {
    return expandAlias(text, (await this.#registriesConf()).aliases)
  }

  async #place(
    image: WantedImage,
    conf: RegistriesConf,
    entry: RegistryEntry | null,
  ): Promise<readonly UnreadEndpoint[]> {
    const own = await this.#certs.hostsToml(fileName(image.registry))
    if (own !== null) return tomlEndpoints(own, image)
    const sources = pullSources(conf, image)
    if (sources !== null && entry !== null)
      return sources.map((source) => sourceEndpoint(source, entry, image))
    const fallback = await this.#certs.defaultHostsToml(fileName(image.registry))
    return fallback === null
      ? [{ endpoint: registryItself(image, false), paths: null }]
      : tomlEndpoints(fallback, image)
  }

  /** Reads the certificates, and adds the caller's word on http, which counts most. */
  async #complete({ endpoint, paths }: UnreadEndpoint): Promise<RegistryEndpoint> {
    const certificates =
      paths === null ? await this.#certs.certificates(fileName(endpoint.host)) : await readCertificates(paths)
    const isInsecure = this.#options.insecureRegistries.includes(endpoint.host)
    return withCertificates(isInsecure ? { ...endpoint, security: 'plain' } : endpoint, certificates)
  }

  #registriesConf(): Promise<RegistriesConf> {
    this.#conf ??= this.#readRegistriesConf()
    return this.#conf
  }

  async #readRegistriesConf(): Promise<RegistriesConf> {
    const { files, directories } = registriesConfPlaces(this.#options.settings, this.#around, existsSync)
    const places = [...files]
    for (const directory of directories) {
      const names = (await readConfigDirectory({ path: directory, isNamed: false })) ?? []
      const dropIns = names.filter((name) => name.endsWith('.conf'))
      places.push(...dropIns.map((name) => ({ path: `${directory}/${name}`, isNamed: false })))
    }
    const parsed: RegistriesConf[] = []
    for (const place of places) {
      const source = await readConfigFile(place)
      if (source === null) continue
      // Loaded where there is such a file.
      const { parseRegistriesConf } = await import('../config/registries-conf.js')
      const conf = parseRegistriesConf(source, place.path)
      this.#warnUnknown(place.path, conf.unknown)
      parsed.push(conf)
    }
    return mergeRegistriesConf(parsed)
  }

  #warnUnknown(file: string, keys: readonly string[]): void {
    if (keys.length === 0) return
    this.#options.events({
      kind: 'warning',
      code: 'setting-unknown',
      message: `In ${quote(file)} there are settings that groot does not know: ${keys.slice(0, 10).join(', ')}`,
      facts: { file, keys },
    })
  }
}

/** No entry for a namespace is for it, unless by chance. */
const ANY_REPOSITORY = 'any'

function urlHost(name: string): string {
  return new URL(`http://${name}`).host
}

function blocked({ registry, repository }: WantedImage, { prefix, file }: RegistryEntry): RegistryError {
  return new RegistryError(
    'registry-blocked',
    `Cannot use "${registry}/${repository}": ${quote(file)} blocks ${quote(prefix)}`,
    { facts: { registry, repository, prefix, file } },
  )
}
