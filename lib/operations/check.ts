/**
 * check: recomputes every digest in the store and reads every record. Changes nothing; see repair.ts for what may follow.
 */
import { existsSync, lstatSync, readFileSync } from 'node:fs'
import type { DiffId, Digest } from '../digest.js'
import { type GrootError, isErrno, isGrootError, toGrootError } from '../errors.js'
import { DEFAULT_LIMITS } from '../layer/limits.js'
import { namesIn } from '../linux/names.js'
import { listBaseIds, readBase } from '../store/bases.js'
import type { BundleId } from '../store/bundle-id.js'
import { listBundleIds, listBundlePlaces, readBundle } from '../store/bundles.js'
import { readBlob } from '../store/images.js'
import { digestOfFileName, type StoreLayout } from '../store/layout.js'
import { statOf } from '../store/record-watch.js'
import { isTemporaryName } from '../store/records.js'
import type { Job, JobResults } from '../worker/jobs.js'
import type { CallOptions, CheckOptions, CheckProblem, CheckReport } from './api.js'
import { eventSink, signalOf } from './call.js'
import type { OpenedStore } from './opened-store.js'

const MAX_LOOKS = 10 // where the filesystem does not know when a file was made, each use makes it look like another one

/** Verifies the whole store; what is wrong stands in the report, whatever it is. */
export async function checkStore(store: OpenedStore, options: CheckOptions): Promise<CheckReport> {
  const check = new Check(store, options)
  try {
    await Promise.all([check.objects(), check.layers()])
  } finally {
    store.workers.trim()
  }
  check.images()
  await check.bases()
  await check.bundles()
  const report = check.report()
  if (options.repair !== true || report.problems.length === 0) return report
  const { repairProblems } = await import('./repair.js')
  return { ...report, problems: await repairProblems(store, report.problems, options) }
}

class Check {
  readonly #store: OpenedStore
  readonly #options: CallOptions
  readonly #signal: AbortSignal
  readonly #problems: CheckProblem[] = []
  readonly #counts = { objects: 0, layers: 0, images: 0, bases: 0, bundles: 0, bytes: 0 }
  #done = 0
  #todo = 0

  constructor(store: OpenedStore, options: CallOptions) {
    this.#store = store
    this.#options = options
    this.#signal = signalOf(options)
  }

