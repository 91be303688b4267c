/**
 * groot images: prints the images of the store, a line for each name.
 */
import type { ImageSummary } from '../lib/index.js'
import { counted, humanBytes, jsonLine, visible } from './text.js'
import { answer, callOptions, type Verb, withExistingStore } from './verb.js'

export const images: Verb = async (context) => {
  const found = (await withExistingStore(context, (store) => store.images(callOptions(context)))) ?? []
  if (context.options.json) return answer(`${jsonLine(found.map(imageJson))}\n`)
  return answer(table(found.flatMap(rowsOf)))
}

/** Exactly the documented fields, in the documented order. */
function imageJson(image: ImageSummary) {
  const { digest, references, platform, tree, complete, totalBytes, sharedBytes, ownBytes } = image
  const { lastUsedAt, pinned, bundles } = image
  return {
    digest,
    references,
    platform,
    tree,
    complete,
    totalBytes,
    sharedBytes,
    ownBytes,
    lastUsedAt,
    pinned,
    bundles,
  }
}

const HEADER = ['IMAGE', 'DIGEST', 'PLATFORM', 'TOTAL', 'OWN', 'LAST USE', 'STATE']

function rowsOf(image: ImageSummary): string[][] {
  const { digest, references, platform, totalBytes, ownBytes, lastUsedAt } = image
  const rest = [
    digest,
    platform ?? '-',
    humanBytes(totalBytes),
    humanBytes(ownBytes),
    `${lastUsedAt.slice(0, 16)}Z`,
    stateOf(image),
  ]
  return (references.length === 0 ? ['-'] : references).map((reference) => [reference, ...rest].map(visible))
}

function stateOf({ bundles, pinned, complete }: ImageSummary): string {
  const words = [
    ...(bundles > 0 ? [counted(bundles, 'bundle')] : []),
    ...(pinned ? ['pinned'] : []),
    ...(complete ? [] : ['incomplete']),
  ]
  return words.length === 0 ? '-' : words.join(', ')
}

/** Columns two blanks apart, with a line of titles; nothing where there are no rows. */
function table(rows: readonly (readonly string[])[]): string {
  if (rows.length === 0) return ''
  const lines = [HEADER, ...rows]
  const widths = HEADER.map((_, column) => lines.reduce((max, row) => Math.max(max, row[column]!.length), 0))
  return lines
    .map(
      (row) =>
        `${row
          .map((cell, column) => cell.padEnd(widths[column]!))
          .join('  ')
          .trimEnd()}\n`,
    )
    .join('')
}
