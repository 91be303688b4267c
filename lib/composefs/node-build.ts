/**
 * Nodes from the inodes of an image: what the writer added for overlayfs is taken away again (see overlay.ts).
 */
import type { ByteString } from '../bytes.js'
import { MAX_XATTR_COST, XATTR_BASE_COST, xattrCost } from './check-node.js'
import { ImageFault } from './faults.js'
import { BLOCK_BYTES, type ComposefsHeader, viewOf } from './format.js'
import type { Scan, ScannedInode } from './inode-scan.js'
import { type ComposefsEntry, type ComposefsNode, NO_CHILDREN, UNSEEN_SIZE } from './node.js'
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

/** @throws {ImageFault} where the image is not one that the writer writes */
export function buildNodes(bytes: Buffer, header: ComposefsHeader, scan: Scan): ComposefsNode {
  return new Builder(bytes, header, scan).run()
}

class Builder {
  readonly #bytes: Buffer
  readonly #view: DataView
  readonly #header: ComposefsHeader
  readonly #scan: Scan
  readonly #reader: XattrReader
  readonly #holderNames: readonly Mark[]
  /** Directories that have all marks of one that holds whiteouts, and those of them that do. */
  readonly #marked = new Set<number>()
  readonly #holders = new Set<number>()
  /** Of the inode that is being read: what the writer says of its object. */
  #metacopy: ByteString | undefined
  #redirect: ByteString | undefined
  #isMarkedRoot = false

  constructor(bytes: Buffer, header: ComposefsHeader, scan: Scan) {
    this.#bytes = bytes
    this.#view = viewOf(bytes)
    this.#header = header
    this.#scan = scan
    this.#reader = new XattrReader(bytes, scan.inodesEnd, scan.dataStart)
    this.#holderNames = asRead(holderMarks(header.version))
  }

