/**
 * Leases: what a running operation asks clean to leave alone.
 *
 * A lease is a lock, a record of what the operation needs, and a staging directory of the same name. The kernel drops the
 * lock when the process ends, so a lease whose lock can be taken is dead and so is its promise; for the same reason nothing
 * of it is synced to disk (docs/decisions/0007). Nothing here knows drivers or layers.
 */
import { randomUUID } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import { type Digest, isDigest } from '../digest.js'
import { removeTree } from '../linux/remove-tree.js'
import type { Lock, LockManager, LockRequest } from '../locks/locks.js'
import type { BaseId } from './base-id.js'
import { noteUse } from './last-use.js'
import type { StoreLayout } from './layout.js'
import { removeIfThere, writeFleeting } from './records.js'

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
  readonly #lock: Lock
  #stagingMade = false
  #recorded = false

  private constructor(id: string, layout: StoreLayout, locks: LockManager, request: LockRequest, lock: Lock) {
    this.id = id
    this.#layout = layout
    this.#locks = locks
    this.#request = request
    this.#lock = lock
  }

  /** Takes a new lease, which needs nothing yet but its staging directory. */
  static async take(layout: StoreLayout, locks: LockManager, request: LockRequest): Promise<Lease> {
    const id = randomUUID()
    return new Lease(id, layout, locks, request, await locks.lease(id, request))
  }

  /**
   * Says what the operation needs, in place of what it said before; also marks it as used.
   *
   * Clean condemns things under the gc lock, after a look at the leases. Who has that lock now may have looked before this
   * one was there, so they are waited for; who takes it later sees it. What was condemned is gone when this returns, and all
   * else stays. So look at what exists after it.
   */
  async need(needs: LeaseNeeds): Promise<void> {
    const since = new Date().toISOString()
    this.#recorded = true
    writeFleeting(this.#recordPath, { format: 1, id: this.id, pid: process.pid, since, needs })
    await this.#locks.passGc(this.#request)
    if (isDigest(needs.image)) noteUse(this.#layout.blob(needs.image as Digest))
    if (needs.base !== undefined) noteUse(this.#layout.base(needs.base))
  }

  /** The operation's private directory; removed with all in it when the lease ends. */
  staging(): string {
    const path = `${this.#layout.staging}/${this.id}`
    if (!this.#stagingMade) {
      mkdirSync(path, { mode: 0o700 })
      this.#stagingMade = true
    }
    return path
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      if (this.#stagingMade) removeTree(`${this.#layout.staging}/${this.id}`)
      if (this.#recorded) removeIfThere(this.#recordPath)
    } finally {
      await this.#lock.release()
    }
  }

  get #recordPath(): string {
    return `${this.#layout.leases}/${this.id}.json`
  }
}
