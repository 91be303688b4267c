/**
 * Nodes from the inodes of an image: what the writer added for overlayfs is taken away again (see overlay.ts).
 */
import type { ByteString } from '../bytes.js'
import { MAX_XATTR_COST, XATTR_BASE_COST, xattrCost } from './check-node.js'
import { ImageFault, shown } from './faults.js'
import { BLOCK_BYTES, type ComposefsHeader } from './format.js'
import type { InodeReader } from './inode-read.js'
import { type ComposefsEntry, type ComposefsNode, UNSEEN_SIZE } from './node.js'
import {
  holderMarks,
  type Mark,
  METACOPY,
  REDIRECT,
  ROOT_MARK,
  unescapeName,
  WHITEOUT_MARKS,
} from './overlay.js'
import { XattrReader } from './xattr-read.js'

type Xattrs = Map<ByteString, ByteString>

const NONE: Xattrs = new Map()
const MAX_U16 = 0xffff
const WHITEOUT_NAMES = asRead(WHITEOUT_MARKS)

/** Makes the nodes of the inodes that a reader comes to. */
export class NodeBuilder {
  readonly #bytes: Buffer
  readonly #view: DataView
  readonly #header: ComposefsHeader
  readonly #inode: InodeReader
  readonly #xattrs: XattrReader
  readonly #holderNames: readonly Mark[]
  /** Times as they were made first: files of one package have the same. */
  readonly #seconds = new Map<number, bigint>()
  /** Of the inode that is being read: what the writer says of its object. */
  #metacopy: ByteString | undefined
  #redirect: ByteString | undefined

  constructor(bytes: Buffer, view: DataView, header: ComposefsHeader, inode: InodeReader) {
    this.#bytes = bytes
    this.#view = view
    this.#header = header
    this.#inode = inode
    this.#xattrs = new XattrReader(bytes, header.xattrBlock * BLOCK_BYTES)
    this.#holderNames = asRead(holderMarks(header.version))
  }

