/**
 * Looking up a path in a finished tree, as a process whose root the tree is would see it.
 */
import type { ByteString } from '../bytes.js'
import type { Directory, Inode, Tree } from './model.js'

const MAX_SYMLINKS = 40 // as the kernel: more in one path is ELOOP

/**
 * Finds what a path names; symlinks are followed everywhere, also the last, as if the root were `/`: `..` never leaves it.
 *
 * @returns null when there is nothing, when something on the way is no directory, and when links go round in circles
 */
export function findInode(tree: Tree, path: ByteString): Inode | null {
  const todo = componentsOf(path).reverse()
  const above: Directory[] = []
  let at: Inode = tree.root
  let links = 0
  for (let name = todo.pop(); name !== undefined; name = todo.pop()) {
    if (at.kind !== 'directory') return null
    if (name === '.') continue
    if (name === '..') {
      at = above.pop() ?? tree.root
      continue
    }
    const child: Inode | undefined = at.children.get(name)
    if (child === undefined) return null
    if (child.kind !== 'symlink') {
      above.push(at)
      at = child
      continue
    }
    if (++links > MAX_SYMLINKS) return null
    if (child.target.startsWith('/')) {
      above.length = 0
      at = tree.root
    }
    for (const part of componentsOf(child.target).reverse()) todo.push(part)
  }
  return at
}

// A trailing slash asks for a directory; `.` keeps that wish, because a file has no `.`.
function componentsOf(path: ByteString): ByteString[] {
  const parts = path.split('/').filter((part) => part !== '') as ByteString[]
  return path.endsWith('/') && parts.length > 0 ? [...parts, '.' as ByteString] : parts
}
