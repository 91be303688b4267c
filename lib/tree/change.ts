/**
 * What a layer does to the tree below it, after the policy has cleaned it.
 */
import type { ByteString } from '../bytes.js'
import type { Inode } from './model.js'

/** A clean path below the root: components that are neither empty nor `.` nor `..`. Empty for the root itself. */
export type CleanPath = readonly ByteString[]

/** One change that a layer makes, in the layer's order. */
export type LayerChange =
  | { readonly kind: 'whiteout'; readonly parent: CleanPath; readonly name: ByteString }
  | { readonly kind: 'opaque'; readonly path: CleanPath }
  | { readonly kind: 'inode'; readonly path: CleanPath; readonly inode: Inode }
  | { readonly kind: 'hardlink'; readonly path: CleanPath; readonly target: CleanPath }
