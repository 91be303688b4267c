/**
 * Opens the source that the name of an image means: one table, one line for each kind.
 *
 * The name is parsed in lib/image/reference.ts; where it has several readings, what is on disk decides here, and when
 * that does not decide, nobody guesses. Each source is loaded when it is used.
 */
import { type Stats, statSync } from 'node:fs'
import path from 'node:path'
import { isErrno, NotFoundError, toGrootError, UsageError } from '../errors.js'
import { quote } from '../image/json.js'
import {
  ambiguous,
  type ImageReference,
  type LocalReference,
  parseReference,
  type RegistryReference,
  registryReading,
} from '../image/reference.js'
import type { Credentials, HostConfiguration } from '../registry/hosts.js'
import type { ImageSource, SourceContext } from './source.js'

export interface OpenOptions {
  /** Registries (`HOST[:PORT]`) that may be talked to over http. */
  readonly insecureRegistries: readonly string[]
  /** For the registry that the name says; other sources have no use for them. */
  readonly credentials?: Credentials
  /** What is configured of registries; it takes the place of both. Asked for when it matters, once for each image. */
  readonly hosts?: () => Promise<ConfiguredHosts>
}

export interface ConfiguredHosts extends HostConfiguration {
  /** The reference that an alias makes of a name without a host, `docker://HOST/NAME…`; null for no alias. */
  expandAlias?(text: string): Promise<string | null>
}

/**
 * @param image what the user wrote
 * @returns a source of that one image; nothing has been fetched yet
 * @throws {UsageError} `reference-invalid`, `reference-ambiguous`
 * @throws {NotFoundError} `file-missing`
 */
export async function openSource(
  image: string,
  context: SourceContext,
  options: OpenOptions,
): Promise<ImageSource> {
  const asked: { hosts?: Promise<ConfiguredHosts | undefined> } = {}
  const hosts = () => {
    asked.hosts ??= Promise.resolve(options.hosts?.())
    return asked.hosts
  }
  const { reference, stats } = await decide(image, parseReference(image), hosts)
  const open = SOURCES[reference.kind] as Opener<ImageReference> // the entry for this kind takes this kind
  return open(reference, { image, stats, context, options, hosts })
}

/** What openers get besides the reference. */
interface Opening {
  readonly image: string
  /** Of the path, for local references. */
  readonly stats: Stats | null
  readonly context: SourceContext
  readonly options: OpenOptions
  readonly hosts: () => Promise<ConfiguredHosts | undefined>
}

type Opener<R extends ImageReference> = (reference: R, opening: Opening) => Promise<ImageSource>

const SOURCES: { readonly [K in ImageReference['kind']]: Opener<Extract<ImageReference, { kind: K }>> } = {
  registry: openRegistry,
  oci: async (reference, { context }) =>
    (await import('./oci-layout.js')).ociLayoutSource(reference, context),
  'oci-archive': async (reference, { context }) =>
    (await import('./oci-archive.js')).ociArchiveSource(reference, context),
  'docker-archive': async (reference, { context }) =>
    (await import('./docker-archive.js')).dockerArchiveSource(reference, context),
  path: openPath,
}

async function openRegistry(
  reference: RegistryReference,
  { options, context, hosts }: Opening,
): Promise<ImageSource> {
  const { registrySource } = await import('./registry.js')
  return registrySource(reference, { ...options, events: context.events, hosts })
}

async function openPath(reference: { readonly path: string }, opening: Opening): Promise<ImageSource> {
  const { image, stats, context } = opening
  if (stats?.isDirectory()) {
    refuseLayout(image, reference.path)
    return (await import('./directory.js')).directorySource({ path: reference.path }, context)
  }
  if (stats?.isFile()) return (await import('./tarball.js')).tarballSource({ path: reference.path }, context)
  throw new UsageError(
    'reference-invalid',
    `Cannot read image ${quote(image)}: it is neither a file nor a directory`,
    {
      facts: { image, part: 'path' },
    },
  )
}

// `DIR/.` says that the directory itself is meant, whatever is in it.
function refuseLayout(image: string, directory: string): void {
  if (/(?:^|\/)\.\/*$/.test(image)) return
  const isLayout =
    look(path.join(directory, 'oci-layout')) !== null && look(path.join(directory, 'index.json')) !== null
  if (!isLayout) return
  throw ambiguous(image, [`oci:${image}`, `${image}/.`], ', an image in a layout or the directory itself')
}

interface Decision {
  readonly reference: ImageReference
  readonly stats: Stats | null
}

/** Picks the one reading that is there. Paths become absolute, so that a later change of directory changes nothing. */
async function decide(
  image: string,
  readings: readonly ImageReference[],
  hosts: Opening['hosts'],
): Promise<Decision> {
  const found: { readonly decision: Decision; readonly reading: LocalReference }[] = []
  for (const reading of readings) {
    if (reading.kind === 'registry') return { reference: reading, stats: null }
    const stats = look(reading.path)
    const reference = { ...reading, path: path.resolve(reading.path) }
    if (stats !== null) found.push({ decision: { reference, stats }, reading })
  }
  const [only, ...others] = found
  if (only === undefined) {
    const isName = readings[0]?.kind === 'path' && registryReading(image) !== null
    const alias = isName ? await (await hosts())?.expandAlias?.(image) : null
    if (alias !== null && alias !== undefined) return { reference: parseReference(alias)[0], stats: null }
    throw missing(image, readings)
  }
  if (others.length === 0) return only.decision
  const named = found.map(({ reading }) => describe(reading))
  throw ambiguous(image, named, ', because each of them is there')
}

function describe(reading: LocalReference): string {
  if (reading.kind === 'path') return `./${reading.path}`
  const name = reading.kind === 'docker-archive' ? reading.reference : (reading.digest ?? reading.tag)
  return name === undefined ? `${reading.kind}:${reading.path}` : `${name} in ${reading.kind}:${reading.path}`
}

function missing(image: string, readings: readonly ImageReference[]): NotFoundError | UsageError {
  const elsewhere = readings[0]?.kind === 'path' ? registryReading(image) : null
  if (elsewhere !== null) {
    return ambiguous(image, [`./${image}`, elsewhere], ', and there is no such file or directory')
  }
  const paths = [...new Set(readings.flatMap((it) => (it.kind === 'registry' ? [] : [it.path])))].slice(0, 4)
  const found = `there is no ${paths.map(quote).join(' and no ')}`
  return new NotFoundError('file-missing', `Cannot open image ${quote(image)}: ${found}`, {
    facts: { image, paths },
  })
}

/** What is at a path, symlinks followed; null when nothing is. */
function look(at: string): Stats | null {
  try {
    return statSync(at)
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENOTDIR', 'ENAMETOOLONG', 'ELOOP')) return null
    throw toGrootError(error, `Cannot look at ${quote(at)}`)
  }
}
