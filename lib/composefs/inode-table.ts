/**
 * The inodes of an image in the order in which they stand there: breadth first, entries of a directory by the bytes of their
 * names. Refuses what is no tree. Sizes and places are worked out in layout.ts.
 */
import { type ByteString, byteString } from '../bytes.js'
import { checkName, checkNode } from './check-node.js'
import { NodeFault, refused } from './faults.js'
import { type ComposefsEntry, type ComposefsNode, isBacked, isWhiteout } from './node.js'
import { holderMarks, type Mark, OverlayXattrs, ROOT_MARK, type Version, WHITEOUT_MARKS } from './overlay.js'
import { type XattrId, XattrPool } from './xattr-pool.js'

/** Entries of a directory by name, `.` and `..` among them. */
export interface DirectoryEntries {
  readonly names: readonly ByteString[]
  /** Number of the inode of each. */
  readonly inodes: Uint32Array
  /** Link count of the directory: 2, and one for each directory in it. */
  readonly nlink: number
}

export interface InodeTable {
  readonly version: Version
  /** As they stand in the image: whiteouts of the tree are empty files here, and the nodes that hide objects are there. */
  readonly nodes: readonly ComposefsNode[]
  /** Of directories. */
  readonly entries: readonly (DirectoryEntries | null)[]
  readonly pool: XattrPool
  /** The xattrs of inode i are those from xattrStarts[i] to xattrStarts[i + 1]. */
  readonly xattrIds: readonly XattrId[]
  readonly xattrStarts: Uint32Array
  /** A node whose time is the least. */
  readonly oldest: ComposefsNode
}

const DOT = byteString('.')
const DOT_DOT = byteString('..')
const SELINUX = byteString('security.selinux')
/** The directories of objects, which must not show through the root. */
const OBJECT_DIRECTORIES = Array.from({ length: 256 }, (_, i) => byteString(i.toString(16).padStart(2, '0')))

/**
 * @param versionFor says the version of the image, told whether the tree holds whiteouts
 * @throws {ImageError} `composefs-refused` for a node that no image can hold, and where nodes are no tree
 */
export function tableOf(root: ComposefsNode, versionFor: (hasWhiteouts: boolean) => Version): InodeTable {
  const walk = new Walk(root)
  walk.run()
  const version = versionFor(walk.whiteouts.size > 0)
  const { nodes } = walk
  const pool = new XattrPool()
  const xattrIds: XattrId[] = []
  const xattrStarts = new Uint32Array(nodes.length + 1)
  const xattrs = new OverlayXattrs(pool)
  const marks = marksFor(version)
  let oldest = root
  for (let i = 0; i < nodes.length; i++) {
    const node = nodes[i]!
    xattrs.use(node, marks(i === 0, walk.holders.has(i), walk.whiteouts.has(i)), xattrIds)
    xattrStarts[i + 1] = xattrIds.length
    if (isOlder(node, oldest)) oldest = node
  }
  return { version, nodes, entries: walk.entries, pool, xattrIds, xattrStarts, oldest }
}

function isOlder(a: ComposefsNode, b: ComposefsNode): boolean {
  if (a.mtimeSeconds === b.mtimeSeconds) return a.mtimeNanoseconds < b.mtimeNanoseconds
  return a.mtimeSeconds < b.mtimeSeconds
}

type MarksOf = (isRoot: boolean, isHolder: boolean, isWhiteout: boolean) => readonly Mark[]

function marksFor(version: Version): MarksOf {
  const none: readonly Mark[] = []
  const holder = holderMarks(version)
  const root = [ROOT_MARK]
  const rootHolder = [ROOT_MARK, ...holder]
  return (isRoot, isHolder, isOwnWhiteout) => {
    if (isOwnWhiteout) return WHITEOUT_MARKS
    if (isRoot) return isHolder ? rootHolder : root
    return isHolder ? holder : none
  }
}

interface PendingLink {
  readonly directory: number
  readonly slot: number
  readonly target: ComposefsNode
}

class Walk {
  readonly nodes: ComposefsNode[]
  readonly entries: (DirectoryEntries | null)[] = []
  /** Inodes that are whiteouts of the tree, and directories that hold some under their own names. */
  readonly whiteouts = new Set<number>()
  readonly holders = new Set<number>()
  readonly #parents = [0]
  readonly #numbers: Map<ComposefsNode, number>
  readonly #links: PendingLink[] = []
  #hider: ComposefsNode | undefined
  /** Length of the digests seen: objects of two algorithms would not be found in one place. */
  #digestLength = 0
  /** What is being looked at, for messages. */
  #at = 0
  #name: ByteString | undefined

  constructor(root: ComposefsNode) {
    this.nodes = [root]
    this.#numbers = new Map([[root, 0]])
  }

