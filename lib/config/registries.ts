/**
 * What is configured of registries in the way of containers-registries.conf(5), whatever the files look like.
 */
import type { Location } from './names.js'

/** Which references a mirror is for. */
export type PullFromMirror = 'all' | 'digest-only' | 'tag-only'

export interface MirrorEntry {
  readonly location: Location
  readonly isInsecure: boolean
  readonly pullFrom: PullFromMirror
}

export interface RegistryEntry {
  /** `host[:port][/namespace…][:tag|@digest]` or `*.host[/namespace…]`, the host in lower case. */
  readonly prefix: string
  /** What stands in the place of the prefix; null for the prefix itself. */
  readonly location: Location | null
  readonly isInsecure: boolean
  readonly isBlocked: boolean
  readonly mirrors: readonly MirrorEntry[]
  /** Where it is written, for messages. */
  readonly file: string
}

export interface RegistriesConf {
  /** By prefix. */
  readonly registries: ReadonlyMap<string, RegistryEntry>
  /** Short names to `host[:port]/repository`; empty for a name that is no alias any more. */
  readonly aliases: ReadonlyMap<string, string>
  /** Where to look for credentials, in order: FILES_HELPER or helpers' names; absent when no file says it. */
  readonly credentialHelpers?: readonly string[]
  /** Keys that nobody knows. */
  readonly unknown: readonly string[]
}

/** What files say together, read in this order: later ones replace entries of the same prefix or name. */
export function mergeRegistriesConf(files: readonly RegistriesConf[]): RegistriesConf {
  const helpers = files.findLast(({ credentialHelpers }) => credentialHelpers !== undefined)
  return {
    registries: new Map(files.flatMap(({ registries }) => [...registries])),
    aliases: new Map(files.flatMap(({ aliases }) => [...aliases])),
    ...(helpers?.credentialHelpers === undefined ? {} : { credentialHelpers: helpers.credentialHelpers }),
    unknown: files.flatMap(({ unknown }) => unknown),
  }
}
