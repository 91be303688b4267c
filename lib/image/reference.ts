/**
 * References: what people write where an image is wanted, and what it can mean.
 *
 * A text may have several readings, and which one is right can depend on what is on disk; nobody looks there here. The
 * parser gives every reading that the grammar allows, likeliest first, and refuses what means two things whatever is on
 * disk. Names, tags and digests follow the distribution-spec ("Pulling manifests").
 */
import { type Digest, isDigest } from '../digest.js'
import { UsageError } from '../errors.js'
import { isProblem, looksLikeRegistry, normalizeRegistry, type Problem } from './host.js'
import { quote } from './json.js'

export interface RegistryReference {
  readonly kind: 'registry'
  /** `host[:port]` in normal form. */
  readonly registry: string
  readonly repository: string
  readonly tag?: string
  /** When there is one, the tag says nothing. */
  readonly digest?: Digest
}

interface LayoutReference<K extends 'oci' | 'oci-archive' = 'oci' | 'oci-archive'> {
  readonly kind: K
  readonly path: string
  /** The name that the layout's index gives the image (`org.opencontainers.image.ref.name`). */
  readonly tag?: string
  readonly digest?: Digest
}

interface DockerArchiveReference {
  readonly kind: 'docker-archive'
  readonly path: string
  /** `[HOST[:PORT]/]NAME[:TAG]` as the archive's manifest.json names the image, or `@N` for its Nth, from 0. */
  readonly reference?: string
}

/** A tar, plain or compressed, or a directory: told apart by looking. */
interface PathReference {
  readonly kind: 'path'
  readonly path: string
}

export type ImageReference =
  | RegistryReference
  | LayoutReference<'oci'>
  | LayoutReference<'oci-archive'>
  | DockerArchiveReference
  | PathReference
/** A reference that rests on something on disk. */
export type LocalReference = Exclude<ImageReference, RegistryReference>

const HUB = 'registry-1.docker.io'
const HUB_NAMES: ReadonlySet<string> = new Set([HUB, 'docker.io', 'index.docker.io'])
const FORMS = 'docker://HOST/NAME, docker:///NAME, oci:DIR, oci-archive:FILE, docker-archive:FILE or a path'
const MAX_TEXT = 8192
const MAX_READINGS = 64 // each is looked for on disk

/**
 * Parses the name of an image.
 *
 * @returns every reading, likeliest first; more than one only for texts that hold a path with a colon
 * @throws {UsageError} `reference-invalid`, or `reference-ambiguous` with both readings in the facts
 */
export function parseReference(text: string): [ImageReference, ...ImageReference[]] {
  if (text === '') throw invalid(text, { part: 'image', problem: `it is empty, it has to be ${FORMS}` })
  if (text.length > MAX_TEXT || /[\u0000-\u001f\u007f]/.test(text)) {
    throw invalid(text, {
      part: 'image',
      problem: 'it has control characters or is longer than a path can be',
    })
  }
  if (text.startsWith('docker:')) return [parseDocker(text)]
  for (const kind of ['oci', 'oci-archive', 'docker-archive'] as const) {
    if (text.startsWith(`${kind}:`)) return parseLocal(kind, text)
  }
  if (/^[A-Za-z][A-Za-z0-9+.-]*:\/\//.test(text) || FOREIGN.test(text)) {
    throw invalid(text, {
      part: 'image',
      problem: `it names a source that is not known, it has to be ${FORMS}`,
    })
  }
  return [{ kind: 'path', path: text }]
}

const FOREIGN = /^(?:containers-storage|dir|docker-daemon|file|oci-layout|ostree|sif):/ // of other tools

/** The full form, which parses to the same reference. */
export function printReference(reference: ImageReference): string {
  switch (reference.kind) {
    case 'registry':
      return `docker://${reference.registry}/${reference.repository}${suffix(reference)}`
    case 'oci':
    case 'oci-archive':
      return `${reference.kind}:${reference.path}${suffix(reference)}`
    case 'docker-archive':
      return `docker-archive:${reference.path}${reference.reference === undefined ? '' : `:${reference.reference}`}`
    case 'path':
      return reference.path
    default:
      return reference satisfies never
  }
}

function suffix({ tag, digest }: { readonly tag?: string; readonly digest?: Digest }): string {
  return `${tag === undefined ? '' : `:${tag}`}${digest === undefined ? '' : `@${digest}`}`
}