  run(): void {
    try {
      if (this.nodes[0]!.kind !== 'directory')
        throw new NodeFault('ENOTDIR', 'the top of a tree is a directory')
      for (this.#at = 0; this.#at < this.nodes.length; this.#at++) {
        this.#name = undefined
        this.#visit(this.nodes[this.#at]!)
      }
      for (const link of this.#links) this.#resolve(link)
    } catch (fault) {
      if (!(fault instanceof NodeFault)) throw fault
      throw refused(this.#path(), fault)
    }
  }

  #visit(node: ComposefsNode): void {
    checkNode(node)
    if (node.kind === 'directory') {
      this.entries.push(this.#enter(node.children!))
      return
    }
    this.entries.push(null)
    if (isBacked(node) && node.digest !== null) this.#checkDigest(node.digest)
    if (this.whiteouts.has(this.#at)) {
      this.nodes[this.#at] = { ...node, kind: 'file', size: 0, payload: null, content: null, digest: null }
    }
  }

  #enter(children: ReadonlyMap<ByteString, ComposefsEntry>): DirectoryEntries {
    const directory = this.#at
    const names = imageNames(children, directory === 0)
    const inodes = new Uint32Array(names.length)
    let nlink = 2
    for (let slot = 0; slot < names.length; slot++) {
      const name = names[slot]!
      const entry = children.get(name)
      if (entry === undefined) {
        if (name === DOT || name === DOT_DOT) {
          inodes[slot] = name === DOT ? directory : this.#parents[directory]!
        } else {
          inodes[slot] = this.nodes.length
          this.#hider ??= objectHider(this.nodes[0]!)
          this.#add(this.#hider)
        }
        continue
      }
      this.#name = name
      checkName(name)
      if (entry.kind === 'link') {
        this.#links.push({ directory, slot, target: entry.target })
        continue
      }
      if (this.#numbers.has(entry)) {
        throw new NodeFault('EMLINK', 'it is in the tree under another name too, and neither is a link')
      }
      this.#numbers.set(entry, this.nodes.length)
      inodes[slot] = this.nodes.length
      if (entry.kind === 'directory') nlink++
      if (isWhiteout(entry)) {
        this.whiteouts.add(this.nodes.length)
        this.holders.add(directory)
      }
      this.#add(entry)
    }
    return { names, inodes, nlink }
  }

  #add(node: ComposefsNode): void {
    this.nodes.push(node)
    this.#parents.push(this.#at)
  }

  #resolve({ directory, slot, target }: PendingLink): void {
    const entries = this.entries[directory]!
    this.#at = directory
    this.#name = entries.names[slot]!
    const number = this.#numbers.get(target)
    if (number === undefined) throw new NodeFault('EINVAL', 'it is a link to what is not in the tree')
    if (target.kind === 'directory') throw new NodeFault('EINVAL', 'it is a link to a directory')
    entries.inodes[slot] = number
  }

  #checkDigest({ length }: string): void {
    // What digests are made of is looked at where they are made.
    if (length !== 64 && length !== 128)
      throw new NodeFault('EINVAL', `its digest has ${length} hex digits, not 64 or 128`)
    if (this.#digestLength === 0) this.#digestLength = length
    if (this.#digestLength !== length) {
      throw new NodeFault('EINVAL', 'its digest is by another algorithm than those of other files')
    }
  }

  #path(): ByteString {
    const names = this.#name === undefined ? [] : [this.#name]
    for (let at = this.#at; at !== 0; at = this.#parents[at]!) {
      const siblings = this.entries[this.#parents[at]!]!
      const slot = siblings.inodes.findIndex((each, i) => each === at && !isDots(siblings.names[i]!))
      names.push(siblings.names[slot]!)
    }
    return `/${names.reverse().join('/')}` as ByteString
  }
}

function isDots(name: ByteString): boolean {
  return name === DOT || name === DOT_DOT
}

/**
 * The names of a directory in an image, in order: `.` and `..`, which are not always the first, and in the root those that
 * hide the directories of objects.
 */
export function imageNames(children: ReadonlyMap<ByteString, unknown>, isRoot: boolean): ByteString[] {
  const names = [DOT, DOT_DOT, ...children.keys()]
  if (isRoot) for (const name of OBJECT_DIRECTORIES) if (!children.has(name)) names.push(name)
  for (let i = 1; i < names.length; i++) if (names[i]! < names[i - 1]!) return names.sort()
  return names
}

/** Real whiteouts, over the names of object directories that the root does not use itself. */
function objectHider(root: ComposefsNode): ComposefsNode {
  const label = root.xattrs.get(SELINUX)
  return {
    ...root,
    kind: 'char',
    mode: 0o644,
    nlink: 1,
    rdev: 0,
    size: 0,
    xattrs: label === undefined ? new Map() : new Map([[SELINUX, label]]),
    payload: null,
    content: null,
    digest: null,
    children: null,
  }
}
