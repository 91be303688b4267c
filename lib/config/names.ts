/**
 * Names of registries as configuration files write them.
 *
 * Docker Hub answers at registry-1.docker.io, which is its name everywhere else in groot; files call it docker.io,
 * index.docker.io or https://index.docker.io/v1/.
 */
import { isProblem, normalizeRegistry } from '../image/host.js'

/** What the files of podman and containerd call Docker Hub. */
export const HUB = 'docker.io'
/** Where it answers. */
export const HUB_HOST = 'registry-1.docker.io'
/** What Docker's own files and helpers call it. */
export const HUB_ADDRESS = 'https://index.docker.io/v1/'

const HUB_NAMES: ReadonlySet<string> = new Set([HUB, HUB_HOST, 'index.docker.io'])

/** The name of a registry in files, of any of its names in normal form. */
export function fileName(registry: string): string {
  return HUB_NAMES.has(registry) ? HUB : registry
}

/** The name of a registry that answers to it, of any of its names in normal form. */
export function answeringName(registry: string): string {
  return HUB_NAMES.has(registry) ? HUB_HOST : registry
}

/** Where the images of a registry are in a file's words: `docker.io/library/alpine`. */
export function imageName(registry: string, repository: string): string {
  return `${fileName(registry)}/${repository}`
}

export interface Location {
  /** As files name it, in normal form. */
  readonly host: string
  /** Empty, or a namespace or repository. */
  readonly path: string
}

const COMPONENT = '[a-z0-9]+(?:[._-]+[a-z0-9]+)*'
const PATH = new RegExp(`^${COMPONENT}(?:/${COMPONENT})*$`)

/**
 * Reads `HOST[:PORT][/NAMESPACE…]`; slashes at its end do not count.
 *
 * @returns what is wrong with it, as a text that follows its key, when it is no such thing
 */
export function parseLocation(text: string): Location | string {
  if (text.includes('://')) return 'has a scheme, which is said by other keys'
  const trimmed = text.replace(/\/+$/, '')
  const slash = trimmed.indexOf('/')
  const host = normalizeRegistry(slash < 0 ? trimmed : trimmed.slice(0, slash))
  if (isProblem(host)) return 'is not HOST[:PORT], or that with a namespace behind it'
  const path = slash < 0 ? '' : trimmed.slice(slash + 1)
  if (path !== '' && !PATH.test(path)) return 'has a namespace that no repository can have'
  return { host: fileName(host), path }
}

/**
 * Names of a registry's directories in certs.d, in the order in which they are looked for; the first that exists counts.
 *
 * @param name as files have it
 */
export function hostDirectories(name: string): string[] {
  const [, host, port] = /^(.+):([0-9]+)$/.exec(name) ?? []
  // The first form is for file systems that have no colons in names.
  return host === undefined ? [name] : [`${host}_${port}_`, name]
}

/** The directory for registries that have none of their own. */
export const DEFAULT_DIRECTORY = '_default'
