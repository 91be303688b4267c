/**
 * rmi: images that somebody named go away, with what nobody else needs.
 *
 * A name is taken away first; when it was the last one the image goes, by the ways of clean: looked at again under the gc
 * lock, moved to the trash, objects swept. What is merely unused is not for rmi to remove.
 */
import { BusyError, NotFoundError, UsageError } from '../errors.js'
import { runInSlices } from '../linux/slices.js'
import { syncDirectory } from '../linux/sync.js'
import { baseIdOf, unmappedBaseId } from '../store/base-id.js'
import { type CachedImage, type CachedRef, readImageCache } from '../store/cached-images.js'
import { checkWritable } from '../store/descriptor.js'
import type { StoreLayout } from '../store/layout.js'
import { listPins, namesOfImage, pinFile, readPin } from '../store/pins.js'
import { identityOf, statOf } from '../store/record-watch.js'
import { removeIfThere } from '../store/records.js'
import type { RootReader, Roots } from '../store/roots.js'
import type { RemovedImage, RemoveImagesReport, RemoveImagesRequest } from './api.js'
import { readsStore, rootReader, sweep, tellDamaged } from './clean.js'
import { Eviction } from './clean-evict.js'
import { CleanJob } from './clean-job.js'
import { findLeavings } from './clean-leavings.js'
import { type Candidate, Judge, planEvictions } from './clean-plan.js'
import { surveyStore } from './clean-survey.js'
import type { OpenedStore } from './opened-store.js'

/** Removes images; see GrootStore. */
export async function removeImages(
  store: OpenedStore,
  { images: texts, force = false, ...options }: RemoveImagesRequest,
): Promise<RemoveImagesReport> {
  checkWritable(store.layout.descriptor, store.descriptor)
  const asked = texts.map((text) => ({ text, names: namesOfImage(text) }))
  const job = new CleanJob(store, options)
  const { images } = await runInSlices(readImageCache(store.layout), job.signal)
  const targets = findTargets(images, asked)
  const reader = rootReader(job, await findLeavings(job))
  await runInSlices(reader.prime(), job.signal)

  const taken = await takeNames(job, targets, reader, force)
  // What was the last name of an image that nothing uses took the image with it.
  if (taken.some(({ isLast, isUsed }) => isLast && !isUsed)) await evict(job, taken, reader)
  return reportOf(job, taken)
}

/** An image that was named, by some of its references or by its digest. */
interface Target {
  readonly image: CachedImage
  /** What was written of it, for messages. */
  readonly text: string
  /** Those that go; all of them when it was named by its digest. */
  readonly refs: readonly CachedRef[]
  readonly byDigest: boolean
}

function findTargets(
  images: readonly CachedImage[],
  asked: readonly { readonly text: string; readonly names: readonly string[] }[],
): Target[] {
  if (asked.length === 0) {
    throw new UsageError('usage-invalid', 'Cannot remove images: none is named', {
      facts: { option: 'images' },
    })
  }
  const targets = new Map<CachedImage, Target>()
  for (const { text, names } of asked) {
    const found = images.flatMap((image) => {
      if (names.includes(image.digest)) return [{ image, text, refs: image.refs, byDigest: true }]
      const refs = image.refs.filter(({ reference }) => names.includes(reference))
      return refs.length === 0 ? [] : [{ image, text, refs, byDigest: false }]
    })
    if (found.length === 0) {
      throw new NotFoundError('image-missing', `Cannot remove image "${text}": the store does not have it`, {
        facts: { image: text, names },
      })
    }
    for (const target of found) targets.set(target.image, merged(targets.get(target.image), target))
  }
  return [...targets.values()]
}

function merged(known: Target | undefined, target: Target): Target {
  if (known === undefined) return target
  const refs = new Set([...known.refs, ...target.refs])
  // Who names all references one by one means them.
  return { ...known, refs: [...refs], byDigest: known.byDigest && target.byDigest }
}

interface Taken extends Target {
  readonly untagged: readonly string[]
  readonly freedBytes: number
  /** Whether no name is left. */
  readonly isLast: boolean
  /** Whether something uses the image all the same. */
  readonly isUsed: boolean
}

/** Takes the names away, all or, when one may not go, none. */
async function takeNames(
  job: CleanJob,
  targets: readonly Target[],
  reader: RootReader,
  force: boolean,
): Promise<Taken[]> {
  const { layout, locks } = job.store
  // A pin, a bundle and a lease are recorded before their image is looked for, under this lock: they are seen here or it is not.
  await using _gc = await locks.gc(job.locking)
  const roots = reader.read()
  const checked = targets.map((target) => ({ target, ...check(job, target, roots, force) }))
  const taken = checked.map(({ target, isLast, isUsed }): Taken => {
    const refs = target.refs.filter((ref) => {
      const path = `${layout.refs}/${ref.name}`
      const stat = statOf(path)
      // The name may mean another image by now.
      return stat !== null && identityOf(stat) === ref.identity && removeIfThere(path)
    })
    return {
      ...target,
      isLast,
      isUsed,
      untagged: [...new Set(refs.map(({ reference }) => reference))].sort(),
      freedBytes: refs.reduce((sum, { bytes }) => sum + bytes, 0),
    }
  })
  syncDirectory(layout.refs)
  return taken
}

