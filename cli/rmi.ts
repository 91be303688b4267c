/**
 * groot rmi: removes images by name or digest, and prints what became of each.
 */
import { NotFoundError, PartialError, type RemovedImage, type RemoveImagesReport } from '../lib/index.js'
import { counted, humanBytes, jsonLine, quoted, visible } from './text.js'
import { answer, callOptions, type Verb, type VerbContext, withExistingStore } from './verb.js'

export const rmi: Verb = async (context) => {
  const { options, operands } = context
  const request = { ...callOptions(context), images: operands, force: options.force ?? false }
  const report = await withExistingStore(context, (store) => store.removeImages(request))
  if (report === null) {
    const [image = ''] = operands
    throw new NotFoundError('image-missing', `Cannot remove image ${quoted(image)}: there is no store yet`, {
      facts: { image },
    })
  }
  const text = options.json ? jsonLine(reportJson(report)) : reportLines(report).join('\n')
  return answer(`${text}\n`, statusOf(context, report))
}

/** What was skipped is told again as a failure, so that it reaches who does not read the answer. */
function statusOf(context: VerbContext, { skipped }: RemoveImagesReport): number {
  const [first] = skipped
  if (first === undefined) return 0
  const more = skipped.length === 1 ? '' : `, and ${counted(skipped.length - 1, 'other thing')}`
  const message = `Cannot remove everything: ${first.what} ${quoted(first.name)}${more}: ${first.message}`
  return context.report(new PartialError('clean-incomplete', message, { facts: { skipped: skipped.length } }))
}

/** Exactly the documented fields, in the documented order. */
function reportJson({ images, freedBytes, objects, removed, skipped }: RemoveImagesReport) {
  return {
    images: images.map(({ digest, untagged, removed: isGone }) => ({ digest, untagged, removed: isGone })),
    freedBytes,
    objects,
    removed: removed.map(({ what, name, bytes }) => ({ what, name, bytes })),
    skipped: skipped.map(({ what, name, code, message }) => ({ what, name, code, message })),
  }
}

function reportLines(report: RemoveImagesReport): string[] {
  return [
    // An image for each platform may have had the same name.
    ...new Set(report.images.flatMap(linesOf)),
    ...report.skipped.map(({ what, name, code, message }) =>
      visible(`skipped ${what} ${name}: ${code}: ${message}`),
    ),
    `Freed ${humanBytes(report.freedBytes)}`,
  ]
}

function linesOf({ digest, untagged, removed }: RemovedImage): string[] {
  return [
    ...untagged.map((name) => visible(`untagged ${name}`)),
    ...(removed ? [visible(`removed ${digest}`)] : []),
  ]
}
