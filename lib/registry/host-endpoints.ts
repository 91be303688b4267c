/**
 * From what files say of hosts to endpoints of the registry client. No file is read here.
 */
import { dirname } from 'node:path'
import type { HostOptions, HostsToml, TomlHost } from '../config/hosts-toml.js'
import { fileName } from '../config/names.js'
import type { PullSource } from '../config/pull-sources.js'
import type { RegistryEntry } from '../config/registries.js'
import { invalidConfiguration } from '../config/value.js'
import type { CertificatePaths, Certificates } from './certificates.js'
import { type EndpointSecurity, type RegistryEndpoint, registryItself, type WantedImage } from './hosts.js'

/** An endpoint whose certificates are still to be read; null where the host has none of its own. */
export interface UnreadEndpoint {
  readonly endpoint: RegistryEndpoint
  readonly paths: CertificatePaths | null
}

/**
 * The endpoints of a hosts.toml, in its order and the server last.
 *
 * @throws {UsageError} `configuration-invalid` when none of them is there to pull from
 */
export function tomlEndpoints(toml: HostsToml, image: WantedImage): UnreadEndpoint[] {
  const last =
    toml.server === null
      ? withOptions(registryItself(image, false), toml.serverOptions)
      : hostEndpoint(toml.server, image)
  const hosts = toml.hosts.map((host) => ({
    endpoint: hostEndpoint(host, image),
    options: host as HostOptions,
  }))
  const found = [...hosts, { endpoint: last, options: toml.serverOptions }]
    .filter(({ endpoint }) => endpoint.capabilities.size > 0)
    .map(({ endpoint, options }) => ({ endpoint, paths: pathsOf(options, dirname(toml.file)) }))
  if (found.length === 0) throw invalidConfiguration(toml.file, '', 'leaves no host to pull from')
  return found
}

/** @throws {UsageError} `configuration-invalid` when the entry leaves no name for the image there */
export function sourceEndpoint(source: PullSource, entry: RegistryEntry, image: WantedImage): UnreadEndpoint {
  const { host, repository, isInsecure, isMirror } = source
  if (repository === '') {
    throw invalidConfiguration(
      entry.file,
      '',
      `has no name for ${image.repository} at ${host}, only the host`,
    )
  }
  // A host of one part is Docker Hub's own way to write library/NAME.
  const name = fileName(host) !== host && !repository.includes('/') ? `library/${repository}` : repository
  const itself = registryItself({ registry: host, repository: name }, false)
  return { endpoint: { ...itself, isMirror, security: isInsecure ? 'any' : itself.security }, paths: null }
}

export function withCertificates(endpoint: RegistryEndpoint, { ca, client }: Certificates): RegistryEndpoint {
  return {
    ...endpoint,
    ...(ca.length === 0 ? {} : { ca }),
    ...(client.length === 0 ? {} : { client }),
  }
}

function hostEndpoint(host: TomlHost, image: WantedImage): RegistryEndpoint {
  const isMirror = !isSameHost(host, image.registry)
  const security = host.scheme === 'http' ? 'plain' : 'verified'
  return withOptions(
    {
      host: isMirror ? host.host : image.registry,
      path: host.path,
      repository: image.repository,
      security,
      capabilities: host.capabilities,
      isMirror,
      ...(isMirror ? { namespace: fileName(image.registry) } : {}),
    },
    host,
  )
}

/** With the port that a scheme has anyway, and without it. */
function isSameHost({ scheme, host }: TomlHost, registry: string): boolean {
  return new URL(`${scheme}://${host}`).host === new URL(`${scheme}://${registry}`).host
}

function withOptions(endpoint: RegistryEndpoint, options: HostOptions): RegistryEndpoint {
  const { skipVerify, headers, dialTimeoutMs } = options
  return {
    ...endpoint,
    security: skipVerify === true ? UNVERIFIED[endpoint.security] : endpoint.security,
    ...(Object.keys(headers).length === 0 ? {} : { headers }),
    ...(dialTimeoutMs === undefined ? {} : { connectTimeoutMs: dialTimeoutMs }),
  }
}

/** What becomes of each when certificates are not looked at; with http, containerd then tries TLS first too. */
const UNVERIFIED: Readonly<Record<EndpointSecurity, EndpointSecurity>> = {
  verified: 'unverified',
  unverified: 'unverified',
  plain: 'any',
  loopback: 'any',
  any: 'any',
}

function pathsOf({ ca, client }: HostOptions, directory: string): CertificatePaths | null {
  if (ca.length === 0 && client.length === 0) return null
  const absolute = (path: string) => (path.startsWith('/') ? path : `${directory}/${path}`)
  return {
    ca: ca.map(absolute),
    client: client.map(({ cert, key }) => ({ cert: absolute(cert), key: absolute(key ?? cert) })),
  }
}
