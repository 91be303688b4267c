/**
 * The xattrs of all inodes of an image, each pair of name and value once: EROFS shares those that more than one inode has.
 *
 * Values that follow from a file's object are kept as what they follow from, which the nodes have anyway.
 */
import { type ByteString, compareBytes, printable } from '../bytes.js'
import { BugError } from '../errors.js'
import { XATTR_ENTRY_BYTES } from './format.js'
import type { Sink } from './sink.js'
import { xxh32 } from './xxh32.js'

/** Number of a pair in the pool. */
export type XattrId = number

const FILTER_SEED = 0x25bbe08f

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

/** How values of a name are kept: `bytes` as they are, `metacopy` as the digest in hex, `redirect` without the slash before. */
export type ValueForm = 'bytes' | 'metacopy' | 'redirect'

export interface XattrKey {
  readonly name: ByteString
  readonly index: number
  readonly suffix: ByteString
  /** Of the 32 bits of an inode's name filter. */
  readonly filterBit: number
  readonly form: ValueForm
  readonly ids: Map<ByteString, XattrId>
}

export class XattrPool {
  readonly #keys = new Map<ByteString, XattrKey>()
  readonly #keyOf: XattrKey[] = []
  readonly #valueOf: ByteString[] = []
  readonly #uses: number[] = []
  /** Place in the shared table; -1 for what is not in it. */
  #offsets = new Float64Array(0)
  #shared: XattrId[] = []

  /** What names the xattrs of that name in the pool. A name always has the same form. */
  key(name: ByteString, form: ValueForm = 'bytes'): XattrKey {
    let key = this.#keys.get(name)
    if (key === undefined) {
      key = makeKey(name, form)
      this.#keys.set(name, key)
    }
    return key
  }

  /** Counts a use of a pair. */
  use(key: XattrKey, value: ByteString): XattrId {
    const known = key.ids.get(value)
    if (known !== undefined) {
      this.#uses[known]!++
      return known
    }
    const id = this.#keyOf.length
    key.ids.set(value, id)
    this.#keyOf.push(key)
    this.#valueOf.push(value)
    this.#uses.push(1)
    return id
  }

  has(name: ByteString): boolean {
    return this.#keys.has(name)
  }

  /** Orders ids of one inode by name. */
  compareNames(a: XattrId, b: XattrId): number {
    return compareBytes(this.#keyOf[a]!.name, this.#keyOf[b]!.name)
  }

  /** Ends the counting: gives what is used twice its place in the shared table, and says how long that is. */
  share(): number {
    for (const key of this.#keys.values()) key.ids.clear()
    this.#shared = []
    for (let id = 0; id < this.#uses.length; id++) if (this.#uses[id]! > 1) this.#shared.push(id)
    this.#shared.sort((a, b) => this.#compareShared(a, b))
    this.#offsets = new Float64Array(this.#uses.length).fill(-1)
    let end = 0
    for (const id of this.#shared) {
      this.#offsets[id] = end
      end += this.entryBytes(id)
    }
    return end
  }

  /** In the order of the shared table. */
  get shared(): readonly XattrId[] {
    return this.#shared
  }

  /** Offset in the shared table; -1 for a pair that is not in it. */
  offset(id: XattrId): number {
    return this.#offsets[id]!
  }

  filterBit(id: XattrId): number {
    return this.#keyOf[id]!.filterBit
  }

  /** What an entry takes, filled up to four bytes. */
  entryBytes(id: XattrId): number {
    const length = XATTR_ENTRY_BYTES + this.#keyOf[id]!.suffix.length + this.#valueBytes(id)
    return (length + 3) & ~3
  }

  /** Writes an entry into zeros and gives its end. */
  writeEntry(id: XattrId, into: Sink, at: number): number {
    const { index, suffix, form } = this.#keyOf[id]!
    const value = this.#valueOf[id]!
    into.buffer[at] = suffix.length
    into.buffer[at + 1] = index
    into.view.setUint16(at + 2, this.#valueBytes(id), true)
    let end = into.write(suffix, at + XATTR_ENTRY_BYTES)
    if (form === 'redirect') into.buffer[end++] = SLASH
    end = form === 'metacopy' ? writeMetacopy(value, into, end) : into.write(value, end)
    return at + ((end - at + 3) & ~3)
  }

  /** Names descending; of one name the longer value first, then values descending. */
  #compareShared(a: XattrId, b: XattrId): number {
    return (
      compareBytes(this.#keyOf[b]!.name, this.#keyOf[a]!.name) ||
      this.#valueBytes(b) - this.#valueBytes(a) ||
      // Hex digits order as the bytes do that they stand for.
      compareBytes(this.#valueOf[b]!, this.#valueOf[a]!)
    )
  }

  #valueBytes(id: XattrId): number {
    const { length } = this.#valueOf[id]!
    switch (this.#keyOf[id]!.form) {
      case 'bytes':
        return length
      case 'redirect':
        return 1 + length
      case 'metacopy':
        return length === 0 ? 0 : METACOPY_HEADER_BYTES + length / 2
    }
  }
}

const SLASH = 0x2f
export const METACOPY_HEADER_BYTES = 4

/** struct ovl_metacopy (the kernel's fs/overlayfs): version, own length, flags, number of the algorithm, digest. */
function writeMetacopy(digest: ByteString, into: Sink, at: number): number {
  if (digest.length === 0) return at
  const end = at + METACOPY_HEADER_BYTES + digest.length / 2
  into.buffer[at + 1] = end - at
  into.buffer[at + 3] = digest.length === 64 ? 1 : 2
  if (at + METACOPY_HEADER_BYTES + into.buffer.write(digest, at + METACOPY_HEADER_BYTES, 'hex') === end)
    return end
  throw new BugError(`Cannot write the digest "${printable(digest)}": it is not hex`)
}

function makeKey(name: ByteString, form: ValueForm): XattrKey {
  const [prefix, index] = PREFIXES.find(([each]) => name.startsWith(each)) ?? ['', 0]
  const suffix = name.slice(prefix.length) as ByteString
  return { name, index, suffix, filterBit: xxh32(suffix, FILTER_SEED + index) & 31, form, ids: new Map() }
}
