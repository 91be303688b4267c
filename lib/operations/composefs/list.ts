/**
 * composefs-info ls: the entries of images.
 */
import type { ByteString } from '../../bytes.js'
import { type ComposefsEntry, type ComposefsNode, isBacked } from '../../composefs/node.js'
import type { FilterImages, ImageListing, ListedEntry } from './api.js'
import { escaped, escapedPath } from './escape.js'
import { readRoots } from './read-image.js'

export async function listImages(request: FilterImages): Promise<ImageListing[]> {
  const roots = await readRoots(request)
  return roots.map(({ image, root }) => ({ image, entries: () => entriesOf(root) }))
}

/** Depth first, names in byte order. Of several names of a file the first is told in full. */
function* entriesOf(root: ComposefsNode): Generator<ListedEntry, void, undefined> {
  const firsts = new Map<ComposefsNode, Visit | null>()
  for (const { entry } of walk(root)) if (entry.kind === 'link') firsts.set(entry.target, null)
  for (const visit of walk(root)) {
    const { entry } = visit
    const node = entry.kind === 'link' ? entry.target : entry
    const first = firsts.get(node)
    if (first === null) firsts.set(node, visit)
    const isFirst = first === null || first === undefined
    yield {
      path: pathOf(visit),
      kind: node.kind,
      target: isFirst && node.kind === 'symlink' ? escaped(node.payload!) : null,
      object: isFirst ? objectOf(node) : null,
      linkTo: isFirst ? null : pathOf(first),
    }
  }
}

/** The path of a file's object, null for what has none. */
export function objectOf(node: ComposefsNode): string | null {
  return isBacked(node) && node.payload !== null && node.payload !== '' ? escaped(node.payload) : null
}

/** A path as the way to it: paths of deep directories are long, and all of them together far longer than the image. */
interface Visit {
  readonly name: ByteString
  /** The directory that it is in; null for the top. */
  readonly above: Visit | null
  readonly entry: ComposefsEntry
}

function pathOf(visit: Visit): string {
  const names: ByteString[] = []
  for (let at: Visit | null = visit; at !== null; at = at.above) names.push(at.name)
  return escapedPath(`/${names.reverse().join('/')}` as ByteString)
}

/** All but the top. */
export function* walk(root: ComposefsNode): Generator<Visit, void, undefined> {
  const todo: Visit[] = []
  const enter = (above: Visit | null, directory: ComposefsNode): void => {
    const names = [...directory.children!.keys()].sort().reverse()
    for (const name of names) todo.push({ name, above, entry: directory.children!.get(name)! })
  }
  enter(null, root)
  for (let visit = todo.pop(); visit !== undefined; visit = todo.pop()) {
    yield visit
    if (visit.entry.kind === 'directory') enter(visit, visit.entry)
  }
}
