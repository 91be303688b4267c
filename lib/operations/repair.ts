/**
 * check --repair: brings back what is damaged, each thing from what it was made of. Layers come from their images' sources,
 * bases from layers, files of a bundle from its record. What nothing can bring back is said to be lost.
 */
import { existsSync, renameSync, writeFileSync } from 'node:fs'
import type { DiffId, Digest, VerityDigest } from '../digest.js'
import { isErrno, isGrootError } from '../errors.js'
import { parsePlatform } from '../image/platform.js'
import { DEFAULT_LIMITS } from '../layer/limits.js'
import { verifyObject } from '../layer/verify.js'
import { openSource } from '../sources/open.js'
import type { ImageLayer, ImageSource, ResolvedImage } from '../sources/source.js'
import { type BaseId, baseIdOf, unmappedBaseId } from '../store/base-id.js'
import { type BaseRecord, readBase } from '../store/bases.js'
import { parseBundleId } from '../store/bundle-id.js'
import { listBundleIds, readBundle } from '../store/bundles.js'
import { checkWritable } from '../store/descriptor.js'
import { cachedImage, type ImageRef, keepImage, listRefs, readBlob } from '../store/images.js'
import { Lease } from '../store/leases.js'
import { removeRecord } from '../store/records.js'
import type { CheckOptions, CheckProblem } from './api.js'
import { ensureBase } from './bases.js'
import { eventSink, lockRequest, signalOf } from './call.js'
import { bundleProblem } from './check.js'
import { removeLeavings } from './delete.js'
import { sourceOptions } from './fetch-image.js'
import { fetchLayerAgain } from './layers.js'
import type { OpenedStore } from './opened-store.js'

/** What became of a problem. */
interface Outcome {
  readonly repaired: boolean
  /** What was done, or why nothing could be. */
  readonly remedy: string
}

/** Tries to mend each problem; one that cannot be mended does not keep the others. */
export async function repairProblems(
  store: OpenedStore,
  problems: readonly CheckProblem[],
  options: CheckOptions,
): Promise<CheckProblem[]> {
  checkWritable(store.layout.descriptor, store.descriptor)
  const repair = new Repair(store, options)
  const outcomes = new Map<CheckProblem, Outcome>()
  // Layers first: what they bring back is what objects and bases are mended from.
  for (const what of ['image', 'layer', 'object', 'base', 'bundle']) {
    for (const problem of problems.filter((each) => each.what === what)) {
      outcomes.set(problem, await repair.attempt(problem))
    }
  }
  return problems.map((problem) => {
    const outcome = outcomes.get(problem) ?? {
      repaired: false,
      remedy: 'nothing is known that would mend it',
    }
    return { ...problem, ...outcome }
  })
}

class Repair {
  readonly #store: OpenedStore
  readonly #options: CheckOptions
  /** Layers that were read again, so that all their objects are new too. */
  readonly #fetched = new Set<DiffId>()

  constructor(store: OpenedStore, options: CheckOptions) {
    this.#store = store
    this.#options = options
  }

  async attempt(problem: CheckProblem): Promise<Outcome> {
    try {
      return await this.#mend(problem)
    } catch (error) {
      if (isGrootError(error) && error.kind === 'aborted') throw error
      return { repaired: false, remedy: error instanceof Error ? error.message : String(error) }
    }
  }

