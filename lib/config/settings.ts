/**
 * What a caller may say about where registries are configured, and the variables of an environment that say the same.
 *
 * The library reads no environment by itself: a caller hands over the variables that shall count. Nothing is read here.
 */

export interface RegistrySettings {
  /** The one file to take credentials from, in the form of Docker's config.json or podman's auth.json. */
  readonly authFile?: string
  /** A directory like containerd's certs.d, in its place: `HOST/hosts.toml`. */
  readonly certsDirectory?: string
  /** A file like /etc/containers/registries.conf, in its place; its drop-ins are those in `FILE.d`. */
  readonly registriesConf?: string
  /** Whether this machine's files count as absent; the three above are read all the same. Default false. */
  readonly ignoreHostFiles?: boolean
  /** The variables that say where files and proxies are; see registryEnvironment(). Default: none is set. */
  readonly environment?: Readonly<Record<string, string>>
}

/** Every variable that matters, in the order of docs/registries.md. */
const VARIABLES = [
  'REGISTRY_AUTH_FILE',
  'DOCKER_CONFIG',
  'XDG_RUNTIME_DIR',
  'XDG_CONFIG_HOME',
  'HOME',
  'GROOT_CERTS_D',
  'CONTAINERS_REGISTRIES_CONF',
  'SSL_CERT_FILE',
  'HTTP_PROXY',
  'HTTPS_PROXY',
  'NO_PROXY',
  'http_proxy',
  'https_proxy',
  'no_proxy',
] as const

/**
 * The variables of an environment that matter for registries; empty ones count as unset.
 *
 * `{ environment: registryEnvironment(process.env) }` makes the library look where the command does.
 */
export function registryEnvironment(
  env: Readonly<Record<string, string | undefined>>,
): Record<string, string> {
  const found: Record<string, string> = {}
  for (const name of VARIABLES) {
    const value = env[name]
    if (value !== undefined && value !== '') found[name] = value
  }
  return found
}
