/**
 * Mount points that an image lacks, as a tree of their own to lay over it.
 */
import { byteString, type Directory, type Inode, type Tree } from '../../lib/driver/kit.js'

interface Owner {
  readonly uid: number
  readonly gid: number
}

const ROOT: Owner = { uid: 0, gid: 0 }

/** Null when nothing is missing. What the image has on the way there keeps its metadata, the rest gets the owner. */
export function missingPoints(tree: Tree, mountPoints: readonly string[], owner: Owner = ROOT): Tree | null {
  const root = copyOf(tree.root)
  let found = false
  for (const path of mountPoints) {
    if (addPoint(root, tree.root, path, owner)) found = true
  }
  return found ? { root } : null
}

/** @returns false when it is there, or a way that is no directory leads there: then the runtime has to see to it */
function addPoint(root: Directory, imageRoot: Directory, path: string, owner: Owner): boolean {
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
      known?.kind === 'directory' ? known : next === undefined ? newDirectory(owner) : copyOf(next)
    at.children.set(name, made)
    at = made
    image = next ?? null
  }
  return isMissing
}

function copyOf(directory: Directory): Directory {
  return { ...directory, children: new Map() }
}

function newDirectory({ uid, gid }: Owner): Directory {
  return {
    kind: 'directory',
    mode: 0o755,
    uid,
    gid,
    mtimeSeconds: 0n,
    mtimeNanoseconds: 0,
    xattrs: new Map(),
    children: new Map(),
  }
}
