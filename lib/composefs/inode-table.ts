/**
 * The inodes of an image in the order in which they stand there: all that is written of them, but not where they stand, which
 * is worked out in layout.ts.
 *
 * Nodes and their strings are many and far apart in memory, so each is looked at once, when it is added; what is written of it
 * is kept in columns and in an arena. Whoever adds sees to it that the inodes are those of a tree, breadth first, and the
 * entries of a directory in order of name.
 */
import type { ByteString } from '../bytes.js'
import { Arena } from './arena.js'
import { type Dirents, DirentsBuilder, type PendingEntry } from './dirents.js'
import { FILE_TYPES } from './format.js'
import { IdList } from './id-list.js'
import { InodeColumns, IS_BACKED, IS_EXTENDED, TYPE_BITS } from './inode-columns.js'
import { type ComposefsKind, type ComposefsNode, isBacked, isInline, stModeOf } from './node.js'
import { holderMarks, type Mark, OverlayXattrs, ROOT_MARK, type Version, WHITEOUT_MARKS } from './overlay.js'
import { XattrPool } from './xattr-pool.js'

export interface InodeTable {
  readonly version: Version
  readonly count: number
  readonly columns: InodeColumns
  readonly xattrIds: Uint32Array
  readonly pool: XattrPool
  readonly dirents: Dirents
  readonly arena: Arena
  /** An inode whose time is the least. */
  readonly oldest: number
}

const MAX_U16 = 0xffff
const MAX_U32 = 0xffff_ffff
const NO_MARKS: readonly Mark[] = []

export class TableBuilder {
  readonly #holderMarks: readonly Mark[]
  readonly #arena = new Arena()
  readonly #dirents = new DirentsBuilder(this.#arena)
  readonly #pool: XattrPool
  readonly #xattrs: OverlayXattrs
  readonly #columns: InodeColumns
  readonly #xattrIds: IdList
  #count = 0
  #oldest = 0

  /**
   * @param version of the image if it has whiteouts, which is what directories are marked for
   * @param expected how many inodes there may be, as far as that is known
   */
  constructor(version: Version, expected = 1024) {
    this.#holderMarks = holderMarks(version)
    this.#columns = new InodeColumns(expected)
    this.#pool = new XattrPool(this.#arena, 2 * expected)
    this.#xattrs = new OverlayXattrs(this.#pool)
    this.#xattrIds = new IdList(2 * expected)
  }

  /** How many inodes there are, which is the number of the next. */
  get count(): number {
    return this.#count
  }

  /** Takes the next inode, of what is no directory, and gives its number. */
  addLeaf(node: ComposefsNode): number {
    const i = this.#add(node)
    const { kind } = node
    const { extras } = this.#columns
    if (kind === 'symlink') {
      extras[i] = this.#arena.putText(node.payload!)
      this.#describe(i, node, kind, node.nlink, node.payload!.length, NO_MARKS)
      return i
    }
    if (kind === 'char' || kind === 'block') extras[i] = node.rdev
    if (kind === 'file' && isInline(node)) extras[i] = this.#arena.put(node.content!)
    // Files end at 2^53 bytes, where numbers are still exact.
    this.#describe(i, node, kind, node.nlink, kind === 'file' ? Number(node.size) : 0, NO_MARKS)
    // The size of a device and its like is not in the image, and makes their inodes extended all the same.
    if (node.size > MAX_U32) this.#columns.forms[i]! |= IS_EXTENDED
    return i
  }

  /** The same for a whiteout of the tree, which is an empty file in the image. */
  addWhiteout(node: ComposefsNode): number {
    const i = this.#add(node)
    this.#describe(i, node, 'file', node.nlink, 0, WHITEOUT_MARKS)
    return i
  }

  /** Takes the next inode, of a directory whose entries come later; then closeDirectory must be called. */
  addDirectory(node: ComposefsNode): number {
    const i = this.#add(node)
    this.#columns.forms[i] = FILE_TYPES.directory
    return i
  }

  /** Gives the directory that is closed next an entry. */
  addEntry(name: ByteString, inode: number): void {
    this.#dirents.add(name, inode, this.#columns.forms[inode]! & TYPE_BITS)
  }

  /** The same, for an inode that settleEntry tells. */
  addPendingEntry(name: ByteString): PendingEntry {
    return this.#dirents.addPending(name)
  }

  /** To be called when the directory of the entry is closed. */
  settleEntry(entry: PendingEntry, inode: number): void {
    this.#dirents.settle(entry, inode, this.#columns.forms[inode]! & TYPE_BITS)
  }

  /**
   * Ends the entries of a directory.
   *
   * @param nlink its link count: 2, and one for each directory in it
   * @param isHolder whether it holds whiteouts, under their own names
   */
  closeDirectory(i: number, node: ComposefsNode, nlink: number, isHolder: boolean): void {
    const marks = isHolder ? this.#holderMarks : NO_MARKS
    this.#columns.extras[i] = this.#dirents.count
    const size = this.#dirents.close()
    this.#describe(i, node, 'directory', nlink, size, i === 0 ? [ROOT_MARK, ...marks] : marks)
  }

  finish(version: Version): InodeTable {
    const columns = this.#columns
    // Compact inodes have no time but that of the oldest, which is known only now.
    for (let i = 0; i < this.#count; i++) {
      if (columns.compareTimes(i, this.#oldest) !== 0) columns.forms[i]! |= IS_EXTENDED
    }
    return {
      version,
      count: this.#count,
      columns,
      xattrIds: this.#xattrIds.numbers,
      pool: this.#pool,
      dirents: this.#dirents,
      arena: this.#arena,
      oldest: this.#oldest,
    }
  }

  #add(node: ComposefsNode): number {
    const i = this.#count++
    this.#columns.makeRoom(i)
    this.#columns.setTime(i, node.mtimeSeconds, node.mtimeNanoseconds)
    if (this.#columns.compareTimes(i, this.#oldest) < 0) this.#oldest = i
    return i
  }

  #describe(
    i: number,
    node: ComposefsNode,
    kind: ComposefsKind,
    nlink: number,
    size: number,
    marks: readonly Mark[],
  ): void {
    const columns = this.#columns
    const { uid, gid } = node
    const isWide = size > MAX_U32 || nlink > MAX_U16 || uid > MAX_U16 || gid > MAX_U16
    columns.forms[i] = FILE_TYPES[kind] | (isBacked(node) ? IS_BACKED : 0) | (isWide ? IS_EXTENDED : 0)
    columns.modes[i] = stModeOf(kind, node.mode)
    columns.nlinks[i] = nlink
    columns.uids[i] = uid
    columns.gids[i] = gid
    columns.sizes[i] = size
    columns.xattrStarts[i] = this.#xattrIds.length
    this.#xattrs.use(node, marks, this.#xattrIds)
    columns.xattrEnds[i] = this.#xattrIds.length
  }
}
