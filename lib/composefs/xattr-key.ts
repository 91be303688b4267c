/**
 * The names of xattrs as EROFS writes them: a number for a common prefix, and the rest. What they are the names of is in
 * xattr-pool.ts.
 */
import type { ByteString } from '../bytes.js'
import type { ValueIds } from './value-ids.js'
import { xxh32 } from './xxh32.js'

/** How values of a name are kept: `bytes` as they are, `metacopy` as the digest in hex, `redirect` without the slash before. */
export type ValueForm = 'bytes' | 'metacopy' | 'redirect'

const FILTER_SEED = 0x25bbe08f
const SLASH = '/'

/** The names that EROFS writes short, in the order in which they are tried; what begins with one belongs to it. */
const PREFIXES: readonly (readonly [prefix: string, index: number])[] = [
  ['user.', 1],
  ['system.posix_acl_access', 2],
  ['system.posix_acl_default', 3],
  ['trusted.', 4],
  ['security.', 6],
]

/** The prefix for an index of an entry; undefined for one that the writer never writes. */
export function xattrPrefix(index: number): string | undefined {
  return index === 0 ? '' : PREFIXES.find(([, each]) => each === index)?.[0]
}

export class XattrKey {
  readonly name: ByteString
  readonly form: ValueForm
  /** What entries of the name begin with, the length of the value left zero: header, suffix, the slash of a redirect. */
  readonly head: ByteString
  /** Of the 32 bits of an inode's name filter. */
  readonly filterBit: number
  /** Which of the keys of a pool it is. */
  readonly number: number
  /** How many values the pool has of it, and the id of the last. */
  count = 0
  last = -1
  /** Ids of all its values, once they are more than a few: an image may have very many names. */
  ids: ValueIds | null = null

  constructor(name: ByteString, form: ValueForm, number: number) {
    const [prefix, index] = PREFIXES.find(([each]) => name.startsWith(each)) ?? ['', 0]
    const suffix = name.slice(prefix.length) as ByteString
    const slash = form === 'redirect' ? SLASH : ''
    this.name = name
    this.form = form
    this.head = `${String.fromCharCode(suffix.length, index, 0, 0)}${suffix}${slash}` as ByteString
    this.filterBit = xxh32(suffix, FILTER_SEED + index) & 31
    this.number = number
  }
}
