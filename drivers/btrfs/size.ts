/**
 * What a tree takes, as far as its entries tell.
 */
import type { Directory, Inode, Tree } from '../../lib/driver/kit.js'

const ENTRY_BYTES = 512 // an inode, its two names and its share of the nodes above, as whole trees show on average
const BLOCK_BYTES = 4096

/** Bytes of metadata with the contents that stand among them, estimated; bytes of all other contents in whole blocks. */
export function sizeOf(tree: Tree): { bytes: number; contentBytes: number } {
  let [bytes, contentBytes] = [ENTRY_BYTES, 0]
  const seen = new Set<Inode>()
  const todo: Directory[] = [tree.root]
  for (let directory = todo.pop(); directory !== undefined; directory = todo.pop()) {
    for (const inode of directory.children.values()) {
      bytes += ENTRY_BYTES
      if (inode.kind === 'directory') todo.push(inode)
      if (inode.kind !== 'file' || seen.has(inode)) continue
      seen.add(inode)
      if (inode.content.kind === 'inline') bytes += inode.size
      else contentBytes += Math.ceil(inode.size / BLOCK_BYTES) * BLOCK_BYTES
    }
  }
  return { bytes, contentBytes }
}
