/**
 * The trash: what is moved here is gone from the store at once, however large it is; removing it needs no lock.
 */
import { mkdirSync, renameSync, unlinkSync } from 'node:fs'
import { isErrno } from '../errors.js'
import { removeTreeInSlices } from '../linux/remove-tree.js'
import { BUNDLE_ID, type BundleId } from './bundle-id.js'
import type { StoreLayout } from './layout.js'

/** What became of something that was to go. */
export type Condemned =
  /** It was not there. */
  | { readonly kind: 'missing' }
  /** It is gone for good. */
  | { readonly kind: 'removed' }
  | { readonly kind: 'trashed'; readonly path: string }

/** Removing a file of this size takes no longer than giving it another name. */
const SMALL_BYTES = 1024 * 1024

/**
 * Takes a file out of its place, in a time that does not depend on its size: a small one is removed, others are moved.
 *
 * @param name in the trash; no `.json` at its end, which records of bundles have
 * @param bytes of the file; when not known it counts as large
 */
export function condemn(
  layout: StoreLayout,
  path: string,
  name: string,
  bytes = Number.POSITIVE_INFINITY,
): Condemned {
  const removed = bytes <= SMALL_BYTES ? removeFile(path) : null
  if (removed !== null) return removed
  const trashed = `${layout.trash}/${name}`
  for (let attempt = 0; ; attempt++) {
    try {
      renameSync(path, trashed)
      return { kind: 'trashed', path: trashed }
    } catch (error) {
      // On a full disk there may be no room for one more name; that is when this is needed most.
      const instead = isErrno(error, 'ENOSPC', 'EDQUOT') ? removeFile(path) : null
      if (instead !== null) return instead
      if (!isErrno(error, 'ENOENT') || attempt > 0) {
        if (isErrno(error, 'ENOENT')) return { kind: 'missing' }
        throw error
      }
      mkdirSync(layout.trash, { recursive: true, mode: 0o700 })
    }
  }
}

/** Removes what is in the trash: a file, or a directory that stood in the place of one. */
export async function removeTrashed(path: string, signal?: AbortSignal): Promise<void> {
  if (removeFile(path) === null) await removeTreeInSlices(path, signal)
}

/** The bundle whose record this was: `delete` puts it here before it removes the rest. Null for all else. */
export function bundleOfTrashed(name: string): BundleId | null {
  const [, id = ''] = /^(.+)-[0-9a-f]{12}\.json$/.exec(name) ?? []
  return BUNDLE_ID.test(id) ? (id as BundleId) : null
}

/** Null when it is a directory, which is not removed at once. */
function removeFile(path: string): Condemned | null {
  try {
    unlinkSync(path)
    return { kind: 'removed' }
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return { kind: 'missing' }
    if (isErrno(error, 'EISDIR', 'EPERM')) return null
    throw error
  }
}
