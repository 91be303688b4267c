/**
 * What a store's btrfs driver can be told: nothing yet.
 */
import { UsageError } from '../../lib/driver/kit.js'

/** @throws {UsageError} `option-invalid` naming the key */
export function parseOptions(raw: unknown): null {
  if (raw === null || raw === undefined) return null
  const isObject = typeof raw === 'object' && !Array.isArray(raw)
  const option = isObject ? (Object.keys(raw)[0] ?? null) : null
  if (isObject && option === null) return null
  throw new UsageError(
    'option-invalid',
    `Cannot use driver option ${JSON.stringify(option ?? raw)}: the btrfs driver has none`,
    { facts: { driver: 'btrfs', option } },
  )
}
