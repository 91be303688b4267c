/**
 * How large a tree is: what its files hold, and what room they take where they are written out.
 */
import type { Directory, Inode, RegularFile, Tree } from './model.js'

const BLOCK_BYTES = 4096
const NAME_BYTES = 8 // of an entry of a directory, beside its name
const INLINE_TARGET_BYTES = 59 // a longer target of a symlink takes a block

/**
 * The size of an image, as disk limits count it: the bytes of its regular files, those of a file with several names once.
 * Sparse files count with their holes. Directories, links and attributes do not count.
 */
export function treeBytes(tree: Tree): number {
  let bytes = 0
  for (const file of inodes(tree)) if (file.kind === 'file') bytes += file.size
  return bytes
}

/** How many names a tree has, its top among them: as many entries are made where it is written out. */
export function treeEntries(tree: Tree): number {
  let entries = 1
  const todo: Directory[] = [tree.root]
  for (let next = todo.pop(); next !== undefined; next = todo.pop()) {
    entries += next.children.size
    for (const inode of next.children.values()) if (inode.kind === 'directory') todo.push(inode)
  }
  return entries
}

/** An upper bound for the blocks of 4096 bytes that a tree takes on a filesystem, in bytes; inode tables not counted. */
export function treeRoomBytes(tree: Tree): number {
  let blocks = 0
  for (const inode of inodes(tree)) {
    if (inode.xattrs.size > 0) blocks++
    if (inode.kind === 'file') blocks += fileBlocks(inode)
    else if (inode.kind === 'symlink' && inode.target.length > INLINE_TARGET_BYTES) blocks++
    else if (inode.kind === 'directory') blocks += directoryBlocks(inode)
  }
  return blocks * BLOCK_BYTES
}

/** Each inode once, the root among them. */
function* inodes(tree: Tree): Generator<Inode> {
  const seen = new Set<Inode>()
  const todo: Directory[] = [tree.root]
  yield tree.root
  for (let next = todo.pop(); next !== undefined; next = todo.pop()) {
    for (const inode of next.children.values()) {
      if (inode.kind === 'directory') todo.push(inode)
      else if (seen.has(inode)) continue
      else seen.add(inode)
      yield inode
    }
  }
}

function fileBlocks({ size }: RegularFile): number {
  const data = Math.ceil(size / BLOCK_BYTES)
  // Large files need blocks that say where theirs are, however badly they lie.
  return data + (data > 4 ? 1 + Math.ceil(data / 256) : 0)
}

/** Blocks of a directory are split when they are full, and are then half empty. */
function directoryBlocks({ children }: Directory): number {
  let bytes = 0
  for (const name of children.keys()) bytes += NAME_BYTES + name.length + 4
  return 1 + Math.ceil((bytes * 2) / BLOCK_BYTES) + (bytes > BLOCK_BYTES ? 1 : 0)
}
