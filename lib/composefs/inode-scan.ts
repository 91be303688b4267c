/**
 * The first look at an image that is read: from the root through all directories, which inodes there are and where.
 *
 * Every byte is looked at for one inode or one directory only: an inode must stand where the writer puts it behind the one
 * before, and data blocks are given out in order. So no image makes the reader work more than its length, there are no
 * circles, and no two directories share their entries. What is not checked here is found by writing the image again.
 */
import type { ByteString } from '../bytes.js'
import { MAX_BACKED_BYTES, MAX_CONTENT_BYTES, MAX_NAME_BYTES, MAX_PAYLOAD_BYTES } from './check-node.js'
import { ImageFault } from './faults.js'
import {
  alignUp,
  BLOCK_BYTES,
  COMPACT_INODE_BYTES,
  type ComposefsHeader,
  DIRENT_BYTES,
  EXTENDED_INODE_BYTES,
  INODES_START,
  LAYOUT_CHUNKS,
  LAYOUT_INLINE,
  LAYOUT_PLAIN,
  SLOT_BYTES,
  viewOf,
  XATTR_HEADER_BYTES,
} from './format.js'
import { type Placed, place } from './layout.js'
import { type ComposefsKind, kindOfStMode } from './node.js'

/** An inode as it stands, apart from xattrs and what a directory holds. */
export interface ScannedInode {
  readonly kind: ComposefsKind
  readonly at: number
  readonly isExtended: boolean
  readonly isBacked: boolean
  readonly size: number
  /** Where its xattrs begin; they end where its tail begins. */
  readonly xattrs: number
  readonly tail: number
  readonly tailBytes: number
  readonly blocks: number
  /** Which of the data blocks is its first. */
  readonly firstBlock: number
  /** The inode of the directory that it stands in under its own name. */
  readonly parent: number
}

/** Entries of a directory, without `.` and `..` and what hides object directories. */
export interface ScannedDirectory {
  readonly names: ByteString[]
  /** Number of the inode; -1 - number for a link to it. */
  readonly inodes: number[]
}

export interface Scan {
  readonly inodes: readonly ScannedInode[]
  /** By number of the inode. */
  readonly directories: readonly (ScannedDirectory | null)[]
  /** Inodes that hide object directories. */
  readonly hiders: ReadonlySet<number>
  readonly inodesEnd: number
  readonly dataStart: number
}

const INODE_NUMBER_AT = 20
const NOT_A_NAME = /[/\0]/

/** @throws {ImageFault} where the image is not one that the writer writes */
export function scanInodes(bytes: Buffer, header: ComposefsHeader): Scan {
  return new Scanner(bytes, header).run()
}

class Scanner {
  readonly #bytes: Buffer
  readonly #view: DataView
  readonly #header: ComposefsHeader
  readonly #inodes: ScannedInode[] = []
  readonly #directories: (ScannedDirectory | null)[] = []
  readonly #hiders = new Set<number>()
  /** Where inodes are that links name before they are met under their own names. */
  readonly #awaited = new Map<number, number>()
  readonly #placed: Placed = { position: 0, blocks: 0, tail: 0 }
  /** Where the last inode ends. */
  #end = INODES_START
  /** Data blocks given out. */
  #blocks = 0
  /** Block of the image that is the first data block, once an inode has told. */
  #dataBlock: number | undefined

  constructor(bytes: Buffer, header: ComposefsHeader) {
    this.#bytes = bytes
    this.#view = viewOf(bytes)
    this.#header = header
  }

