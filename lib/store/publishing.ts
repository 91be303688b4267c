/**
 * Layers that are being published: their records stand in `gc/publishing/` from before the first object is renamed into
 * `objects/` until the record is in `layers/`.
 *
 * Whoever takes objects away looks here and in `layers/` first, under the gc lock. A record is put here under the same
 * lock, so from then on none of its objects is taken away any more, and the ingest can look for them and rename its own
 * ones at leisure. The name begins with the lease of the ingest: when that is dead, the record is a leaving.
 */
import { mkdirSync, readdirSync, renameSync } from 'node:fs'
import type { DiffId } from '../digest.js'
import { isErrno } from '../errors.js'
import { readGeneration } from './generation.js'
import type { StoreLayout } from './layout.js'

/** Where a layer's record is written, in the staging directory of its ingest. */
export function stagedRecord(staging: string): string {
  return `${staging}/record`
}

/** Where the record of a layer stands while its objects are published. */
export function announcedPath(layout: StoreLayout, lease: string, diffId: DiffId): string {
  return `${layout.publishing}/${lease}.${diffId.replace(':', '-')}`
}

/**
 * Puts a staged record where clean sees it. Under the gc lock.
 *
 * @param announced as announcedPath has it
 * @returns the generation of `objects/`
 */
export function announceRecord(layout: StoreLayout, staged: string, announced: string): string {
  try {
    renameSync(staged, announced)
  } catch (error) {
    if (!isErrno(error, 'ENOENT')) throw error
    // A store that was made before there was this directory.
    mkdirSync(layout.publishing, { recursive: true, mode: 0o700 })
    renameSync(staged, announced)
  }
  return readGeneration(layout.generation)
}

/** Names in `gc/publishing/`. */
export function listAnnounced(layout: StoreLayout): string[] {
  try {
    return readdirSync(layout.publishing)
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return []
    throw error
  }
}

/** The lease that a name in `gc/publishing/` belongs to. */
export function leaseOfAnnounced(name: string): string {
  const dot = name.indexOf('.')
  return dot < 0 ? name : name.slice(0, dot)
}
