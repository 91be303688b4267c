/**
 * Which entry of registries.conf is for an image, and where it says that the image is.
 */
import { answeringName, imageName, type Location } from './names.js'
import type { RegistriesConf, RegistryEntry } from './registries.js'

/** A reference in groot's words: the registry in normal form. */
export interface NamedImage {
  readonly registry: string
  readonly repository: string
  readonly tag?: string
  readonly digest?: string
}

export interface PullSource {
  /** The name that answers, in normal form. */
  readonly host: string
  /** Empty when the entry leaves nothing to name a repository. */
  readonly repository: string
  readonly isInsecure: boolean
  readonly isMirror: boolean
}

interface Match {
  readonly entry: RegistryEntry
  /** How many characters of `host/repository:tag@digest` the prefix stands for. */
  readonly length: number
}

/** The entry with the longest prefix; one without a wildcard before one with. */
export function findEntry(conf: RegistriesConf, image: NamedImage): RegistryEntry | null {
  return findMatch(conf, image)?.entry ?? null
}

/**
 * Where an image is, in order: the mirrors that are for it, then the registry, or what stands in its place.
 *
 * @returns null when no entry is for the image
 */
export function pullSources(conf: RegistriesConf, image: NamedImage): PullSource[] | null {
  const match = findMatch(conf, image)
  if (match === null) return null
  const { entry, length } = match
  const name = imageName(image.registry, image.repository)
  // Without the slash after what was matched; nothing when the prefix stands for all of the name, or that and a tag.
  const rest = name.slice(length).replace(/^\//, '')
  const isByDigest = image.digest !== undefined
  const mirrors = entry.mirrors.filter(
    ({ pullFrom }) => pullFrom === 'all' || (pullFrom === 'digest-only') === isByDigest,
  )
  const itself =
    entry.location === null
      ? { host: image.registry, repository: image.repository }
      : placeOf(entry.location, rest)
  return [
    ...mirrors.map(({ location, isInsecure }) => ({
      ...placeOf(location, rest),
      isInsecure,
      isMirror: true,
    })),
    { ...itself, isInsecure: entry.isInsecure, isMirror: itself.host !== image.registry },
  ]
}

function placeOf(location: Location, rest: string): { readonly host: string; readonly repository: string } {
  const repository = location.path === '' ? rest : rest === '' ? location.path : `${location.path}/${rest}`
  return { host: answeringName(location.host), repository }
}

function findMatch({ registries }: RegistriesConf, image: NamedImage): Match | null {
  const name = imageName(image.registry, image.repository)
  const whole = `${name}${image.tag === undefined ? '' : `:${image.tag}`}${image.digest === undefined ? '' : `@${image.digest}`}`
  let best: Match | null = null
  for (const entry of registries.values()) {
    const length = entry.prefix.startsWith('*.')
      ? matchWildcard(whole, entry.prefix)
      : matchPlain(whole, entry.prefix)
    if (length === null) continue
    const match = { entry, length }
    if (best === null || isBetter(match, best)) best = match
  }
  return best
}

function isBetter(a: Match, b: Match): boolean {
  if (a.length !== b.length) return a.length > b.length
  const [first, second] = [a.entry.prefix, b.entry.prefix]
  const isPlain = (prefix: string) => !prefix.startsWith('*.')
  if (isPlain(first) !== isPlain(second)) return isPlain(first)
  return first.length > second.length
}

/** How much of an image's name a prefix stands for: all of it up to a border between parts. A port is part of a host. */
function matchPlain(whole: string, prefix: string): number | null {
  if (!whole.startsWith(prefix)) return null
  const next = whole.charAt(prefix.length)
  const isBorder = next === '' || next === '/' || (prefix.includes('/') && (next === ':' || next === '@'))
  return isBorder ? prefix.length : null
}

/** A wildcard stands for one or more labels of the host, and for any port unless it names one. */
function matchWildcard(whole: string, prefix: string): number | null {
  const slash = whole.indexOf('/')
  const host = whole.slice(0, slash)
  const end = prefix.indexOf('/')
  const pattern = prefix.slice(1, end < 0 ? prefix.length : end) // ".example.com"
  const compared = pattern.includes(':') ? host : host.replace(/:[0-9]+$/, '')
  if (!compared.endsWith(pattern) || compared.length === pattern.length) return null
  if (end < 0) return host.length
  const rest = matchPlain(whole.slice(slash), prefix.slice(end))
  return rest === null ? null : host.length + rest
}
