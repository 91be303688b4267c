/**
 * What composefs says to overlayfs, in xattrs: where a file's bytes are, what a container made of overlayfs itself, and what
 * only looks like it. The image format document calls it the rewriting of the tree; here nothing is rewritten, the
 * xattrs of the image are worked out from a node, and for reading the other way round.
 */
import type { ByteString } from '../bytes.js'
import { NO_XATTRS } from '../tree/model.js'
import type { IdList } from './id-list.js'
import { type ComposefsNode, isBacked } from './node.js'
import type { XattrKey } from './xattr-key.js'
import type { XattrPool } from './xattr-pool.js'

export type Version = 0 | 1
export type Mark = readonly [name: ByteString, value: ByteString]

const OVERLAY = 'trusted.overlay.'
const ESCAPED = 'trusted.overlay.overlay.'

export const METACOPY = name('trusted.overlay.metacopy')
export const REDIRECT = name('trusted.overlay.redirect')
/** On the root, so that nothing of a layer below shows through. */
export const ROOT_MARK: Mark = [name('trusted.overlay.opaque'), name('y')]

/** On the regular files that stand for whiteouts. */
export const WHITEOUT_MARKS: readonly Mark[] = [
  [name('trusted.overlay.overlay.whiteout'), name('')],
  [name('user.overlay.whiteout'), name('')],
]

/** On directories that hold whiteouts; the first two in both versions. */
const HOLDER_MARKS: readonly Mark[] = [
  [name('trusted.overlay.overlay.whiteouts'), name('')],
  [name('user.overlay.whiteouts'), name('')],
  [name('trusted.overlay.overlay.opaque'), name('x')],
  [name('user.overlay.opaque'), name('x')],
]
const HOLDER_MARKS_0 = HOLDER_MARKS.slice(0, 2)

export function holderMarks(version: Version): readonly Mark[] {
  return version === 0 ? HOLDER_MARKS_0 : HOLDER_MARKS
}

const SELINUX = name('security.selinux')

/** A real whiteout, which stands over the names of object directories that the root does not use itself. */
export function objectHider(root: ComposefsNode): ComposefsNode {
  const label = root.xattrs.get(SELINUX)
  // In the order of other nodes, for engines take objects with another order to be of another kind.
  return {
    kind: 'char',
    mode: 0o644,
    nlink: 1,
    uid: root.uid,
    gid: root.gid,
    rdev: 0,
    size: 0,
    mtimeSeconds: root.mtimeSeconds,
    mtimeNanoseconds: root.mtimeNanoseconds,
    xattrs: label === undefined ? NO_XATTRS : new Map([[SELINUX, label]]),
    payload: null,
    content: null,
    digest: null,
    children: null,
  }
}

/** Puts the xattrs that nodes have in the image into a pool. */
export class OverlayXattrs {
  readonly #pool: XattrPool
  readonly #metacopy: XattrKey
  readonly #redirect: XattrKey

  constructor(pool: XattrPool) {
    this.#pool = pool
    this.#metacopy = pool.key(METACOPY, 'metacopy')
    this.#redirect = pool.key(REDIRECT, 'redirect')
  }

  /**
   * Puts the ids of a node's xattrs into a list, in order of name.
   *
   * @param marks what its place in the tree adds; they replace what the node has by the same name
   */
  use(node: ComposefsNode, marks: readonly Mark[], into: IdList): void {
    const pool = this.#pool
    const start = into.length
    if (node.xattrs.size > 0) {
      for (const [key, value] of node.xattrs) {
        const escaped = escapeName(key)
        if (!hasMark(marks, escaped)) into.push(pool.use(pool.key(escaped), value))
      }
    }
    for (const [key, value] of marks) into.push(pool.use(pool.key(key), value))
    if (isBacked(node)) {
      into.push(pool.use(this.#metacopy, (node.digest ?? '') as ByteString))
      if (node.payload !== null && node.payload !== '') into.push(pool.use(this.#redirect, node.payload))
      if (node.xattrs.size === 0 && marks.length === 0) return // two, and in order
    }
    into.sortFrom(start, (a, b) => pool.compareNames(a, b))
  }
}

/** Each level of overlayfs takes one level of escapes away, so that the innermost sees what was written. */
function escapeName(key: ByteString): ByteString {
  return key.startsWith(OVERLAY) ? name(ESCAPED + key.slice(OVERLAY.length)) : key
}

/** The name that escapeName made into this one; undefined for names that speak to overlayfs. */
export function unescapeName(key: ByteString): ByteString | undefined {
  if (!key.startsWith(OVERLAY)) return key
  return key.startsWith(ESCAPED) ? name(OVERLAY + key.slice(ESCAPED.length)) : undefined
}

function hasMark(marks: readonly Mark[], key: ByteString): boolean {
  for (const mark of marks) if (mark[0] === key) return true
  return false
}

function name(text: string): ByteString {
  return text as ByteString
}
