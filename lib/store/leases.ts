/**
 * Leases: what a running operation asks clean to leave alone.
 *
 * A lease is a record plus a lock on it, and a staging directory of the same name. The kernel drops the lock when the
 * process ends, so a lease whose lock can be taken is dead and so is its promise. Nothing here knows drivers or layers.
 */
import { randomUUID } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import { removeTree } from '../linux/remove-tree.js'
import type { Lock, LockManager, LockRequest } from '../locks/locks.js'
import type { StoreLayout } from './layout.js'
import { removeRecord, writeRecord } from './records.js'

/** What the operation needs, by name; recorded before it looks at what exists. */
export interface LeaseNeeds {
  readonly bundle?: string
  readonly image?: string
  readonly layers?: readonly string[]
  readonly base?: string
}

export class Lease implements AsyncDisposable {
  readonly id: string
  readonly #layout: StoreLayout
  readonly #lock: Lock
  #stagingMade = false

  private constructor(id: string, layout: StoreLayout, lock: Lock) {
    this.id = id
    this.#layout = layout
    this.#lock = lock
  }

  /** Takes a new lease: its lock first, so that its record is never seen without. */
  static async take(
    layout: StoreLayout,
    locks: LockManager,
    needs: LeaseNeeds,
    request: LockRequest,
  ): Promise<Lease> {
    const id = randomUUID()
    const lock = await locks.lease(id, request)
    try {
      const lease = new Lease(id, layout, lock)
      lease.record(needs)
      return lease
    } catch (error) {
      await lock.release()
      throw error
    }
  }

  /** Replaces what the lease asks for, as the operation learns more. */
  record(needs: LeaseNeeds): void {
    writeRecord(this.#recordPath, {
      format: 1,
      id: this.id,
      pid: process.pid,
      since: new Date().toISOString(),
      needs,
    })
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
      removeRecord(this.#recordPath)
    } finally {
      await this.#lock.release()
    }
  }

  get #recordPath(): string {
    return `${this.#layout.leases}/${this.id}.json`
  }
}
