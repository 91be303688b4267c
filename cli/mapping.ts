/**
 * Id mappings: the options that create, pull and init-store have in common.
 */
import { type IdMappingRequest, parseIdRange, UsageError } from '../lib/index.js'
import type { OptionValues } from './options.js'

/**
 * What the options ask for; nothing where there are none.
 *
 * @throws {UsageError} `option-invalid`
 */
export function mappingRequest(options: OptionValues): { readonly mapping?: IdMappingRequest } {
  const ranges = (option: 'uid-mapping' | 'gid-mapping') =>
    (options[option] ?? []).map((text) => parseIdRange(text, option))
  const uid = ranges('uid-mapping')
  const gid = ranges('gid-mapping')
  const { unmapped } = options
  if (uid.length > 0 || gid.length > 0) {
    return { mapping: { uid, gid, ...(unmapped === undefined ? {} : { unmapped }) } }
  }
  if (unmapped === undefined) return {}
  throw new UsageError(
    'option-invalid',
    `Cannot use "${unmapped}" for --unmapped: it belongs to --uid-mapping and --gid-mapping`,
    { facts: { option: 'unmapped', value: unmapped } },
  )
}