/**
 * What a path could also have meant: the image of a registry, as people name images to other tools.
 *
 * @returns the full form to write instead, or null
 */
export function registryReading(path: string): string | null {
  if (/\.(?:tar|tgz|tzst|gz|zst)$/.test(path)) return null
  const slash = path.indexOf('/')
  const first = path.slice(0, Math.max(slash, 0))
  const reading = looksLikeRegistry(first)
    ? readRegistry(first, path.slice(slash + 1))
    : readRegistry(HUB, path)
  if (isProblem(reading)) return null
  return looksLikeRegistry(first) ? `docker://${path}` : `docker:///${path}`
}

/** @throws {UsageError} `reference-ambiguous`, with the readings as facts */
export function ambiguous(text: string, readings: readonly string[], advice: string): UsageError {
  const shown = withoutSecrets(text)
  const either = readings.map((reading) => quote(reading)).join(' or ')
  return new UsageError(
    'reference-ambiguous',
    `Cannot read image ${quote(shown)}: it could mean ${either}${advice}`,
    {
      facts: { image: shown, readings },
    },
  )
}

function parseDocker(text: string): RegistryReference {
  if (!text.startsWith('docker://')) {
    const problem = 'after "docker:" have to come two slashes and a host, or three slashes for Docker Hub'
    throw invalid(text, { part: 'image', problem })
  }
  const rest = text.slice('docker://'.length)
  if (rest.startsWith('/')) return parseHub(text, rest.slice(1))

  const slash = rest.indexOf('/')
  const host = slash < 0 ? rest : rest.slice(0, slash)
  const isHost = looksLikeRegistry(host.replace(/[:@].*$/, ''))
  // Hosts have no case, so "Python" is as much a host or a name as "python" is.
  const hubName = `${host.toLowerCase()}${rest.slice(host.length)}`
  const hub = isHost ? null : readRegistry(HUB, hubName)
  // Other tools take the one for a name of Docker Hub and the other for a host; both can be right.
  if (hub !== null && !isProblem(hub)) {
    const other =
      slash < 0 ? `docker://${host.replace(/@.*$/, '')}/NAME` : `docker://${host}:443${rest.slice(slash)}`
    throw ambiguous(text, [other, `docker:///${hubName}`], ', write one of them')
  }
  if (slash >= 0 && host.includes('@')) {
    throw invalid(text, {
      part: 'host',
      problem: 'it has credentials before the host, they are given apart from it',
    })
  }
  if (slash < 0) {
    const problem = `it names a registry and no image, it has to be docker://HOST/NAME, or docker:///NAME for Docker Hub`
    throw invalid(text, { part: 'name', problem })
  }
  return orInvalid(text, readRegistry(host, rest.slice(slash + 1)))
}

function parseHub(text: string, rest: string): RegistryReference {
  const first = rest.includes('/') ? rest.slice(0, rest.indexOf('/')) : ''
  // Docker Hub has no names with a dot before the first slash, registries have.
  if (looksLikeRegistry(first) && !isProblem(readRegistry(first, rest.slice(first.length + 1)))) {
    throw ambiguous(text, [`docker://${rest}`, `docker://${HUB}/${rest}`], ', write one of them')
  }
  return orInvalid(text, readRegistry(HUB, rest))
}

function orInvalid(text: string, reading: RegistryReference | Problem): RegistryReference {
  if (isProblem(reading)) throw invalid(text, reading)
  return reading
}

const COMPONENT = '[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*'
const NAME = new RegExp(`^${COMPONENT}(?:/${COMPONENT})*$`)
const TAG = /^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$/
/** Names in an OCI layout (image-spec, annotations.md, `org.opencontainers.image.ref.name`). */
const REF_NAME = /^[A-Za-z0-9]+(?:(?:--|[-._:@+/])[A-Za-z0-9]+)*$/
const MAX_NAME = 255

