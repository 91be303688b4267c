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
  return roots.map(({ image, root }) => ({ image, entries: entriesOf(root) }))
}

/** Depth first, names in byte order. Of several names of a file the first is told in full. */
function entriesOf(root: ComposefsNode): ListedEntry[] {
  const listed: ListedEntry[] = []
  const paths = new Map<ComposefsNode, string>()
  for (const { path, entry } of walk(root)) {
    const node = entry.kind === 'link' ? entry.target : entry
    const told = escapedPath(path)
    const linkTo = paths.get(node) ?? null
    if (linkTo === null) paths.set(node, told)
    listed.push({
      path: told,
      kind: node.kind,
      target: linkTo === null && node.kind === 'symlink' ? escaped(node.payload!) : null,
      object: linkTo === null ? objectOf(node) : null,
      linkTo,
    })
  }
  return listed
}

/** The path of a file's object, null for what has none. */
export function objectOf(node: ComposefsNode): string | null {
  return isBacked(node) && node.payload !== null && node.payload !== '' ? escaped(node.payload) : null
}

interface Visit {
  readonly path: ByteString
  readonly entry: ComposefsEntry
}

/** All but the top. */
export function* walk(root: ComposefsNode): Generator<Visit, void, undefined> {
  const todo: Visit[] = []
  const enter = (path: ByteString, directory: ComposefsNode): void => {
    const names = [...directory.children!.keys()].sort().reverse()
    for (const name of names)
      todo.push({ path: `${path}/${name}` as ByteString, entry: directory.children!.get(name)! })
  }
  enter('' as ByteString, root)
  for (let visit = todo.pop(); visit !== undefined; visit = todo.pop()) {
    yield visit
    if (visit.entry.kind === 'directory') enter(visit.path, visit.entry)
  }
}
