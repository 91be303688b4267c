/**
 * Bundle ids: the one pattern that every verb accepts. An id becomes a directory name, so it is checked before anything
 * is touched.
 */
import { NotFoundError, UsageError } from '../errors.js'

export type BundleId = string & { readonly __brand: 'BundleId' }

/** 1 to 128 of letters, digits, `.`, `_`, `-`; the first is a letter or a digit. */
export const BUNDLE_ID = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/

/** @throws {UsageError} `id-invalid` */
export function parseBundleId(value: unknown): BundleId {
  if (typeof value === 'string' && BUNDLE_ID.test(value)) return value as BundleId
  const shown = typeof value === 'string' ? JSON.stringify(value.slice(0, 150)) : String(value)
  throw new UsageError(
    'id-invalid',
    `Cannot use ${shown} as a bundle id: it needs 1 to 128 letters, digits, dots, underscores or dashes, a letter or digit first`,
    { facts: { pattern: BUNDLE_ID.source } },
  )
}

/** What is thrown for a bundle that is not there. @param doing `show` */
export function bundleMissing(doing: string, id: BundleId): NotFoundError {
  return new NotFoundError('bundle-missing', `Cannot ${doing} bundle "${id}": there is none with this id`, {
    facts: { id },
  })
}
