/**
 * clean: what nobody uses goes away, least recently used first; and what killed operations left.
 *
 * Everything is found without a lock, and taken out under the gc lock a little at a time, after another look. It may be
 * killed at any point: what it was doing is a leaving, or was not begun.
 */
import { basename } from 'node:path'
import type { VerityDigest } from '../digest.js'
import { isGrootError, UsageError } from '../errors.js'
import { namesIn } from '../linux/names.js'
import { runInSlices, type Work } from '../linux/slices.js'
import { readBase } from '../store/bases.js'
import type { BundleId } from '../store/bundle-id.js'
import { leadsNowhere } from '../store/cached-images.js'
import { checkWritable } from '../store/descriptor.js'
import { LayerRecords } from '../store/layer-records.js'
import type { ObjectTable } from '../store/object-table.js'
import { isNamed, listPins, namesOfImage, readPin } from '../store/pins.js'
import { statOf } from '../store/record-watch.js'
import { type BundleRoot, RootReader, type Roots } from '../store/roots.js'
import { sweepObjects } from '../store/sweep.js'
import type { CleanReport, CleanRequest } from './api.js'
import { Eviction, Item } from './clean-evict.js'
import { CleanJob } from './clean-job.js'
import { driverOf, findLeavings, type Leaving, removeLeavings } from './clean-leavings.js'
import { type Candidate, Judge, nameOf, planEvictions } from './clean-plan.js'
import { baseOfFile, type Survey, surveyStore } from './clean-survey.js'
import type { OpenedStore } from './opened-store.js'

/** Cleans a store; see GrootStore. */
export async function cleanStore(store: OpenedStore, request: CleanRequest): Promise<CleanReport> {
  const job = new CleanJob(store, request)
  const keep = checkRequest(request)
  checkWritable(store.layout.descriptor, store.descriptor)
  const threshold = request.thresholdBytes ?? null

  const leavings = await findLeavings(job)
  // Without a threshold they go in any case, so they go first: a survey takes time and may find what is damaged.
  if (threshold === null) await removeLeavings(job, leavings)
  const survey = await surveyStore(job)
  const bytes = survey.bytes + leavings.reduce((sum, leaving) => sum + leaving.bytes, 0)
  const summary = { bytes, thresholdBytes: threshold, belowThreshold: false, pinned: pinnedNames(store) }
  if (threshold !== null && bytes <= threshold) return job.report({ ...summary, belowThreshold: true })
  if (threshold !== null) await removeLeavings(job, leavings)

  const reader = rootReader(job, leavings)
  const judge = new Judge(survey.cache.images, keep, readsStore(job))
  await runInSlices(reader.prime(), job.signal)
  const roots = reader.read()
  tellDamaged(job, survey, roots)
  warnOfUnknown(job, survey, keep)
  const uses = judge.usesBy(roots)
  const plan = await runInSlices(planEvictions(job, survey, uses, threshold), job.signal)
  if (job.dryRun) tellPlan(job, survey, plan)
  else {
    await removeDamagedRefs(job, survey)
    await new Eviction(job, survey, reader, judge).run(plan)
    await sweep(job, survey.table, reader)
  }
  return job.report(summary)
}

/** @returns for each image to keep, the names that can mean it @throws {UsageError} */
function checkRequest(request: CleanRequest): readonly (readonly string[])[] {
  for (const option of ['thresholdBytes', 'olderThanMs', 'maxDurationMs'] as const) {
    const value = request[option]
    if (value === undefined || value >= 0) continue
    throw new UsageError('option-invalid', `Cannot use ${value} for ${option}: a number from 0 is needed`, {
      facts: { option, value: String(value) },
    })
  }
  return (request.keep ?? []).map(namesOfImage)
}

/** What was found dead does not count; of bundles that are being deleted a dry run does not either, as they would be gone. */
export function rootReader(job: CleanJob, leavings: readonly Leaving[]): RootReader {
  const gone = new Set(leavings.map(({ what, name }) => `${what} ${name}`))
  const { layout } = job.store
  const reader = new RootReader(
    layout,
    (what, name) => (what === 'lease' || job.dryRun) && gone.has(`${what} ${name}`),
  )
  if (job.dryRun) return reader
  for (const { what, name } of leavings) {
    if (what === 'bundle' && statOf(layout.bundle(name as BundleId)) !== null)
      reader.addOrphan(name as BundleId)
  }
  return reader
}

/** Whether bundles go on reading bases and objects: those that are mounted do. */
export function readsStore(job: CleanJob): boolean {
  return driverOf(job)?.traits.mounts ?? true
}

function pinnedNames({ layout }: OpenedStore): string[] {
  const names = listPins(layout).map((file) => {
    try {
      return readPin(layout, file)?.image ?? null
    } catch {
      // Told as damaged; it still holds, by its file name.
      return file
    }
  })
  return names.filter((name) => name !== null).sort()
}