  run(): Scan {
    const length = this.#bytes.length
    if (this.#header.blocks * BLOCK_BYTES !== length) {
      throw new ImageFault(
        0,
        `it has ${length} bytes, and its header tells of ${this.#header.blocks} blocks of ${BLOCK_BYTES}`,
      )
    }
    this.#add(INODES_START, 0)
    if (this.#inodes[0]!.kind !== 'directory') throw new ImageFault(INODES_START, 'its root is no directory')
    for (let i = 0; i < this.#inodes.length; i++) {
      this.#directories.push(this.#inodes[i]!.kind === 'directory' ? this.#readDirectory(i) : null)
    }
    for (const [inode, at] of this.#awaited) this.#checkLink(inode, at)
    if (this.#inodes.length !== this.#header.inodes) {
      throw new ImageFault(
        0,
        `its header tells of ${this.#header.inodes} inodes, and it has ${this.#inodes.length}`,
      )
    }
    const inodesEnd = alignUp(this.#end, SLOT_BYTES)
    const dataStart = length - this.#blocks * BLOCK_BYTES
    if (dataStart < inodesEnd || (this.#dataBlock ?? dataStart / BLOCK_BYTES) * BLOCK_BYTES !== dataStart) {
      throw new ImageFault(0, 'its data blocks are not what follows its inodes')
    }
    const inodes = this.#inodes
    return { inodes, directories: this.#directories, hiders: this.#hiders, inodesEnd, dataStart }
  }

  /** Takes the next inode, which must stand at a place. */
  #add(at: number, parent: number): void {
    const view = this.#view
    const format = view.getUint16(at, true)
    const layout = format >> 1
    const isExtended = (format & 1) === 1
    const headBytes = isExtended ? EXTENDED_INODE_BYTES : COMPACT_INODE_BYTES
    const kind = kindOfStMode(view.getUint16(at + 4, true))
    if (kind === undefined) throw new ImageFault(at, 'an inode is of no type of file')
    if (at + headBytes > this.#bytes.length) throw new ImageFault(at, 'an inode does not end in the image')
    const size = isExtended ? uint64(view, at + 8) : view.getUint32(at + 8, true)
    const isBacked = layout === LAYOUT_CHUNKS
    checkSize(at, kind, layout, size)
    const xattrCount = view.getUint16(at + 2, true)
    const xattrBytes = xattrCount === 0 ? 0 : XATTR_HEADER_BYTES + 4 * (xattrCount - 1)
    const head = headBytes + xattrBytes
    place(this.#end, kind, head, size, isBacked, this.#placed)
    const { position, tail: tailBytes, blocks } = this.#placed
    if (position !== at) throw new ImageFault(at, `an inode does not stand where it should, at ${position}`)
    const tail = at + head
    this.#end = tail + tailBytes
    if (this.#end > this.#bytes.length) throw new ImageFault(at, 'an inode does not end in the image')
    const firstBlock = this.#blocks
    if (blocks > 0) this.#takeBlocks(at, blocks, isBacked)
    const xattrs = at + headBytes
    this.#inodes.push({
      kind,
      at,
      isExtended,
      isBacked,
      size,
      xattrs,
      tail,
      tailBytes,
      blocks,
      firstBlock,
      parent,
    })
  }

  #takeBlocks(at: number, blocks: number, isBacked: boolean): void {
    const address = this.#view.getUint32(at + 16, true)
    // That of a chunk table is in part written over, and nothing is read from there.
    if (!isBacked) {
      this.#dataBlock ??= address - this.#blocks
      if (this.#dataBlock + this.#blocks !== address)
        throw new ImageFault(at, 'an inode has not the next data blocks')
    }
    this.#blocks += blocks
    if ((this.#dataBlock ?? 0) < 0 || (this.#dataBlock ?? 0) + this.#blocks > this.#header.blocks) {
      throw new ImageFault(at, 'an inode has data blocks that are not in the image')
    }
  }

  #readDirectory(i: number): ScannedDirectory {
    const { blocks, firstBlock, tail, tailBytes } = this.#inodes[i]!
    const directory: ScannedDirectory = { names: [], inodes: [] }
    for (let block = 0; block < blocks; block++) {
      this.#readEntries(i, (this.#dataBlock! + firstBlock + block) * BLOCK_BYTES, BLOCK_BYTES, directory)
    }
    if (tailBytes > 0) this.#readEntries(i, tail, tailBytes, directory)
    return directory
  }

  /** Reads one block of entries, or a tail, which is not filled up with zeros. */
  #readEntries(i: number, at: number, length: number, directory: ScannedDirectory): void {
    const view = this.#view
    const names = length < DIRENT_BYTES ? 0 : view.getUint16(at + 8, true)
    if (names === 0 || names % DIRENT_BYTES !== 0 || names > length) {
      throw new ImageFault(at, 'a directory does not begin with entries')
    }
    for (let record = 0; record < names; record += DIRENT_BYTES) {
      const start = view.getUint16(at + record + 8, true)
      const isLast = record + DIRENT_BYTES === names
      const end = isLast
        ? this.#endOfNames(at + start, at + length) - at
        : view.getUint16(at + record + 20, true)
      if (start < names || end <= start || end > length || end - start > MAX_NAME_BYTES) {
        throw new ImageFault(at + record, 'an entry of a directory has no name of 1 to 255 bytes')
      }
      const name = this.#bytes.toString('latin1', at + start, at + end) as ByteString
      if (name === '.' || name === '..') continue
      if (NOT_A_NAME.test(name)) throw new ImageFault(at + start, 'a name holds "/" or NUL')
      const last = directory.names.at(-1)
      if (last !== undefined && last >= name)
        throw new ImageFault(at + start, 'the entries of a directory are not in order')
      this.#readEntry(i, at + record, name, directory)
    }
  }

  #endOfNames(start: number, limit: number): number {
    const nul = this.#bytes.subarray(0, limit).indexOf(0, start)
    return nul === -1 ? limit : nul
  }

  #readEntry(i: number, record: number, name: ByteString, directory: ScannedDirectory): void {
    const view = this.#view
    const at = uint64(view, record) * SLOT_BYTES
    if (at < INODES_START || at + COMPACT_INODE_BYTES > this.#bytes.length) {
      throw new ImageFault(record, 'an entry of a directory leads out of the image')
    }
    const inode = view.getUint32(at + INODE_NUMBER_AT, true)
    // Breadth first, a name is an inode's own when the inode is the next. Others are links, also to what comes later.
    const isOwn = inode === this.#inodes.length
    if (isOwn) {
      this.#add(at, i)
      if (this.#inodes[inode]!.kind === 'char' && view.getUint32(at + 16, true) === 0) {
        if (i !== 0) throw new ImageFault(record, 'a whiteout stands in the image as itself')
        this.#hiders.add(inode)
        return
      }
    } else if (inode < this.#inodes.length) {
      this.#checkLink(inode, at)
    } else if ((this.#awaited.get(inode) ?? at) === at) {
      this.#awaited.set(inode, at)
    } else {
      throw new ImageFault(record, 'two inodes have one number')
    }
    directory.names.push(name)
    directory.inodes.push(isOwn ? inode : -1 - inode)
  }

  #checkLink(inode: number, at: number): void {
    const target = this.#inodes[inode]
    if (target?.at !== at) throw new ImageFault(at, 'a link leads to what is no inode')
    if (target.kind === 'directory') throw new ImageFault(at, 'a directory has two names')
    if (this.#hiders.has(inode)) throw new ImageFault(at, 'a whiteout stands in the image as itself')
  }
}

/** An integer of 64 bits; what is too large to be exact is too large in any case. */
function uint64(view: DataView, at: number): number {
  const low = view.getUint32(at, true)
  const high = view.getUint32(at + 4, true)
  return high === 0 ? low : low + high * 2 ** 32 // small integers stay small ones, which take less memory
}

function checkSize(at: number, kind: ComposefsKind, layout: number, size: number): void {
  if (layout === LAYOUT_CHUNKS) {
    if (kind === 'file' && size > 0 && size <= MAX_BACKED_BYTES) return
    throw new ImageFault(at, `a ${kind} of ${size} bytes has a chunk table`)
  }
  const most = MOST_BYTES[kind]
  if (layout !== LAYOUT_PLAIN && layout !== LAYOUT_INLINE)
    throw new ImageFault(at, 'an inode has an unknown layout')
  if (size > most || (kind === 'symlink' && size === 0))
    throw new ImageFault(at, `a ${kind} has a size of ${size}`)
}

const MOST_BYTES: Readonly<Record<ComposefsKind, number>> = {
  // More is not in the image, which is found when its blocks are taken.
  directory: 2 ** 44,
  file: MAX_CONTENT_BYTES,
  symlink: MAX_PAYLOAD_BYTES,
  char: 0,
  block: 0,
  fifo: 0,
  socket: 0,
}
