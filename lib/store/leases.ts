/**
 * Leases: what a running operation asks clean to leave alone.
 *
 * A lease is a record of what the operation needs, which the operation has claimed (lib/linux/claim.ts), and a staging
 * directory of the same name. The kernel drops the claim when the process ends, so a record that nobody has claimed is dead and
 * so is its promise; for the same reason nothing of it is synced to disk (docs/decisions/0007). Nothing here knows drivers or
 * layers.
 */
import { randomUUID } from 'node:crypto'
import { closeSync, existsSync, mkdirSync } from 'node:fs'
import { type Digest, isDigest } from '../digest.js'
import { claimPath, isClaimed } from '../linux/claim.js'
import { namesIn } from '../linux/names.js'
import { removeTree } from '../linux/remove-tree.js'
import { holderOf } from '../locks/guard.js'
import type { LockHolder, LockManager, LockRequest } from '../locks/locks.js'
import type { BaseId } from './base-id.js'
import * as field from './fields.js'
import { noteUse } from './last-use.js'
import type { StoreLayout } from './layout.js'
import { isTemporaryName, readRecord, removeIfThere, writeClaimed } from './records.js'

/** What the operation needs, by name; recorded before it looks at what exists. */
export interface LeaseNeeds {
  readonly bundle?: string
  /** Digest of the manifest. */
  readonly image?: string
  /** Digest of the config. */
  readonly config?: string
  readonly layers?: readonly string[]
  readonly base?: BaseId
}

export class Lease implements AsyncDisposable {
  readonly id: string
  readonly #layout: StoreLayout
  readonly #locks: LockManager
  readonly #request: LockRequest
  readonly #onLeft: (error: unknown) => void
  readonly #since = new Date().toISOString()
  #stagingMade = false
  /** Descriptor of the record, which has the claim; null while there is none. */
  #record: number | null = null

  /**
   * A new lease, which needs nothing yet; it shows when it says what it needs, or makes its staging directory.
   *
   * @param onLeft told why something of it stays when it ends, for clean to remove: what was done for it is done
   */
  constructor(
    layout: StoreLayout,
    locks: LockManager,
    request: LockRequest,
    onLeft: (error: unknown) => void = () => {},
  ) {
    this.id = randomUUID()
    this.#layout = layout
    this.#locks = locks
    this.#request = request
    this.#onLeft = onLeft
  }

  /**
   * Says what the operation needs, in place of what it said before; also marks it as used.
   *
   * Clean condemns things under the gc lock, after a look at the leases. Who has that lock now may have looked before this
   * one was there, so they are waited for; who takes it later sees it. What was condemned is gone when this returns, and all
   * else stays. So look at what exists after it.
   */
  async need(needs: LeaseNeeds): Promise<void> {
    this.#write(needs)
    await this.#locks.passGc(this.#request)
    if (isDigest(needs.image)) noteUse(this.#layout.blob(needs.image as Digest))
    if (needs.base !== undefined) noteUse(this.#layout.base(needs.base))
  }

  /** The operation's private directory; removed with all in it when the lease ends. */
  staging(): string {
    const path = stagingOf(this.#layout, this.id)
    if (!this.#stagingMade) {
      // First, as a directory without one is a leaving.
      if (this.#record === null) this.#write({})
      mkdirSync(path, { mode: 0o700 })
      this.#stagingMade = true
    }
    return path
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const record = this.#record
    if (record === null) return
    this.#record = null
    try {
      if (this.#stagingMade) removeTree(stagingOf(this.#layout, this.id))
      removeIfThere(recordOf(this.#layout, this.id))
    } catch (error) {
      this.#onLeft(error)
    } finally {
      closeSync(record)
    }
  }

  #write(needs: LeaseNeeds): void {
    const { pid, command } = this.#locks.holder()
    const record = { format: 1, id: this.id, pid, command, since: this.#since, needs }
    const before = this.#record
    // The new record is claimed when it takes the place of the old one, so that there is always one that is.
    this.#record = writeClaimed(recordOf(this.#layout, this.id), record)
    if (before !== null) closeSync(before)
  }
}

/** Ids of all leases that have a record, dead ones too. */
export function listLeaseIds({ leases }: StoreLayout): string[] {
  return namesIn(leases)
    .filter((name) => name.endsWith('.json') && !isTemporaryName(name))
    .map((name) => name.slice(0, -'.json'.length))
}

/** Whether the operation of a lease is running. A lease without a record is over, or has nothing yet. */
export function isLeaseAlive(layout: StoreLayout, id: string): boolean {
  return isClaimed(recordOf(layout, id))
}

/** Does something with a dead lease and removes its record. @returns false for one that is alive */
export async function endDeadLease(
  layout: StoreLayout,
  id: string,
  work: () => Promise<void>,
): Promise<boolean> {
  const record = recordOf(layout, id)
  const claimed = claimPath(record)
  // Ids are never given twice, so what has no record now never has one again.
  if (claimed === null && existsSync(record)) return false
  try {
    await work()
    removeTree(record)
    return true
  } finally {
    if (claimed !== null) closeSync(claimed)
  }
}

/** Who runs the operation of a lease, as its record says; null where it does not. */
export function leaseHolder(layout: StoreLayout, id: string): LockHolder | null {
  try {
    return readRecord(recordOf(layout, id), (value) => holderOf(field.object(value, 'lease')))
  } catch {
    // Foreign, or damaged: it is only information.
    return null
  }
}

function recordOf(layout: StoreLayout, id: string): string {
  return `${layout.leases}/${id}.json`
}

function stagingOf(layout: StoreLayout, id: string): string {
  return `${layout.staging}/${id}`
}
