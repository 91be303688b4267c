/**
 * From the root of an image through all its directories: the nodes, and the table of its inodes as writing the nodes again
 * would make it. What is not checked here is found by writing that table.
 */
import { type ByteString, EMPTY } from '../bytes.js'
import { checkNode, DigestLength, MAX_NAME_BYTES } from './check-node.js'
import type { PendingEntry } from './dirents.js'
import { ImageFault } from './faults.js'
import {
  BLOCK_BYTES,
  COMPACT_INODE_BYTES,
  type ComposefsHeader,
  DIRENT_BYTES,
  INODES_START,
  SLOT_BYTES,
  uint64,
  viewOf,
} from './format.js'
import { type DataPlace, InodeReader } from './inode-read.js'
import { type InodeTable, TableBuilder } from './inode-table.js'
import { DOT, DOT_DOT, OBJECT_DIRECTORIES } from './names.js'
import { type ComposefsEntry, type ComposefsLink, type ComposefsNode, isBacked, isWhiteout } from './node.js'
import { NodeBuilder } from './node-build.js'
import { objectHider, type Version } from './overlay.js'

export interface WalkedImage {
  readonly root: ComposefsNode
  readonly table: InodeTable
}

/**
 * @throws {ImageFault} where the image is not one that the writer writes
 * @throws {NodeFault} for a node that the writer does not take
 */
export function walkImage(bytes: Buffer, header: ComposefsHeader): WalkedImage {
  return new Walk(bytes, header).run()
}

type Children = Map<ByteString, ComposefsEntry>
type Link = { -readonly [K in keyof ComposefsLink]: ComposefsLink[K] }

/** A directory whose entries are not read yet. */
interface PendingDirectory extends DataPlace {
  readonly inode: number
  readonly node: ComposefsNode
  readonly parent: number
  /** Whether it has the marks of one that holds whiteouts. */
  readonly isMarked: boolean
}

/** A link to an inode that is not met yet. */
interface AwaitingLink {
  readonly link: Link
  readonly inode: number
  readonly entry: PendingEntry
  readonly record: number
}

const INODE_NUMBER_AT = 20
const SLASH = 0x2f
const HIDDEN = new Set(OBJECT_DIRECTORIES)

class Walk {
  readonly #bytes: Buffer
  readonly #view: DataView
  readonly #inode: InodeReader
  readonly #builder: NodeBuilder
  readonly #table: TableBuilder
  readonly #version: Version
  /** Where it stands. */
  readonly #root: number
  readonly #digests = new DigestLength()
  /** In the order of their numbers. */
  readonly #pending: PendingDirectory[] = []
  /** By number of the inode. */
  readonly #nodes: ComposefsNode[] = []
  readonly #awaiting: AwaitingLink[] = []
  #hider: ComposefsNode | undefined
  /** Of the directory that is being read. */
  #dots = 0
  #hidden = 0
  #nlink = 0
  #holdsWhiteouts = false
  #last = EMPTY

  constructor(bytes: Buffer, header: ComposefsHeader) {
    this.#bytes = bytes
    this.#view = viewOf(bytes)
    this.#version = header.version
    this.#root = header.rootNid * SLOT_BYTES
    this.#inode = new InodeReader(this.#view)
    this.#builder = new NodeBuilder(bytes, this.#view, header, this.#inode)
    // The header may say anything.
    const expected = Math.max(1, Math.min(header.inodes, bytes.length / COMPACT_INODE_BYTES))
    this.#table = new TableBuilder(header.version, expected)
  }