  /**
   * The node of the reader's inode.
   *
   * @param isRoot whether it must have the mark of a root
   * @param mayBeWhiteout whether it stands in a directory that is marked for whiteouts
   */
  build(isRoot: boolean, mayBeWhiteout: boolean): ComposefsNode {
    const view = this.#view
    const { at, kind, size, isExtended, isBacked } = this.#inode
    const xattrs = this.#readXattrs(isRoot)
    const isWhiteout = mayBeWhiteout && kind === 'file' && size === 0 && hasAll(xattrs, WHITEOUT_NAMES)
    if (isWhiteout) for (const [name] of WHITEOUT_NAMES) xattrs.delete(name)
    const isDevice = kind === 'char' || kind === 'block'
    const isUnseen = isDevice || kind === 'fifo' || kind === 'socket'
    return {
      kind: isWhiteout ? 'char' : kind,
      mode: view.getUint16(at + 4, true) & 0o7777,
      nlink: isExtended ? view.getUint32(at + 44, true) : view.getUint16(at + 6, true),
      uid: isExtended ? view.getUint32(at + 24, true) : view.getUint16(at + 24, true),
      gid: isExtended ? view.getUint32(at + 28, true) : view.getUint16(at + 26, true),
      rdev: isDevice ? view.getUint32(at + 16, true) : 0,
      size: isUnseen && isExtended ? this.#unseenSize() : size,
      mtimeSeconds: isExtended ? this.#secondsAt(at + 32) : this.#header.mtimeSeconds,
      mtimeNanoseconds: isExtended ? view.getUint32(at + 40, true) : this.#header.mtimeNanoseconds,
      xattrs: xattrs.size === 0 ? NONE : xattrs,
      payload: kind === 'symlink' ? this.#target() : (this.#redirect ?? null),
      content: kind === 'file' && size > 0 && !isBacked ? this.#content() : null,
      digest: (this.#metacopy || null) as ComposefsNode['digest'],
      children: kind === 'directory' ? new Map<ByteString, ComposefsEntry>() : null,
    }
  }

  /** Whether a directory is marked as one that holds whiteouts. */
  isMarked({ xattrs }: ComposefsNode): boolean {
    return hasAll(xattrs, this.#holderNames)
  }

  /** Takes the marks from a directory that holds whiteouts, for the writer puts them there again. */
  unmark(node: ComposefsNode): void {
    const xattrs = node.xattrs as Xattrs
    let cost = XATTR_BASE_COST
    for (const [name, value] of xattrs) cost += xattrCost(name.length, value.length)
    // Those of both versions, as composefs-info does; the others too where the directory would have too many with them.
    for (const [name, value] of this.#holderNames) {
      if (value !== '' && cost <= MAX_XATTR_COST) continue
      xattrs.delete(name)
      cost -= xattrCost(name.length, value.length)
    }
  }

  #readXattrs(isRoot: boolean): Xattrs {
    const { at, isBacked, xattrs: start, tail } = this.#inode
    this.#metacopy = undefined
    this.#redirect = undefined
    this.#xattrs.read(start, tail)
    const { names, values, count } = this.#xattrs
    let xattrs = NONE
    let isMarkedRoot = false
    for (let i = 0; i < count; i++) {
      const name = names[i]!
      const value = values[i]!
      // Twice the same of these is found when the image is written again.
      if (isBacked && name === METACOPY) this.#metacopy = value
      else if (isBacked && name === REDIRECT) this.#redirect = value
      else if (isRoot && name === ROOT_MARK[0] && value === ROOT_MARK[1]) isMarkedRoot = true
      else {
        if (xattrs === NONE) xattrs = new Map()
        putXattr(xattrs, name, value, start)
      }
    }
    if (isRoot && !isMarkedRoot) throw new ImageFault(at, 'its root is not opaque')
    if (isBacked && this.#metacopy === undefined)
      throw new ImageFault(at, 'a file of an object has no metacopy xattr')
    return xattrs
  }

  /** Of an extended inode whose kind has no size. */
  #unseenSize(): number {
    const view = this.#view
    const { at } = this.#inode
    const isNarrow =
      view.getUint32(at + 24, true) <= MAX_U16 &&
      view.getUint32(at + 28, true) <= MAX_U16 &&
      view.getUint32(at + 44, true) <= MAX_U16
    const isOldest =
      view.getUint32(at + 40, true) === this.#header.mtimeNanoseconds &&
      view.getBigInt64(at + 32, true) === this.#header.mtimeSeconds
    return isNarrow && isOldest ? UNSEEN_SIZE : 0
  }

  #secondsAt(at: number): bigint {
    const low = this.#view.getUint32(at, true)
    if (this.#view.getUint32(at + 4, true) !== 0) return this.#view.getBigInt64(at, true)
    let seconds = this.#seconds.get(low)
    if (seconds === undefined) {
      seconds = BigInt(low)
      this.#seconds.set(low, seconds)
    }
    return seconds
  }

  #target(): ByteString {
    const { blocks, start, tail, size } = this.#inode
    const from = blocks > 0 ? start : tail
    return this.#bytes.toString('latin1', from, from + size) as ByteString
  }

  #content(): Uint8Array {
    const { blocks, start, tail, tailBytes, size } = this.#inode
    const content = Buffer.allocUnsafe(size)
    const inBlocks = blocks > 0 ? this.#bytes.copy(content, 0, start, start + size - tailBytes) : 0
    this.#bytes.copy(content, inBlocks, tail, tail + tailBytes)
    return content
  }
}

function putXattr(xattrs: Xattrs, name: ByteString, value: ByteString, at: number): void {
  const unescaped = unescapeName(name)
  if (unescaped === undefined) throw new ImageFault(at, `an xattr speaks to overlayfs: ${shown(name)}`)
  if (xattrs.has(unescaped)) throw new ImageFault(at, 'an inode has an xattr twice')
  xattrs.set(unescaped, value)
}

/** Marks as they are once the names are unescaped. */
function asRead(marks: readonly Mark[]): readonly Mark[] {
  return marks.map(([name, value]) => [unescapeName(name)!, value])
}

function hasAll(xattrs: ReadonlyMap<ByteString, ByteString>, marks: readonly Mark[]): boolean {
  return xattrs.size > 0 && marks.every(([name, value]) => xattrs.get(name) === value)
}