/** @throws {BusyError} when the names may not be taken away */
function check(
  job: CleanJob,
  target: Target,
  roots: Roots,
  force: boolean,
): { readonly isLast: boolean; readonly isUsed: boolean } {
  const { image, text, refs, byDigest } = target
  const isLast = refs.length === image.refs.length
  checkPins(job, target, roots, isLast)
  const references = [...new Set(image.refs.map(({ reference }) => reference))].sort()
  if (byDigest && references.length > 1 && !force) {
    throw inUse(text, `it has ${references.length} names, ${references.join(', ')}`, { references })
  }
  if (!isLast) return { isLast, isUsed: true }
  const bundles = roots.bundles
    .filter(({ documents }) => documents.includes(image.digest))
    .map(({ id }) => id)
  if (bundles.length > 0 && !force) {
    const more = bundles.length === 1 ? '' : ` and ${bundles.length - 1} more`
    throw inUse(text, `bundle "${bundles[0]}"${more} was made from it`, {
      bundles: bundles.slice(0, MAX_FACTS),
    })
  }
  const isUsed = roots.documents.has(image.digest)
  if (isUsed && bundles.length === 0 && !force) throw inUse(text, 'something that is running uses it', {})
  return { isLast, isUsed }
}

const MAX_FACTS = 20 // names of bundles; there may be thousands

function inUse(text: string, why: string, facts: Readonly<Record<string, readonly string[]>>): BusyError {
  return new BusyError('image-in-use', `Cannot remove image "${text}": ${why}`, {
    facts: { image: text, references: [], bundles: [], ...facts },
    // It is not only a matter of waiting.
    temporary: false,
  })
}

/** A pin of a name keeps the name, and the image that it was made for; a pin of the digest keeps the image. */
function checkPins({ store: { layout } }: CleanJob, target: Target, roots: Roots, isLast: boolean): void {
  const { image, text, refs } = target
  const names = [...refs.map(({ reference }) => reference), ...(isLast ? [image.digest] : [])]
  const named = names.find((name) => roots.pins.has(pinFile(name)))
  const pin = named ?? (isLast && roots.documents.has(image.digest) ? pinMadeFor(layout, image) : null)
  if (pin === null) return
  const message = `Cannot remove image "${text}": "${pin}" is pinned; groot unpin lets it go`
  throw new BusyError('image-pinned', message, { facts: { image: text, pin }, temporary: false })
}

/** The pin of a name that meant this image when it was pinned. */
function pinMadeFor(layout: StoreLayout, { digest }: CachedImage): string | null {
  for (const file of listPins(layout)) {
    try {
      const pin = readPin(layout, file)
      if (pin?.images.some(({ documents }) => documents.includes(digest))) return pin.image
    } catch {
      // Damaged: it holds its name, and that was looked for.
    }
  }
  return null
}

/** Removes images without names, and of their bases, layers and objects what no other image, bundle or lease needs. */
async function evict(job: CleanJob, taken: readonly Taken[], reader: RootReader): Promise<void> {
  const gone = new Set(
    taken.filter(({ isLast, isUsed }) => isLast && !isUsed).map(({ image }) => image.digest),
  )
  const survey = await surveyStore(job)
  const others = survey.cache.images.filter(({ digest }) => !gone.has(digest)).map(({ digest }) => digest)
  const judge = new Judge(survey.cache.images, [others], readsStore(job))
  const roots = reader.read()
  const candidates = await runInSlices(planEvictions(job, survey, judge.usesBy(roots), null), job.signal)
  const chosen = candidates.filter(belongsTo(taken.map(({ image }) => image)))
  await new Eviction(job, survey, reader, judge).run(chosen)
  if (chosen.some(({ kind }) => kind === 'layer')) await sweep(job, survey.table, reader)
  const staying = taken.filter(
    ({ image }) => gone.has(image.digest) && statOf(job.store.layout.blob(image.digest)) !== null,
  )
  for (const { text } of staying)
    job.skipped(
      'image',
      text,
      'image-in-use',
      `Cannot remove image "${text}": something uses it by now, or may do so`,
    )
  // Other damage is not what this is about; this may be why something stays.
  if (staying.length > 0 || roots.damaged.some(({ needsUnknown }) => needsUnknown))
    tellDamaged(job, survey, roots)
}

/** What clean would remove besides is not asked for. */
function belongsTo(images: readonly CachedImage[]): (candidate: Candidate) => boolean {
  const digests = new Set<string>(images.map(({ digest }) => digest))
  const layers = new Set<string>(images.flatMap((image) => image.layers))
  const bases = new Set<string>(images.map((image) => baseIdOf(image.layers)))
  return (candidate) => {
    switch (candidate.kind) {
      case 'image':
        return digests.has(candidate.image.digest)
      case 'base':
        return bases.has(unmappedBaseId(candidate.base.id))
      case 'layer':
        return layers.has(candidate.layer.diffId)
      default:
        return candidate satisfies never
    }
  }
}

function reportOf(job: CleanJob, taken: readonly Taken[]): RemoveImagesReport {
  const { layout } = job.store
  const { removed, skipped, objects, freedBytes } = job.report({
    bytes: 0,
    thresholdBytes: null,
    belowThreshold: false,
    pinned: [],
  })
  const images = taken.map(({ image, untagged }): RemovedImage => {
    return { digest: image.digest, untagged, removed: statOf(layout.blob(image.digest)) === null }
  })
  // Files of nobody are for clean to tell of.
  const ours = skipped.filter(({ code }) => code !== 'stray-file')
  const ofNames = taken.reduce((sum, each) => sum + each.freedBytes, 0)
  return { images, freedBytes: freedBytes + ofNames, objects, removed, skipped: ours }
}
