/**
 * Mount points that an image lacks, as a tree of their own to lay over it.
 */
import { byteString, type Directory, type Inode, type Tree } from '../../lib/driver/kit.js'

/** Null when nothing is missing. What the image has on the way there keeps its metadata. */
export function missingPoints(tree: Tree, mountPoints: readonly string[]): Tree | null {
  const root = copyOf(tree.root)
  let found = false
  for (const path of mountPoints) {
    if (addPoint(root, tree.root, path)) found = true
  }
  return found ? { root } : null
}

/** @returns false when it is there, or a way that is no directory leads there: then the runtime has to see to it */
function addPoint(root: Directory, imageRoot: Directory, path: string): boolean {
  let at = root
  let image: Directory | null = imageRoot
  let isMissing = false
  const names = path.split('/').filter((name) => name !== '')
  for (const name of names.map(byteString)) {
    const next: Inode | undefined = image?.children.get(name)
    if (next !== undefined && next.kind !== 'directory') return false
    isMissing ||= next === undefined
    const known = at.children.get(name)
    const made: Directory =
      known?.kind === 'directory' ? known : next === undefined ? newDirectory() : copyOf(next)
    at.children.set(name, made)
    at = made
    image = next ?? null
  }
  return isMissing
}

function copyOf(directory: Directory): Directory {
  return { ...directory, children: new Map() }
}

function newDirectory(): Directory {
  return {
    kind: 'directory',
    mode: 0o755,
    uid: 0,
    gid: 0,
    mtimeSeconds: 0n,
    mtimeNanoseconds: 0,
    xattrs: new Map(),
    children: new Map(),
  }
}
