/**
 * Where files are looked for: paths only, from what the caller said and the machine's conventions.
 */
import type { AuthFormat } from './auth-file.js'
import type { RegistrySettings } from './settings.js'

export interface Surroundings {
  /** Effective user id. */
  readonly uid: number
  /** The home directory as the system knows it, for when no HOME is set; null when there is none. */
  readonly home: string | null
}

/** A file or directory that may be there; one that the caller named has to be. */
export interface FilePlace {
  readonly path: string
  readonly isNamed: boolean
}

export interface AuthPlace extends FilePlace {
  readonly format: AuthFormat
}

const CONTAINERS = '/etc/containers'

/** Files with credentials, in the order in which they are looked into. */
export function authPlaces(settings: RegistrySettings, around: Surroundings): AuthPlace[] {
  const { environment: env = {} } = settings
  const named = settings.authFile ?? env.REGISTRY_AUTH_FILE
  if (named !== undefined) return [{ path: named, isNamed: true, format: 'config' }]
  if (settings.ignoreHostFiles) return []
  const home = homeOf(settings, around)
  const docker = env.DOCKER_CONFIG
  const paths = [
    below(docker ?? null, 'config.json'),
    below(absolute(env.XDG_RUNTIME_DIR), 'containers/auth.json') ?? `/run/containers/${around.uid}/auth.json`,
    below(userConfig(settings, around), 'containers/auth.json'),
    docker === undefined ? below(home, '.docker/config.json') : null,
  ].filter((path) => path !== null)
  const legacy = below(home, '.dockercfg')
  return [
    ...paths.map((path): AuthPlace => ({ path, isNamed: false, format: 'config' })),
    ...(legacy === null ? [] : [{ path: legacy, isNamed: false, format: 'legacy' as const }]),
  ]
}

/** The file that a login is written to: the one that was named, else Docker's; null when no home is known. */
export function loginPlace(settings: RegistrySettings, around: Surroundings): string | null {
  const { environment: env = {} } = settings
  return (
    settings.authFile ??
    env.REGISTRY_AUTH_FILE ??
    below(env.DOCKER_CONFIG ?? null, 'config.json') ??
    below(homeOf(settings, around), '.docker/config.json')
  )
}

export interface RegistriesConfPlaces {
  /** The first that is there counts. */
  readonly files: readonly FilePlace[]
  /** Directories with drop-ins, `*.conf`, in order; those that come with a file above come with no other. */
  readonly directories: readonly string[]
}

/**
 * Where registries.conf is: the one that was named, or a user's own, or the machine's.
 *
 * @param hasOwn whether the user's own file is there, which takes the place of the machine's with its drop-ins
 */
export function registriesConfPlaces(
  settings: RegistrySettings,
  around: Surroundings,
  hasOwn: (path: string) => boolean,
): RegistriesConfPlaces {
  const named = settings.registriesConf ?? settings.environment?.CONTAINERS_REGISTRIES_CONF
  if (named !== undefined) return { files: [{ path: named, isNamed: true }], directories: [`${named}.d`] }
  if (settings.ignoreHostFiles) return { files: [], directories: [] }
  const machine = `${CONTAINERS}/registries.conf`
  const own = around.uid === 0 ? null : below(userConfig(settings, around), 'containers/registries.conf')
  if (own === null) return { files: [{ path: machine, isNamed: false }], directories: [`${machine}.d`] }
  if (hasOwn(own)) return { files: [{ path: own, isNamed: false }], directories: [`${own}.d`] }
  return { files: [{ path: machine, isNamed: false }], directories: [`${machine}.d`, `${own}.d`] }
}

/** The directory in the form of containerd's certs.d; null for none. */
export function hostsPlace(settings: RegistrySettings): FilePlace | null {
  const named = settings.certsDirectory ?? settings.environment?.GROOT_CERTS_D
  if (named !== undefined) return { path: named, isNamed: true }
  return settings.ignoreHostFiles ? null : { path: '/etc/containerd/certs.d', isNamed: false }
}

/** Directories with certificates for registries, in the form of Docker's certs.d; the first that has a registry's counts. */
export function certificatePlaces(settings: RegistrySettings, around: Surroundings): string[] {
  if (settings.ignoreHostFiles) return []
  const own = around.uid === 0 ? null : below(userConfig(settings, around), 'containers/certs.d')
  return [...(own === null ? [] : [own]), `${CONTAINERS}/certs.d`, '/etc/docker/certs.d']
}

/** The certificates that this machine trusts, as distributions have them; the first that is there counts. */
export function systemCertificates({
  environment: env = {},
  ignoreHostFiles,
}: RegistrySettings): FilePlace[] {
  if (env.SSL_CERT_FILE !== undefined) return [{ path: env.SSL_CERT_FILE, isNamed: true }]
  if (ignoreHostFiles) return []
  return [
    '/etc/ssl/certs/ca-certificates.crt', // Debian, Alpine, Arch
    '/etc/pki/tls/certs/ca-bundle.crt', // Fedora, RHEL
    '/etc/ssl/ca-bundle.pem', // openSUSE
    '/etc/ssl/cert.pem',
  ].map((path) => ({ path, isNamed: false }))
}

export interface Proxies {
  readonly http?: string
  readonly https?: string
  readonly no?: string
}

/** What the environment says of proxies; upper case goes before lower case. */
export function proxySettings({ environment: env = {} }: RegistrySettings): Proxies {
  const http = env.HTTP_PROXY ?? env.http_proxy
  const https = env.HTTPS_PROXY ?? env.https_proxy
  const no = env.NO_PROXY ?? env.no_proxy
  return {
    ...(http === undefined ? {} : { http }),
    ...(https === undefined ? {} : { https }),
    ...(no === undefined ? {} : { no }),
  }
}

function userConfig(settings: RegistrySettings, around: Surroundings): string | null {
  return absolute(settings.environment?.XDG_CONFIG_HOME) ?? below(homeOf(settings, around), '.config')
}

function homeOf({ environment: env = {} }: RegistrySettings, { home }: Surroundings): string | null {
  return absolute(env.HOME) ?? home
}

// Relative paths in such variables are to be ignored (XDG base directory specification).
function absolute(path: string | undefined): string | null {
  return path?.startsWith('/') ? path : null
}

function below(directory: string | null, name: string): string | null {
  return directory === null ? null : `${directory.replace(/\/+$/, '')}/${name}`
}
