/**
 * containers-registries.conf(5), version 2: what podman, skopeo and CRI-O know of registries.
 *
 * One file at a time; what several of them say together is in registries.ts, which entry is for an image in
 * pull-sources.ts. What has no meaning for groot: `unqualified-search-registries` and `short-name-mode`, because groot
 * searches nowhere, and `additional-layer-store-auth-helper`.
 */
import { parseReference } from '../image/reference.js'
import { checkHelper, FILES_HELPER } from './auth-file.js'
import { HUB_HOST, type Location, parseLocation } from './names.js'
import type { MirrorEntry, PullFromMirror, RegistriesConf, RegistryEntry } from './registries.js'
import { parseToml } from './toml.js'
import {
  flag,
  items,
  member,
  members,
  optionalText,
  refuse,
  text,
  texts,
  unknownKeys,
  type Value,
} from './value.js'

const ROOT_KEYS = new Set([
  'registry',
  'aliases',
  'credential-helpers',
  'unqualified-search-registries',
  'short-name-mode',
  'additional-layer-store-auth-helper',
])
const REGISTRY_KEYS = new Set([
  'prefix',
  'location',
  'insecure',
  'blocked',
  'mirror',
  'mirror-by-digest-only',
])
const MIRROR_KEYS = new Set(['location', 'insecure', 'pull-from-mirror'])

/**
 * @param file absolute path, for messages
 * @throws {UsageError} `configuration-invalid`
 */
export function parseRegistriesConf(source: string, file: string): RegistriesConf {
  const root = parseToml(source, file)
  const version1 = member(root, 'registries')
  if (version1.found !== undefined) {
    refuse(version1, 'is of version 1 of this file, only version 2 with [[registry]] is read')
  }
  texts(member(root, 'unqualified-search-registries'))
  const tables = items(member(root, 'registry'))
  const registries = new Map<string, RegistryEntry>()
  for (const table of tables) {
    const entry = parseRegistry(table)
    checkConflict(table, registries.get(entry.prefix), entry)
    registries.set(entry.prefix, entry)
  }
  const helpers = member(root, 'credential-helpers')
  const unknown = [
    ...unknownKeys(root, ROOT_KEYS),
    ...tables.flatMap((table) => unknownKeys(table, REGISTRY_KEYS)),
    ...tables.flatMap((table) =>
      items(member(table, 'mirror')).flatMap((mirror) => unknownKeys(mirror, MIRROR_KEYS)),
    ),
  ]
  return {
    registries,
    aliases: parseAliases(member(root, 'aliases')),
    ...(helpers.found === undefined ? {} : { credentialHelpers: items(helpers).map(readHelper) }),
    unknown,
  }
}

function parseRegistry(table: Value): RegistryEntry {
  members(table) // refuses what is no table
  const givenPrefix = member(table, 'prefix')
  const givenLocation = member(table, 'location')
  const location = optionalText(givenLocation) === undefined ? null : readLocation(givenLocation)
  const prefix = optionalText(givenPrefix)
  if (prefix === undefined && location === null) refuse(table, 'has neither prefix nor location')
  const byDigestOnly = flag(member(table, 'mirror-by-digest-only')) ?? false
  return {
    prefix: prefix === undefined ? joined(location!) : readPrefix(givenPrefix, prefix),
    location,
    isInsecure: flag(member(table, 'insecure')) ?? false,
    isBlocked: flag(member(table, 'blocked')) ?? false,
    mirrors: items(member(table, 'mirror')).map((mirror) => parseMirror(mirror, byDigestOnly)),
    file: table.file,
  }
}

function parseMirror(table: Value, byDigestOnly: boolean): MirrorEntry {
  members(table)
  const pull = member(table, 'pull-from-mirror')
  const pullFrom = optionalText(pull)
  if (pullFrom !== undefined && byDigestOnly)
    refuse(pull, 'is said beside mirror-by-digest-only, which says it too')
  return {
    location: readLocation(member(table, 'location')),
    isInsecure: flag(member(table, 'insecure')) ?? false,
    pullFrom: pullFrom === undefined ? (byDigestOnly ? 'digest-only' : 'all') : readPullFrom(pull, pullFrom),
  }
}

function readPullFrom(value: Value, found: string): PullFromMirror {
  if (found === 'all' || found === 'digest-only' || found === 'tag-only') return found
  return refuse(value, 'is not all, digest-only or tag-only')
}

function readLocation(value: Value): Location {
  const location = parseLocation(text(value))
  return typeof location === 'string' ? refuse(value, location) : location
}

/** A tag or digest behind the name may stay; it only ever has to be equal. */
function readPrefix(value: Value, found: string): string {
  const [, wildcard = '', name = '', version = ''] =
    /^(\*\.)?([^@]*?)((?::[^/@:]*)?(?:@[^/]*)?)$/.exec(found.replace(/\/+$/, '')) ?? []
  // A colon before any slash begins a port.
  const isPort = !name.includes('/')
  const location = parseLocation(isPort ? `${name}${version}` : name)
  if (typeof location === 'string') refuse(value, location)
  return `${wildcard}${joined(location)}${isPort ? '' : version}`
}

function joined({ host, path }: Location): string {
  return path === '' ? host : `${host}/${path}`
}

/** Of two entries for one prefix the later counts, but not when they disagree on what is allowed. */
function checkConflict(table: Value, before: RegistryEntry | undefined, entry: RegistryEntry): void {
  if (before === undefined) return
  if (before.isBlocked !== entry.isBlocked || before.isInsecure !== entry.isInsecure) {
    refuse(table, 'is for the same prefix as one before, and they differ in insecure or blocked')
  }
}

function readHelper(value: Value): string {
  const name = text(value)
  return name === FILES_HELPER ? name : checkHelper(name, value.file, value.key)
}

function parseAliases(table: Value): Map<string, string> {
  return new Map(members(table).map(([name, value]) => [name, value.found === '' ? '' : readAlias(value)]))
}

function readAlias(value: Value): string {
  const found = text(value)
  const slash = found.indexOf('/')
  try {
    const [reference] = parseReference(`docker://${found}`)
    // Only a name: what the user wrote has the tag.
    if (slash > 0 && reference.kind === 'registry' && !/[:@]/.test(found.slice(slash))) return found
  } catch {
    // Told below, with the key.
  }
  return refuse(value, `is not HOST/NAME without tag and digest, as ${HUB_HOST}/library/alpine`)
}
