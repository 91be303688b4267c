/**
 * Which objects a tree needs.
 */
import type { VerityDigest } from '../digest.js'
import type { Directory, Tree } from './model.js'

/** Each object once, with its size in bytes. */
export function contentsOf(tree: Tree): Map<VerityDigest, number> {
  const found = new Map<VerityDigest, number>()
  const todo: Directory[] = [tree.root]
  for (let next = todo.pop(); next !== undefined; next = todo.pop()) {
    for (const inode of next.children.values()) {
      if (inode.kind === 'directory') todo.push(inode)
      else if (inode.kind === 'file' && inode.content.kind === 'object') {
        found.set(inode.content.digest, inode.size)
      }
    }
  }
  return found
}