  #mend(problem: CheckProblem): Promise<Outcome> | Outcome {
    const { what, name, code } = problem
    if (what === 'layer' && code !== 'stray-file') return this.#layer(name as DiffId)
    if (what === 'object' && code !== 'stray-file') return this.#object(name)
    if (what === 'image' && code !== 'stray-file') return this.#image(name as Digest)
    if (what === 'base' && code !== 'stray-file') return this.#base(name as BaseId)
    if (what === 'bundle' && code === 'bundle-altered') return this.#imageFile(name)
    if (what === 'bundle' && code === 'bundle-orphan') return this.#orphan(name)
    if (what === 'bundle' && code !== 'stray-file') return this.#bundle(name)
    return { repaired: false, remedy: 'nothing is known that would mend it' }
  }

  async #layer(diffId: DiffId): Promise<Outcome> {
    const reasons: string[] = []
    for (const { ref, image } of this.#images()) {
      const layer = image.layers.find((each) => each.diffId === diffId)
      if (layer === undefined) continue
      try {
        await this.#fetch(ref, layer)
        this.#fetched.add(diffId)
        return { repaired: true, remedy: `read again from ${ref.reference}` }
      } catch (error) {
        if (isGrootError(error) && error.kind === 'aborted') throw error
        reasons.push(`${ref.reference}: ${error instanceof Error ? error.message : String(error)}`)
      }
    }
    const why = reasons.length === 0 ? 'no image in the store has this layer' : reasons.join('; ')
    return { repaired: false, remedy: `the layer is lost: ${why}` }
  }

  async #fetch(ref: ImageRef, known: ImageLayer): Promise<void> {
    const signal = signalOf(this.#options)
    const context = {
      limits: DEFAULT_LIMITS,
      events: eventSink(this.#options),
      signal,
      locking: lockRequest(this.#options),
    }
    const { layout, locks } = this.#store
    await using lease = new Lease(layout, locks, context.locking)
    await lease.need({ image: ref.digest, layers: [known.diffId] })
    await using source = await openSource(
      ref.reference,
      { events: context.events, limits: context.limits, scratch: async () => lease.staging() },
      sourceOptions({}),
    )
    const layer = (await currentLayer(source, ref, known.diffId, signal)) ?? known
    await fetchLayerAgain(this.#store, layer, { ...context, lease, source: async () => source })
  }

  /** An object comes back with a layer that has it. */
  #object(name: string): Outcome {
    const path = `${this.#store.layout.objects}/${name.slice(0, 2)}/${name.slice(2)}`
    if (this.#fetched.size > 0 && isWhole(path, name as VerityDigest)) {
      return { repaired: true, remedy: 'written again with its layer' }
    }
    return { repaired: false, remedy: 'no layer that could be read again has this content' }
  }

  async #image(digest: Digest): Promise<Outcome> {
    const { layout } = this.#store
    for (const ref of listRefs(layout)) {
      const platform = parsePlatform(ref.platform)
      const events = eventSink(this.#options)
      const signal = signalOf(this.#options)
      await using lease = new Lease(layout, this.#store.locks, lockRequest(this.#options))
      await using source = await openSource(
        ref.reference,
        { events, limits: DEFAULT_LIMITS, scratch: async () => lease.staging() },
        sourceOptions({}),
      )
      const image = await source.resolve({ platform, signal }).catch(() => null)
      if (image === null || (image.digest !== digest && image.manifest.config.digest !== digest)) continue
      await lease.need({ image: image.digest, config: image.manifest.config.digest })
      removeRecord(layout.blob(digest))
      keepImage(layout, image, platform)
      return { repaired: true, remedy: `fetched again from ${ref.reference}` }
    }
    return { repaired: false, remedy: 'no source that the store knows has this document' }
  }

  /** A base is made of its layers, which were mended before if they could be. */
  async #base(id: BaseId): Promise<Outcome> {
    const { layout, driver, locks } = this.#store
    const made = this.#madeOf(id)
    if (made === null) return { repaired: false, remedy: 'no image in the store has this base' }
    // So that no clean takes away meanwhile what it is made of.
    await using lease = new Lease(layout, locks, lockRequest(this.#options))
    await lease.need(made === 'unused' ? { base: id } : { base: id, layers: made.layers })
    {
      await using _lock = await locks.base(id, lockRequest(this.#options))
      removeRecord(layout.base(id))
      if (driver.traits.bases) await driver.removeBase(id)
    }
    if (made === 'unused')
      return { repaired: true, remedy: 'removed: no bundle uses it, and a create makes it again' }
    await ensureBase(this.#store, made.layers, null, {
      mapping: made.mapping,
      limits: DEFAULT_LIMITS,
      events: eventSink(this.#options),
      signal: signalOf(this.#options),
      locking: lockRequest(this.#options),
    })
    return {
      repaired: true,
      remedy:
        'made again from its layers; bundles that are mounted keep the old one until they are mounted again',
    }
  }

  /** What a base is of, by whatever tells it; `unused` when its image is known, and no bundle that would tell its id mapping. */
  #madeOf(id: BaseId): Pick<BaseRecord, 'layers' | 'mapping'> | 'unused' | null {
    const { layout } = this.#store
    const recorded = attemptOrNull(() => readBase(layout, id))
    if (recorded !== null) return recorded
    for (const bundle of listBundleIds(layout)) {
      const record = attemptOrNull(() => readBundle(layout, bundle))
      if (record?.base === id) return record
    }
    for (const { image } of this.#images()) {
      const layers = image.layers.map((layer) => layer.diffId)
      const unmapped = baseIdOf(layers)
      if (unmapped === id) return { layers, mapping: null }
      if (unmapped === unmappedBaseId(id)) return 'unused'
    }
    return null
  }

  #imageFile(name: string): Outcome {
    const { layout } = this.#store
    const record = readBundle(layout, parseBundleId(name))
    const config = record === null ? null : readBlob(layout, record.image.config)
    if (config === null) return { repaired: false, remedy: "the image's config is lost" }
    const path = `${layout.bundle(parseBundleId(name))}/image.json`
    writeFileSync(`${path}.new`, config, { flush: true })
    renameSync(`${path}.new`, path)
    return { repaired: true, remedy: 'written again' }
  }

  /** A bundle whose own record is whole is as good as what it needs, which was mended before if it could be. */
  #bundle(name: string): Outcome {
    const problem = bundleProblem(this.#store.layout, parseBundleId(name))
    if (problem === null) return { repaired: true, remedy: 'what it needs was mended' }
    return { repaired: false, remedy: 'nothing is known that would mend it; delete it and create it again' }
  }

  async #orphan(name: string): Promise<Outcome> {
    const { layout, locks } = this.#store
    const id = parseBundleId(name)
    await using _lock = await locks.bundle(id, lockRequest(this.#options))
    if (existsSync(layout.record(id))) return { repaired: true, remedy: 'it became whole meanwhile' }
    await removeLeavings(this.#store, id)
    return { repaired: true, remedy: 'removed' }
  }

  *#images(): Generator<{ ref: ImageRef; image: ResolvedImage }> {
    const { layout } = this.#store
    for (const ref of listRefs(layout)) {
      const image = attemptOrNull(() => cachedImage(layout, ref.reference, parsePlatform(ref.platform)))
      if (image !== null) yield { ref, image }
    }
  }
}

/** The layer as its source has it now: an archive that was written again may have packed it in another way. */
async function currentLayer(
  source: ImageSource,
  ref: ImageRef,
  diffId: DiffId,
  signal: AbortSignal,
): Promise<ImageLayer | undefined> {
  const image = await source.resolve({ platform: parsePlatform(ref.platform), signal })
  return image.layers.find((each) => each.diffId === diffId)
}

function isWhole(path: string, digest: VerityDigest): boolean {
  if (!existsSync(path)) return false
  try {
    verifyObject(path, digest)
    return true
  } catch (error) {
    if (!isGrootError(error) && !isErrno(error)) throw error
    return false
  }
}

function attemptOrNull<T>(read: () => T | null): T | null {
  try {
    return read()
  } catch (error) {
    if (!isGrootError(error)) throw error
    return null
  }
}
