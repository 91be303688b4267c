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

/**
 * Takes a file out of its place, in a time that does not depend on its size.
 *
 * @param name in the trash; no `.json` at its end, which records of bundles have
 */
export function condemn(layout: StoreLayout, path: string, name: string): Condemned {
  const trashed = `${layout.trash}/${name}`
  for (let attempt = 0; ; attempt++) {
    try {
      renameSync(path, trashed)
      return { kind: 'trashed', path: trashed }
    } catch (error) {
      // On a full disk there may be no room for one more name; that is when this is needed most.
      if (isErrno(error, 'ENOSPC', 'EDQUOT')) return unlinkInstead(path)
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
  try {
    unlinkSync(path)
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return
    if (!isErrno(error, 'EISDIR', 'EPERM')) throw error
    await removeTreeInSlices(path, signal)
  }
}

/** The bundle whose record this was: `delete` puts it here before it removes the rest. Null for all else. */
export function bundleOfTrashed(name: string): BundleId | null {
  const [, id = ''] = /^(.+)-[0-9a-f]{12}\.json$/.exec(name) ?? []
  return BUNDLE_ID.test(id) ? (id as BundleId) : null
}

function unlinkInstead(path: string): Condemned {
  try {
    unlinkSync(path)
    return { kind: 'removed' }
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return { kind: 'missing' }
    throw error
  }
}
