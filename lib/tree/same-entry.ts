/**
 * What two trees have in common: which files of the one can stand where they are for the other.
 */
import type { Content, Directory, Inode, Metadata, NonDirectory, Tree, Xattrs } from './model.js'

export interface Kept {
  readonly before: NonDirectory
  /** Whether its metadata are the same too. */
  readonly isSame: boolean
}

/**
 * The files of a tree that stand under all of their names in the first tree already, with the same content. A file of the first
 * tree stands for one of the other: where that has two equal files instead of two names of one, one of them is another file.
 */
export function keptFiles(before: Tree, tree: Tree): Map<NonDirectory, Kept> {
  const found = standing(before.root, tree.root)
  const taken = new Set<NonDirectory>()
  const kept = new Map<NonDirectory, Kept>()
  for (const [inode, old] of found) {
    if (old === null || taken.has(old) || !hasSameContent(old, inode)) continue
    taken.add(old)
    kept.set(inode, { before: old, isSame: hasSameMetadata(old, inode) })
  }
  return kept
}

/** For each file the one that stands in the first tree under its names; null when there is none, or not under all. */
function standing(before: Directory, root: Directory): Map<NonDirectory, NonDirectory | null> {
  const found = new Map<NonDirectory, NonDirectory | null>()
  const todo: [Directory | null, Directory][] = [[before, root]]
  for (let next = todo.pop(); next !== undefined; next = todo.pop()) {
    const [old, directory] = next
    for (const [name, inode] of directory.children) {
      const there = old?.children.get(name)
      if (inode.kind === 'directory') {
        todo.push([there?.kind === 'directory' ? there : null, inode])
        continue
      }
      const file = there === undefined || there.kind === 'directory' ? null : there
      const other = found.get(inode)
      found.set(inode, other === undefined || other === file ? file : null)
    }
  }
  return found
}

export function hasSameMetadata(a: Metadata, b: Metadata): boolean {
  return (
    a.mode === b.mode &&
    a.uid === b.uid &&
    a.gid === b.gid &&
    a.mtimeSeconds === b.mtimeSeconds &&
    a.mtimeNanoseconds === b.mtimeNanoseconds &&
    hasSameXattrs(a.xattrs, b.xattrs)
  )
}

function hasSameXattrs(a: Xattrs, b: Xattrs): boolean {
  if (a.size !== b.size) return false
  for (const [name, value] of a) if (b.get(name) !== value) return false
  return true
}

/** Whether two files are the same but for their metadata. */
function hasSameContent(a: NonDirectory, b: Inode): boolean {
  switch (a.kind) {
    case 'file':
      return b.kind === 'file' && a.size === b.size && isSameContent(a.content, b.content)
    case 'symlink':
      return b.kind === 'symlink' && a.target === b.target
    case 'char':
    case 'block':
      return b.kind === a.kind && a.major === b.major && a.minor === b.minor
    case 'fifo':
    case 'socket':
      return b.kind === a.kind
    default:
      return a satisfies never
  }
}

function isSameContent(a: Content, b: Content): boolean {
  switch (a.kind) {
    case 'empty':
      return b.kind === 'empty'
    case 'inline':
      return b.kind === 'inline' && Buffer.compare(a.bytes, b.bytes) === 0
    case 'object':
      return b.kind === 'object' && a.digest === b.digest
    default:
      return a satisfies never
  }
}
