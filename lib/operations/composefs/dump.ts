/**
 * composefs-info dump: the text form of images.
 */
import { writeDump } from '../../composefs/dump-write.js'
import type { FilterImages, ImageDump } from './api.js'
import { type FilteredRoot, readRoots } from './read-image.js'

export async function dumpImages(request: FilterImages): Promise<ImageDump[]> {
  const roots = await readRoots(request)
  return roots.map((each) => ({ image: each.image, text: () => textOf(each) }))
}

function* textOf({ root, whole }: FilteredRoot): Generator<string, void, undefined> {
  const options = { hardLinks: 'first' } as const
  if (root === whole) return yield* writeDump(root, options)
  // The top stays what it is, whatever of it is shown: size and link count are those of the image.
  yield firstLine(writeDump(whole, options))
  let isFirst = true
  for (const piece of writeDump(root, options)) {
    yield isFirst ? piece.slice(piece.indexOf('\n') + 1) : piece
    isFirst = false
  }
}

function firstLine(text: Iterable<string>): string {
  for (const piece of text) return piece.slice(0, piece.indexOf('\n') + 1)
  return ''
}
