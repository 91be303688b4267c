/**
 * groot clean: removes what nobody uses, and prints what it freed and what it skipped.
 */
import { type CleanReport, type CleanRequest, PartialError } from '../lib/index.js'
import { counted, humanBytes, jsonLine, visible } from './text.js'
import { answer, callOptions, type Verb, type VerbContext, withExistingStore } from './verb.js'

export const clean: Verb = async (context) => {
  const { options } = context
  const report =
    (await withExistingStore(context, (store) => store.clean(requestOf(context)))) ?? nothing(context)
  const text = options.json ? jsonLine(reportJson(report)) : reportLines(report).join('\n')
  return answer(`${text}\n`, statusOf(context, report))
}

function requestOf(context: VerbContext): CleanRequest {
  const { options } = context
  return {
    ...callOptions(context),
    dryRun: options['dry-run'] ?? false,
    keep: options.keep ?? [],
    ...(options['threshold-bytes'] === undefined ? {} : { thresholdBytes: options['threshold-bytes'] }),
    ...(options['older-than'] === undefined ? {} : { olderThanMs: options['older-than'] }),
    ...(options['max-duration'] === undefined ? {} : { maxDurationMs: options['max-duration'] }),
  }
}

/** What there is to tell of a store that does not exist. */
function nothing({ options }: VerbContext): CleanReport {
  const thresholdBytes = options['threshold-bytes'] ?? null
  return {
    dryRun: options['dry-run'] ?? false,
    bytes: 0,
    thresholdBytes,
    belowThreshold: thresholdBytes !== null,
    freedBytes: 0,
    objects: 0,
    removed: [],
    skipped: [],
    pinned: [],
    complete: true,
  }
}

/** What was skipped is told again as a failure, so that it reaches who does not read the answer. */
function statusOf(context: VerbContext, { skipped }: CleanReport): number {
  if (skipped.length === 0) return 0
  const [first] = skipped
  const more = skipped.length === 1 ? '' : `, and ${counted(skipped.length - 1, 'other thing')}`
  return context.report(
    new PartialError(
      'clean-incomplete',
      `Cannot clean everything: skipped ${first?.what} "${first?.name}" (${first?.code})${more}`,
      { facts: { skipped: skipped.length } },
    ),
  )
}

/** Exactly the documented fields, in the documented order. */
function reportJson(report: CleanReport) {
  const { dryRun, bytes, thresholdBytes, belowThreshold, freedBytes, objects, pinned, complete } = report
  return {
    dryRun,
    bytes,
    thresholdBytes,
    belowThreshold,
    freedBytes,
    objects,
    removed: report.removed.map(({ what, name, bytes: itsBytes }) => ({ what, name, bytes: itsBytes })),
    skipped: report.skipped.map(({ what, name, code, message }) => ({ what, name, code, message })),
    pinned,
    complete,
  }
}

function reportLines(report: CleanReport): string[] {
  return [
    ...report.removed.map(({ what, name, bytes }) => visible(`${what} ${name}: ${humanBytes(bytes)}`)),
    ...report.skipped.map(({ what, name, code, message }) =>
      visible(`skipped ${what} ${name}: ${code}: ${message}`),
    ),
    summary(report),
  ]
}

function summary(report: CleanReport): string {
  const { belowThreshold, bytes, thresholdBytes, dryRun, freedBytes, complete } = report
  if (belowThreshold) {
    const limit = humanBytes(thresholdBytes ?? 0)
    return `Nothing to do: the store takes ${humanBytes(bytes)}, the threshold is ${limit}`
  }
  const did = dryRun ? 'Would free' : 'Freed'
  const stopped = complete ? '' : '; stopped as its time was over, the next clean goes on'
  return `${did} ${humanBytes(freedBytes)} of ${humanBytes(bytes)}: ${countsOf(report)}${stopped}`
}

const PLURALS = {
  image: 'images',
  base: 'bases',
  layer: 'layers',
  bundle: 'bundles',
  lease: 'leases',
  trash: 'pieces of trash',
  temporary: 'temporary files',
  'base-data': 'bases without a record',
} as const satisfies Record<CleanReport['removed'][number]['what'], string>

const SINGULARS = {
  trash: 'piece of trash',
  temporary: 'temporary file',
  'base-data': 'base without a record',
}

/** `2 layers, 1 lease, 17 objects` */
function countsOf({ removed, objects }: CleanReport): string {
  const counts = (Object.keys(PLURALS) as (keyof typeof PLURALS)[]).flatMap((what) => {
    const count = removed.filter((item) => item.what === what).length
    const one = what in SINGULARS ? SINGULARS[what as keyof typeof SINGULARS] : what
    return count === 0 ? [] : [counted(count, one, PLURALS[what])]
  })
  if (objects > 0) counts.push(counted(objects, 'object'))
  return counts.length === 0 ? 'nothing could go' : counts.join(', ')
}