  run(): ComposefsNode {
    const { inodes, directories, hiders } = this.#scan
    const nodes: ComposefsNode[] = []
    for (let i = 0; i < inodes.length; i++) {
      // A hider is made from the root by the writer, and stands for nothing here.
      nodes.push(hiders.has(i) ? nodes[0]! : this.#node(i, inodes[i]!))
    }
    for (const i of this.#holders) this.#unmark(nodes[i]!.xattrs as Xattrs)
    for (let i = 0; i < inodes.length; i++) {
      const directory = directories[i]
      if (directory === null || directory === undefined || directory.names.length === 0) continue
      const children = nodes[i]!.children as Map<ByteString, ComposefsEntry>
      for (let slot = 0; slot < directory.names.length; slot++) {
        const inode = directory.inodes[slot]!
        children.set(
          directory.names[slot]!,
          inode >= 0 ? nodes[inode]! : { kind: 'link', target: nodes[-1 - inode]! },
        )
      }
    }
    if (!this.#isMarkedRoot) throw new ImageFault(inodes[0]!.at, 'its root is not opaque')
    return nodes[0]!
  }

  #node(i: number, inode: ScannedInode): ComposefsNode {
    const view = this.#view
    const { at, kind, isExtended } = inode
    const xattrs = this.#readXattrs(i, inode)
    const isWhiteout = this.#isWhiteout(inode, xattrs)
    if (isWhiteout) for (const [name] of WHITEOUT_NAMES) xattrs.delete(name)
    if (kind === 'directory' && hasAll(xattrs, this.#holderNames)) this.#marked.add(i)
    const isDevice = kind === 'char' || kind === 'block'
    return {
      kind: isWhiteout ? 'char' : kind,
      mode: view.getUint16(at + 4, true) & 0o7777,
      nlink: isExtended ? view.getUint32(at + 44, true) : view.getUint16(at + 6, true),
      uid: isExtended ? view.getUint32(at + 24, true) : view.getUint16(at + 24, true),
      gid: isExtended ? view.getUint32(at + 28, true) : view.getUint16(at + 26, true),
      rdev: isDevice ? view.getUint32(at + 16, true) : 0,
      size: isDevice || kind === 'fifo' || kind === 'socket' ? this.#unseenSize(inode) : inode.size,
      mtimeSeconds: isExtended ? view.getBigInt64(at + 32, true) : this.#header.mtimeSeconds,
      mtimeNanoseconds: isExtended ? view.getUint32(at + 40, true) : this.#header.mtimeNanoseconds,
      xattrs: xattrs.size === 0 ? NONE : xattrs,
      payload: kind === 'symlink' ? this.#target(inode) : (this.#redirect ?? null),
      content: kind === 'file' && inode.size > 0 && !inode.isBacked ? this.#content(inode) : null,
      digest: (this.#metacopy || null) as ComposefsNode['digest'],
      children:
        kind !== 'directory' ? null : this.#scan.directories[i]!.names.length > 0 ? new Map() : NO_CHILDREN,
    }
  }

  #readXattrs(i: number, { xattrs: start, tail, at, isBacked }: ScannedInode): Xattrs {
    this.#metacopy = undefined
    this.#redirect = undefined
    let xattrs = NONE
    if (tail > start) {
      this.#reader.read(start, tail, (name, value) => {
        if (this.#takeOwn(i, isBacked, name, value)) return
        const unescaped = unescapeName(name)
        if (unescaped === undefined) throw new ImageFault(start, `an xattr speaks to overlayfs: ${name}`)
        if (xattrs === NONE) xattrs = new Map()
        if (xattrs.has(unescaped)) throw new ImageFault(start, 'an inode has an xattr twice')
        xattrs.set(unescaped, value)
      })
    }
    if (isBacked && this.#metacopy === undefined)
      throw new ImageFault(at, 'a file of an object has no metacopy xattr')
    return xattrs
  }

  /** Takes what the writer has put there. Twice the same is found when the image is written again. */
  #takeOwn(i: number, isBacked: boolean, name: ByteString, value: ByteString): boolean {
    if (isBacked && name === METACOPY) this.#metacopy = value
    else if (isBacked && name === REDIRECT) this.#redirect = value
    else if (i === 0 && name === ROOT_MARK[0] && value === ROOT_MARK[1]) this.#isMarkedRoot = true
    else return false
    return true
  }

  /** An empty file with the marks of a whiteout, in a directory with those of one that holds some. */
  #isWhiteout({ kind, size, parent }: ScannedInode, xattrs: Xattrs): boolean {
    if (kind !== 'file' || size !== 0 || xattrs.size < WHITEOUT_NAMES.length) return false
    if (!hasAll(xattrs, WHITEOUT_NAMES) || !this.#marked.has(parent)) return false
    this.#holders.add(parent)
    return true
  }

  /** Takes the marks from a directory that holds whiteouts, for the writer puts them there again. */
  #unmark(xattrs: Xattrs): void {
    let cost = XATTR_BASE_COST
    for (const [name, value] of xattrs) cost += xattrCost(name.length, value.length)
    // Those of both versions, as composefs-info does; the others too where the directory would have too many with them.
    for (const [name, value] of this.#holderNames) {
      if (value !== '' && cost <= MAX_XATTR_COST) continue
      xattrs.delete(name)
      cost -= xattrCost(name.length, value.length)
    }
  }

  #unseenSize({ at, isExtended }: ScannedInode): number {
    if (!isExtended) return 0
    const view = this.#view
    const isNarrow =
      view.getUint32(at + 24, true) <= MAX_U16 &&
      view.getUint32(at + 28, true) <= MAX_U16 &&
      view.getUint32(at + 44, true) <= MAX_U16
    const isOldest =
      view.getUint32(at + 40, true) === this.#header.mtimeNanoseconds &&
      view.getBigInt64(at + 32, true) === this.#header.mtimeSeconds
    return isNarrow && isOldest ? UNSEEN_SIZE : 0
  }

  #target({ blocks, firstBlock, tail, size }: ScannedInode): ByteString {
    const start = blocks > 0 ? this.#blockAt(firstBlock) : tail
    return this.#bytes.toString('latin1', start, start + size) as ByteString
  }

  #content({ blocks, firstBlock, tail, tailBytes, size }: ScannedInode): Uint8Array {
    const start = this.#blockAt(firstBlock)
    const first = this.#bytes.subarray(start, blocks > 0 ? start + size - tailBytes : start)
    return Buffer.concat([first, this.#bytes.subarray(tail, tail + tailBytes)])
  }

  #blockAt(block: number): number {
    return this.#scan.dataStart + block * BLOCK_BYTES
  }
}

const WHITEOUT_NAMES = asRead(WHITEOUT_MARKS)

/** Marks as they are once the names are unescaped. */
function asRead(marks: readonly Mark[]): readonly Mark[] {
  return marks.map(([name, value]) => [unescapeName(name)!, value])
}

function hasAll(xattrs: Xattrs, marks: readonly Mark[]): boolean {
  return marks.every(([name, value]) => xattrs.get(name) === value)
}