/** What is needed and damaged stays, and is told. What is damaged and unused goes like all that is unused. */
export function tellDamaged(job: CleanJob, { cache, bases, records }: Survey, roots: Roots): void {
  for (const { what, name, error } of roots.damaged) job.failed(what, name, error)
  for (const { digest, damage } of cache.images) {
    if (damage !== null && roots.documents.has(digest)) job.failed('image', digest, damage)
  }
  for (const { id, damage } of bases.values()) {
    if (damage !== null && roots.bases.has(id)) job.failed('base', id, damage)
  }
  for (const [diffId, error] of records.damaged) {
    if (roots.layers.has(diffId)) job.failed('layer', diffId, error)
  }
}

function warnOfUnknown(job: CleanJob, { cache }: Survey, keep: readonly (readonly string[])[]): void {
  for (const names of keep) {
    if (cache.images.some((image) => isNamed(image, names))) continue
    job.events({
      kind: 'warning',
      code: 'image-missing',
      message: `There is no image "${names[0]}" in the store to keep`,
      facts: { image: names[0] ?? '' },
    })
  }
}

/** What a run would do, as far as it can be told. */
function tellPlan(job: CleanJob, { cache, table }: Survey, plan: readonly Candidate[]): void {
  for (const { name, bytes } of cache.damagedRefs) job.removed({ what: 'image', name, bytes })
  for (const candidate of plan) {
    job.removed({ what: candidate.kind, name: nameOf(candidate), bytes: candidate.bytes })
  }
  const { count, bytes } = table.unreferenced()
  job.removedObjects(count, bytes)
}

/** Names that lead nowhere are of no use to anybody. */
export async function removeDamagedRefs(job: CleanJob, { cache }: Survey): Promise<void> {
  const { layout } = job.store
  for (const { name, bytes } of cache.damagedRefs) {
    const item = new Item(job, 'image', name)
    try {
      if (leadsNowhere(layout, name)) item.condemn(`${layout.refs}/${name}`, bytes)
    } catch (error) {
      job.failed('image', name, error)
    }
    await item.finish()
  }
}

/** Takes away the objects that nothing needs which is there now. */
export async function sweep(job: CleanJob, table: ObjectTable, reader: RootReader): Promise<void> {
  if (job.isOver()) return
  const { layout, locks } = job.store
  const records = new LayerRecords(layout)
  const mark = (digest: VerityDigest) => table.mark(digest)
  await runInSlices(records.read(records.unread(), mark), job.signal)
  await runInSlices(markAccounts(job, mark), job.signal)
  if (!(await markUnreadable(job, records, reader.read(), mark))) return
  const of = table.unmarkedCount()
  let done = 0
  try {
    job.complete &&= await sweepObjects({
      layout,
      table,
      records,
      signal: job.signal,
      lockGc: () => locks.gc(job.locking),
      isOver: () => job.isOver(),
      onRemoved: (count, bytes) => {
        job.removedObjects(count, bytes)
        done += count
        job.events({ kind: 'clean-progress', removed: done, of })
      },
      onFailed: (digest, error) => job.failed('object', digest, error),
    })
  } catch (error) {
    if (isGrootError(error) && error.kind === 'busy') throw error
    job.failed('object', basename(layout.objects), error)
  }
}

/** The account files that create reads are contents of the base's layers; should one of those be gone, its base is not. */
function* markAccounts({ store: { layout } }: CleanJob, mark: (digest: VerityDigest) => void): Work<void> {
  for (const name of namesIn(layout.bases)) {
    const id = baseOfFile(name)
    try {
      const accounts = id === null ? null : (readBase(layout, id)?.accounts ?? null)
      for (const file of [accounts?.passwd, accounts?.group]) if (file?.kind === 'object') mark(file.digest)
    } catch {
      // Told by tellDamaged, where it matters.
    }
    yield
  }
}

/**
 * Sees to bundles that go on reading objects which no readable layer names: their layer's record is damaged or gone.
 *
 * @returns false when it cannot be told which those are; then no object is taken away
 */
async function markUnreadable(
  job: CleanJob,
  records: LayerRecords,
  roots: Roots,
  mark: (digest: VerityDigest) => void,
): Promise<boolean> {
  if (!readsStore(job)) return true
  let isKnown = true
  for (const bundle of roots.bundles) {
    const lost = bundle.layers.find(
      (id) => records.damaged.has(id) || statOf(job.store.layout.layer(id)) === null,
    )
    if (lost === undefined || (await markByDriver(job, bundle, mark))) continue
    isKnown = false
    job.skipped(
      'object',
      'objects',
      'layer-damaged',
      `Cannot tell which objects bundle "${bundle.id}" uses: the record of its layer ${lost} is damaged or gone; groot check --repair mends it, deleting the bundle too`,
    )
  }
  return isKnown
}

async function markByDriver(
  job: CleanJob,
  { base }: BundleRoot,
  mark: (digest: VerityDigest) => void,
): Promise<boolean> {
  const driver = driverOf(job)
  if (base === null || driver?.objectsOf === undefined) return false
  try {
    for await (const digest of driver.objectsOf(base)) mark(digest)
    return true
  } catch (error) {
    job.failed('base', base, error)
    return false
  }
}