  report(): CheckReport {
    const problems = [...this.#problems].sort((a, b) => (a.what + a.name < b.what + b.name ? -1 : 1))
    return { ...this.#counts, problems }
  }

  async objects(): Promise<void> {
    const { objects } = this.#store.layout
    const names = namesIn(objects)
    await Promise.all(
      names.map(async (prefix) => {
        const isOurs = /^[0-9a-f]{2}$/.test(prefix) && statOf(`${objects}/${prefix}`)?.isDirectory() !== false
        if (!isOurs) {
          this.#problem(
            'stray-file',
            'object',
            prefix,
            `Cannot tell what "${objects}/${prefix}" is: it is not part of a store`,
          )
          return
        }
        const result = await this.#run({ kind: 'verify-objects', objects, prefix })
        this.#counts.objects += result.objects
        this.#counts.bytes += result.bytes
        for (const { name, code, message } of result.damaged) this.#problem(code, 'object', name, message)
      }),
    )
  }

  async layers(): Promise<void> {
    const { layout } = this.#store
    await Promise.all(
      namesIn(layout.layers).map(async (name) => {
        const diffId = digestOfFileName(name) as DiffId | null
        if (diffId === null) return this.#stray(layout.layers, name, 'layer')
        this.#counts.layers++
        const job = {
          kind: 'verify-layer',
          record: layout.layer(diffId),
          diffId,
          objects: layout.objects,
          limits: DEFAULT_LIMITS,
        } as const
        await this.#asOne('layer', diffId, layout.layer(diffId), async () => {
          this.#counts.bytes += (await this.#run(job)).bytes
        })
      }),
    )
  }

  images(): void {
    const { layout } = this.#store
    for (const name of namesIn(layout.images)) {
      if (name === 'refs') continue
      const digest = digestOfFileName(name) as Digest | null
      if (digest === null) {
        this.#stray(layout.images, name, 'image')
        continue
      }
      this.#counts.images++
      try {
        this.#counts.bytes += readBlob(layout, digest)?.length ?? 0
      } catch (error) {
        this.#failed(error, 'image', digest)
      }
    }
  }

  async bases(): Promise<void> {
    const { layout, driver } = this.#store
    for (const id of listBaseIds(layout)) {
      this.#counts.bases++
      await this.#asOne('base', id, layout.base(id), async () => {
        const record = readBase(layout, id)
        if (record !== null) await driver.checkBase?.(id, record.rootfsDigest)
      })
    }
  }

  async bundles(): Promise<void> {
    const { layout } = this.#store
    const { directories, strays } = listBundlePlaces(layout)
    for (const id of listBundleIds(layout)) {
      this.#counts.bundles++
      await this.#asOne('bundle', id, layout.record(id), async () => {
        const altered = alteredFile(layout, id)
        if (altered !== null) this.#problem('bundle-altered', 'bundle', id, altered)
      })
    }
    for (const id of directories) if (await this.#isOrphan(id)) this.#orphan(id)
    for (const name of strays) this.#stray(layout.bundles, name, 'bundle')
  }

  /**
   * Whether a directory has no record, and nobody is at work on it who would make one or remove it. Who begins in between
   * still has the lock at the second look, or has removed the directory.
   */
  async #isOrphan(id: BundleId): Promise<boolean> {
    const { layout, locks } = this.#store
    const isHeld = async () => (await locks.holders()).some((held) => held.name === `bundle/${id}`)
    const before = birthOf(layout.bundle(id))
    if (before === null || (await isHeld()) || existsSync(layout.record(id))) return false
    return !(await isHeld()) && birthOf(layout.bundle(id)) === before
  }

  #orphan(id: BundleId): void {
    const path = this.#store.layout.bundle(id)
    const message = `The directory "${path}" has no record: a create or delete did not finish`
    this.#problem('bundle-orphan', 'bundle', id, message)
  }

  /**
   * Verifies something that others may remove and make again in the middle: what is wrong counts when the same was there
   * before and after.
   *
   * @param record that is there for as long as it is
   */
  async #asOne(what: string, name: string, record: string, verify: () => Promise<void>): Promise<void> {
    for (let look = 1; ; look++) {
      const before = birthOf(record)
      if (before === null) return
      try {
        return await verify()
      } catch (error) {
        const failure = this.#refuseToGoOn(error, what, name)
        const after = birthOf(record)
        if (after === null) return
        if (after === before || look === MAX_LOOKS)
          return this.#problem(failure.code, what, name, failure.message)
      }
    }
  }

  async #run<J extends Job>(job: J): Promise<JobResults[J['kind']]> {
    this.#todo++
    try {
      const { pool } = await this.#store.workers.crew()
      return await pool.run(job, { signal: this.#signal })
    } finally {
      eventSink(this.#options)({ kind: 'check-progress', checked: ++this.#done, of: this.#todo })
    }
  }

  #stray(directory: string, name: string, what: string): void {
    if (isTemporaryName(name)) return
    this.#problem(
      'stray-file',
      what,
      name,
      `Cannot tell what "${directory}/${name}" is: it is not part of a store`,
    )
  }

  #failed(thrown: unknown, what: string, name: string): void {
    const { code, message } = this.#refuseToGoOn(thrown, what, name)
    this.#problem(code, what, name, message)
  }

  /** What was thrown, as an error to report. @throws what is no damage: an abort, a fault of groot's own */
  #refuseToGoOn(thrown: unknown, what: string, name: string): GrootError {
    if (!isGrootError(thrown) && !isErrno(thrown)) throw thrown
    const error = toGrootError(thrown, `Cannot check ${what} "${name}"`)
    if (error.kind === 'aborted') throw error
    return error
  }

  #problem(code: string, what: string, name: string, message: string): void {
    this.#problems.push({ code, what, name, message, repaired: false })
  }
}

/** Another file or directory of the same name has another one; null when there is none. */
function birthOf(path: string): string | null {
  const stat = statOf(path)
  return stat === null ? null : `${stat.ino}:${stat.birthtimeNs}`
}

/** What is wrong with a bundle that has a record; null when nothing is. */
export function bundleProblem(layout: StoreLayout, id: BundleId): string | null {
  try {
    return alteredFile(layout, id)
  } catch (error) {
    if (!isGrootError(error) && !isErrno(error)) throw error
    return error.message
  }
}

/** Reads what a bundle's record and its files say. Throws for what is missing or cannot be read. */
function alteredFile(layout: StoreLayout, id: BundleId): string | null {
  const record = readBundle(layout, id)
  // Deleted meanwhile.
  if (record === null) return null
  const directory = layout.bundle(id)
  for (const name of ['rootfs', 'image.json', 'config.json']) lstatSync(`${directory}/${name}`)
  for (const diffId of record.layers) lstatSync(layout.layer(diffId))
  const config = readBlob(layout, record.image.config)
  if (config === null || readFileSync(`${directory}/image.json`).equals(config)) return null
  return `Cannot trust "${directory}/image.json": it is not the image's config`
}