  run(): WalkedImage {
    const root = this.#readRoot()
    for (let next = 0; next < this.#pending.length; next++) this.#readDirectory(this.#pending[next]!)
    for (const { link, inode, entry, record } of this.#awaiting) {
      link.target = this.#target(inode, record)
      this.#table.settleEntry(entry, inode)
    }
    return { root, table: this.#table.finish(this.#version) }
  }

  #readRoot(): ComposefsNode {
    if (this.#root < INODES_START || this.#root + COMPACT_INODE_BYTES > this.#bytes.length)
      throw new ImageFault(0, 'its root is not in the image')
    this.#inode.read(this.#root)
    if (this.#inode.kind !== 'directory') throw new ImageFault(this.#root, 'its root is no directory')
    const root = this.#builder.build(true, false)
    this.#hider = objectHider(root)
    this.#nodes.push(root)
    this.#addDirectory(root, 0)
    return root
  }

  #readDirectory(directory: PendingDirectory): void {
    const { inode, node, start, blocks, tail, tailBytes } = directory
    this.#dots = 0
    this.#hidden = 0
    this.#nlink = 2
    this.#holdsWhiteouts = false
    this.#last = EMPTY
    for (let block = 0; block < blocks; block++) {
      this.#readEntries(directory, start + block * BLOCK_BYTES, BLOCK_BYTES)
    }
    if (tailBytes > 0) this.#readEntries(directory, tail, tailBytes)
    if (this.#dots !== 2) throw new ImageFault(tail, 'a directory lacks "." or ".."')
    if (inode === 0 && this.#hidden !== HIDDEN.size)
      throw new ImageFault(tail, 'a directory of objects shows through its root')
    if (this.#holdsWhiteouts) this.#builder.unmark(node)
    checkNode(node)
    this.#table.closeDirectory(inode, node, this.#nlink, this.#holdsWhiteouts)
  }

  /** Reads one block of entries, or a tail, which is not filled up with zeros. */
  #readEntries(directory: PendingDirectory, at: number, length: number): void {
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
      this.#readEntry(directory, at + record, this.#nameAt(at + start, at + end))
    }
  }

  #endOfNames(start: number, limit: number): number {
    let end = start
    while (end < limit && this.#bytes[end] !== 0) end++
    return end
  }

  #nameAt(start: number, end: number): ByteString {
    for (let at = start; at < end; at++) {
      const byte = this.#bytes[at]
      if (byte === SLASH || byte === 0) throw new ImageFault(start, 'a name holds "/" or NUL')
    }
    const name = this.#bytes.toString('latin1', start, end) as ByteString
    if (name <= this.#last) throw new ImageFault(start, 'the entries of a directory are not in order')
    this.#last = name
    return name
  }

  #readEntry(directory: PendingDirectory, record: number, name: ByteString): void {
    if (name === DOT || name === DOT_DOT) {
      this.#dots++
      this.#table.addEntry(name, name === DOT ? directory.inode : directory.parent)
      return
    }
    if (directory.inode === 0 && HIDDEN.has(name)) this.#hidden++
    const at = uint64(this.#view, record) * SLOT_BYTES
    if (at < INODES_START || at + COMPACT_INODE_BYTES > this.#bytes.length) {
      throw new ImageFault(record, 'an entry of a directory leads out of the image')
    }
    const inode = this.#view.getUint32(at + INODE_NUMBER_AT, true)
    // Breadth first, a name is an inode's own when the inode is the next. Others are links, also to what comes later.
    if (inode === this.#nodes.length) this.#addInode(directory, at, name)
    else this.#addLink(directory, inode, record, name)
  }

  #addInode(directory: PendingDirectory, at: number, name: ByteString): void {
    this.#inode.read(at)
    if (this.#inode.kind === 'char' && this.#view.getUint32(at + 16, true) === 0) {
      // It is made from the root by the writer, and stands for nothing here.
      if (directory.inode !== 0 || !HIDDEN.has(name))
        throw new ImageFault(at, 'a whiteout stands in the image as itself')
      this.#nodes.push(this.#hider!)
      this.#table.addEntry(name, this.#table.addLeaf(this.#hider!))
      return
    }
    const node = this.#builder.build(false, directory.isMarked)
    this.#nodes.push(node)
    ;(directory.node.children as Children).set(name, node)
    if (node.kind === 'directory') this.#nlink++
    this.#table.addEntry(
      name,
      node.kind === 'directory' ? this.#addDirectory(node, directory.inode) : this.#addLeaf(node),
    )
  }

  #addDirectory(node: ComposefsNode, parent: number): number {
    const { start, blocks, tail, tailBytes } = this.#inode
    const inode = this.#table.addDirectory(node)
    const isMarked = this.#builder.isMarked(node)
    this.#pending.push({ inode, node, parent, isMarked, start, blocks, tail, tailBytes })
    return inode
  }

  #addLeaf(node: ComposefsNode): number {
    checkNode(node)
    if (isWhiteout(node)) {
      this.#holdsWhiteouts = true
      return this.#table.addWhiteout(node)
    }
    if (node.digest !== null && isBacked(node)) this.#digests.check(node.digest)
    return this.#table.addLeaf(node)
  }

  /** A name of an inode under another one; where the entry says that the inode stands is found to be right in the end. */
  #addLink({ node }: PendingDirectory, inode: number, record: number, name: ByteString): void {
    const isKnown = inode < this.#nodes.length
    // The root stands in until the target is met, and is itself no possible target.
    const link: Link = { kind: 'link', target: isKnown ? this.#target(inode, record) : this.#nodes[0]! }
    ;(node.children as Children).set(name, link)
    if (isKnown) this.#table.addEntry(name, inode)
    else this.#awaiting.push({ link, inode, entry: this.#table.addPendingEntry(name), record })
  }

  #target(inode: number, record: number): ComposefsNode {
    const node = this.#nodes[inode]
    if (node === undefined) throw new ImageFault(record, 'a link leads to an inode that is not there')
    if (node.kind === 'directory') throw new ImageFault(record, 'a directory has two names')
    if (node === this.#hider) throw new ImageFault(record, 'a whiteout stands in the image as itself')
    return node
  }
}
