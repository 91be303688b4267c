/**
 * Short names: what stands for a whole name by the `[aliases]` of registries.conf.
 */
import { looksLikeRegistry } from '../image/host.js'

/**
 * The reference that an alias makes of a text without a host.
 *
 * @param text as the user wrote it, with or without tag and digest
 * @returns `docker://HOST/NAME` with the tag and digest of the text; null when no alias is for it
 */
export function expandAlias(text: string, aliases: ReadonlyMap<string, string>): string | null {
  const at = text.indexOf('@')
  const named = at < 0 ? text : text.slice(0, at)
  const colon = named.indexOf(':', named.lastIndexOf('/') + 1)
  const name = colon < 0 ? named : named.slice(0, colon)
  const slash = name.indexOf('/')
  if (slash >= 0 && looksLikeRegistry(name.slice(0, slash))) return null
  const target = aliases.get(name)
  return target === undefined || target === '' ? null : `docker://${target}${text.slice(name.length)}`
}
