/**
 * Walking to a directory of a tree that is being merged: symlinks are followed inside the tree, `..` stops at the root,
 * and what is missing may be made. Looking things up in a finished tree is in find.ts.
 */
import type { ByteString } from '../bytes.js'
import type { CleanPath } from './change.js'
import { type Directory, IMPLICIT_DIRECTORY } from './model.js'

const MAX_SYMLINKS = 40 // as the kernel: more in one path is ELOOP

export interface WalkOptions {
  /** Makes missing directories, also those that a dangling symlink points to: what later entries then fill. Told of each. */
  readonly onMade?: () => void
  /** Told how deep each directory stands that is gone down to; may throw. */
  readonly onDepth?: (depth: number) => void
  /** Asked for the real path of each symlink before it is followed; true ends the walk without a result. */
  readonly replaced?: (path: CleanPath) => boolean
  /** Told how many components are to be looked at next; may throw. */
  readonly onSteps?: (count: number) => void
}

/**
 * The directory that a path leads to, the last component followed too; undefined when there is none: something is
 * missing, is no directory, or links go in a circle.
 */
export function walkToDirectory(
  root: Directory,
  path: CleanPath,
  how: WalkOptions = {},
): Directory | undefined {
  const above: Directory[] = []
  const names: ByteString[] = []
  let at = root
  const todo = [...path].reverse()
  let links = 0
  how.onSteps?.(path.length)
  while (todo.length > 0) {
    const name = todo.pop()!
    if (name === '' || name === '.') continue
    if (name === '..') {
      at = above.pop() ?? root
      names.pop()
      continue
    }
    const next =
      at.children.get(name) ?? (how.onMade === undefined ? undefined : makeDirectory(at, name, how))
    if (next?.kind === 'directory') {
      above.push(at)
      names.push(name)
      how.onDepth?.(names.length)
      at = next
    } else if (next?.kind === 'symlink') {
      if (++links > MAX_SYMLINKS || how.replaced?.([...names, name]) === true) return undefined
      if (next.target.startsWith('/')) {
        at = root
        above.length = 0
        names.length = 0
      }
      const parts = next.target.split('/') as ByteString[]
      how.onSteps?.(names.length + parts.length)
      for (const part of parts.reverse()) todo.push(part)
    } else {
      return undefined
    }
  }
  return at
}

function makeDirectory(parent: Directory, name: ByteString, { onMade }: WalkOptions): Directory {
  onMade?.()
  const made: Directory = { ...IMPLICIT_DIRECTORY, kind: 'directory', children: new Map() }
  parent.children.set(name, made)
  return made
}