/** `NAME[:TAG][@DIGEST]` at a registry. */
function readRegistry(host: string, rest: string): RegistryReference | Problem {
  const registry = normalizeRegistry(host)
  if (isProblem(registry)) return registry
  const at = rest.indexOf('@')
  const digest = at < 0 ? undefined : rest.slice(at + 1)
  const named = at < 0 ? rest : rest.slice(0, at)
  const colon = named.indexOf(':', named.lastIndexOf('/') + 1)
  const tag = colon < 0 ? undefined : named.slice(colon + 1)
  const given = colon < 0 ? named : named.slice(0, colon)
  const isHub = HUB_NAMES.has(registry)
  const name = isHub && given !== '' && !given.includes('/') ? `library/${given}` : given
  if (name.length > MAX_NAME || !NAME.test(name)) {
    const problem = `its name ${quote(given)} is not made of lower-case words with slashes between, 255 characters at most`
    return { part: 'name', problem }
  }
  if (tag !== undefined && !TAG.test(tag)) {
    return { part: 'tag', problem: `its tag ${quote(tag)} is not 1 to 128 letters, digits, "_", "." or "-"` }
  }
  if (digest !== undefined && !isDigest(digest)) {
    return {
      part: 'digest',
      problem: `its digest ${quote(digest)} is not sha256: and 64, or sha512: and 128, hex digits`,
    }
  }
  return {
    kind: 'registry',
    registry: isHub ? HUB : registry,
    repository: name,
    ...(tag === undefined && digest === undefined ? { tag: 'latest' } : {}),
    ...(tag === undefined ? {} : { tag }),
    ...(digest === undefined ? {} : { digest }),
  }
}

type LocalKind = 'oci' | 'oci-archive' | 'docker-archive'

function parseLocal(kind: LocalKind, text: string): [ImageReference, ...ImageReference[]] {
  const rest = text.slice(kind.length + 1)
  if (/^\/\/[^/]/.test(rest)) {
    // Some tools mean a registry by it, others a path.
    const host = withoutSecrets(rest).slice(2)
    throw ambiguous(text, [`docker://${host}`, `${kind}:${host}`], ', write one of them')
  }
  const path = rest.replace(/^\/{2,}/, '/')
  const split = kind === 'docker-archive' ? dockerArchiveReadings(path) : layoutReadings(kind, path)
  if (split.length > MAX_READINGS) throw invalid(text, { part: 'path', problem: 'it has too many colons' })
  if (path === '') throw invalid(text, { part: 'path', problem: `it has no path, it has to be ${kind}:PATH` })
  const [first = { kind, path }, ...others] = split
  const whole = split.length === 0 ? [] : [{ kind, path }]
  return [first, ...others, ...whole, { kind: 'path', path: text }]
}

function layoutReadings<K extends 'oci' | 'oci-archive'>(kind: K, text: string): LayoutReference<K>[] {
  const at = text.lastIndexOf('@')
  const digest = text.slice(at + 1)
  const byDigest = at > 0 && isDigest(digest) ? [{ kind, path: text.slice(0, at), digest }] : []
  const byTag = colons(text)
    .map((colon) => ({ kind, path: text.slice(0, colon), tag: text.slice(colon + 1) }))
    .filter(({ tag }) => TAG.test(tag) || (tag.length <= MAX_NAME && REF_NAME.test(tag)))
  return [...byDigest, ...byTag.reverse()]
}

/** The Nth image of an archive, from 0: how other tools name one that has no name. */
const IMAGE_NUMBER = /^@[0-9]{1,6}$/

function dockerArchiveReadings(text: string): DockerArchiveReference[] {
  return colons(text)
    .map((colon) => ({
      kind: 'docker-archive' as const,
      path: text.slice(0, colon),
      reference: text.slice(colon + 1),
    }))
    .filter(({ reference }) => isImageName(reference) || IMAGE_NUMBER.test(reference))
}

function isImageName(text: string): boolean {
  const slash = text.indexOf('/')
  const isNamed = slash > 0 && !isProblem(readRegistry(text.slice(0, slash), text.slice(slash + 1)))
  return isNamed || !isProblem(readRegistry(HUB, text))
}

/** Offsets of the colons that have something on both sides. */
function colons(text: string): number[] {
  return [...text.matchAll(/(?<=.):(?=.)/g)].map((match) => match.index)
}

function invalid(text: string, { part, problem }: Problem): UsageError {
  const shown = withoutSecrets(text)
  const message = `Cannot read image ${quote(shown)}: ${problem}`
  return new UsageError('reference-invalid', message, { facts: { image: shown, part } })
}

// People paste URLs with a password before the host; it belongs into no message.
function withoutSecrets(text: string): string {
  return text.replace(/\/\/[^/@]*@(?!sha\d)/, '//…@')
}
