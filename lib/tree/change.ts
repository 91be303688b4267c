/**
 * What a layer does to the tree below it, after the policy has cleaned it.
 */
import type { ByteString } from '../bytes.js'
import type { Inode, Xattrs } from './model.js'

/** A clean path below the root: components that are neither empty nor `.` nor `..`. Empty for the root itself. */
export type CleanPath = readonly ByteString[]

/** One change that a layer makes, in the layer's order. */
export type LayerChange =
  | { readonly kind: 'whiteout'; readonly parent: CleanPath; readonly name: ByteString }
  | { readonly kind: 'opaque'; readonly path: CleanPath }
  | { readonly kind: 'inode'; readonly path: CleanPath; readonly inode: Inode }
  | { readonly kind: 'hardlink'; readonly path: CleanPath; readonly target: CleanPath }

const COMPONENT_BYTES = 32 // what keeps a string in a list
const XATTR_BYTES = 64 // what keeps two in a map

/** About the memory that a change takes: all of a layer are held at once. */
export function metadataBytes(change: LayerChange): number {
  switch (change.kind) {
    case 'whiteout':
      return pathBytes(change.parent) + change.name.length
    case 'opaque':
      return pathBytes(change.path)
    case 'hardlink':
      return pathBytes(change.path) + pathBytes(change.target)
    case 'inode': {
      const { path, inode } = change
      const target = inode.kind === 'symlink' ? inode.target.length : 0
      return pathBytes(path) + target + (inode.xattrs.size === 0 ? 0 : xattrBytes(inode.xattrs))
    }
    default:
      return change satisfies never
  }
}

function pathBytes(path: CleanPath): number {
  let bytes = COMPONENT_BYTES * path.length
  for (const component of path) bytes += component.length
  return bytes
}

function xattrBytes(xattrs: Xattrs): number {
  let bytes = XATTR_BYTES * xattrs.size
  for (const [name, value] of xattrs) bytes += name.length + value.length
  return bytes
}
