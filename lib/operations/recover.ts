/**
 * Recovery of a store that was written without syncs, after the machine was started again: everything is verified, and what
 * is damaged goes, with what hangs on it, before anything is used. One process does it, others wait.
 */
import { existsSync, readFileSync } from 'node:fs'
import type { DiffId, Digest } from '../digest.js'
import { isGrootError } from '../errors.js'
import { namesIn } from '../linux/names.js'
import { removeTree } from '../linux/remove-tree.js'
import { syncFilesystemOf } from '../linux/sync.js'
import type { BaseId } from '../store/base-id.js'
import { listBaseIds, readBase } from '../store/bases.js'
import type { BundleId } from '../store/bundle-id.js'
import { type BundleRecord, listBundleIds, readBundle } from '../store/bundles.js'
import { leadsNowhere } from '../store/cached-images.js'
import { isTemporaryName } from '../store/records.js'
import { clearUnsynced, unsyncedState } from '../store/unsynced.js'
import type { CallOptions, CheckProblem } from './api.js'
import { eventSink, lockRequest } from './call.js'
import { checkStore } from './check.js'
import { removeBundle } from './delete.js'
import type { OpenedStore } from './opened-store.js'

/** Name of the lock that whoever recovers the store holds. */
const RECOVERY = 'recovery'

export async function recoverStore(store: OpenedStore, options: CallOptions): Promise<void> {
  const { layout, locks } = store
  await using _lock = await locks.task(RECOVERY, lockRequest(options))
  // Again, now that nobody else does it: who held the lock may have.
  if (unsyncedState(layout) !== 'before') return
  const events = eventSink(options)
  events({
    kind: 'warning',
    code: 'store-unsynced',
    message: `The store "${layout.root}" was written without syncs before this machine was started: all of it is verified now`,
    facts: { path: layout.root },
  })
  const recovery = new Recovery(store, options)
  await recovery.run((await checkStore(store, options)).problems)
  // What was written without a sync and is whole is durable from here on.
  syncFilesystemOf(layout.root)
  clearUnsynced(layout)
}

class Recovery {
  readonly #store: OpenedStore
  readonly #options: CallOptions
  readonly #layers = new Set<DiffId>()
  readonly #bases = new Set<BaseId>()
  readonly #damagedBundles = new Set<string>()

  constructor(store: OpenedStore, options: CallOptions) {
    this.#store = store
    this.#options = options
  }

  async run(problems: readonly CheckProblem[]): Promise<void> {
    const damaged = problems.filter(({ code }) => code !== 'stray-file')
    for (const { what, name } of damaged) {
      if (what === 'layer') this.#layers.add(name as DiffId)
      if (what === 'base') this.#bases.add(name as BaseId)
      if (what === 'bundle') this.#damagedBundles.add(name)
    }
    // From the top down, so that what a kill leaves is never a thing whose parts are gone.
    await this.#removeBundles()
    await this.#removeBases()
    for (const diffId of this.#layers) this.#remove('layer', diffId, this.#store.layout.layer(diffId))
    this.#removeImages(damaged)
    for (const { what, name } of damaged) if (what === 'object') this.#removeObject(name)
  }

  async #removeBundles(): Promise<void> {
    const { layout, driver } = this.#store
    const unverified: string[] = []
    for (const id of listBundleIds(layout)) {
      const record = this.#recordOf(id)
      if (record !== null && this.#isWhole(record)) {
        // Copies, and what a container wrote: nothing is known of them to compare them with.
        if (!driver.traits.mounts || (record.noSync && !record.readOnly)) unverified.push(id)
        continue
      }
      await removeBundle(this.#store, id, lockRequest(this.#options))
      this.#tell('bundle', id)
    }
    if (unverified.length === 0) return
    eventSink(this.#options)({
      kind: 'warning',
      code: 'bundle-unverified',
      message: `Bundles that may have been written without syncs are kept, but their files cannot be verified: ${unverified.join(', ')}`,
      facts: { bundles: unverified },
    })
  }

  #recordOf(id: BundleId): BundleRecord | null {
    try {
      return readBundle(this.#store.layout, id)
    } catch (error) {
      if (!isGrootError(error) || error.code !== 'record-damaged') throw error
      return null
    }
  }

  #isWhole({ id, layers, base }: BundleRecord): boolean {
    if (this.#damagedBundles.has(id)) return false
    try {
      JSON.parse(readFileSync(`${this.#store.layout.bundle(id as BundleId)}/config.json`, 'utf8'))
    } catch {
      return false
    }
    // A mounted rootfs reads base and objects; a copied one has what it needs.
    if (!this.#store.driver.traits.mounts) return true
    return !layers.some((diffId) => this.#layers.has(diffId)) && (base === null || !this.#bases.has(base))
  }

  /** A base goes with its layers: the record of one that cannot be read, too. */
  async #removeBases(): Promise<void> {
    const { layout, driver } = this.#store
    for (const id of listBaseIds(layout)) {
      if (!this.#bases.has(id) && !this.#hangsOnDamaged(id)) continue
      this.#remove('base', id, layout.base(id))
      if (driver.traits.bases) await driver.removeBase(id)
    }
  }

  #hangsOnDamaged(id: BaseId): boolean {
    const layers = readBase(this.#store.layout, id)?.layers ?? []
    return layers.some((diffId) => this.#layers.has(diffId) || !existsSync(this.#store.layout.layer(diffId)))
  }

  #removeImages(damaged: readonly CheckProblem[]): void {
    const { layout } = this.#store
    for (const { what, name } of damaged) {
      if (what === 'image') this.#remove('image', name, layout.blob(name as Digest))
    }
    for (const name of namesIn(layout.refs)) {
      if (!isTemporaryName(name) && leadsNowhere(layout, name)) removeTree(`${layout.refs}/${name}`)
    }
  }

  #removeObject(name: string): void {
    const path = `${this.#store.layout.objects}/${name.slice(0, 2)}/${name.slice(2)}`
    this.#remove('object', name, path)
  }

  #remove(what: string, name: string, path: string): void {
    removeTree(path)
    this.#tell(what, name)
  }

  #tell(what: string, name: string): void {
    eventSink(this.#options)({
      kind: 'warning',
      code: 'unsynced-removed',
      message: `Removed ${what} "${name}": it was damaged, or made of what was, as the machine was started again before it was on disk`,
      facts: { what, name },
    })
  }
}
