/**
 * Nodes to the table of an image's inodes: breadth first, entries of a directory by the bytes of their names. Refuses what is
 * no tree, and nodes that no image can hold.
 */
import type { ByteString } from '../bytes.js'
import { checkName, checkNode, DigestLength } from './check-node.js'
import type { PendingEntry } from './dirents.js'
import { NodeFault, refused } from './faults.js'
import { type InodeTable, TableBuilder } from './inode-table.js'
import { DOT, DOT_DOT, inOrder, OBJECT_DIRECTORIES } from './names.js'
import { type ComposefsEntry, type ComposefsNode, isBacked, isWhiteout } from './node.js'
import { objectHider, type Version } from './overlay.js'

/**
 * @param least version of the image
 * @param greatest its version if the tree holds whiteouts
 * @throws {ImageError} `composefs-refused`
 */
export function tableOf(root: ComposefsNode, least: Version, greatest: Version): InodeTable {
  return new Walk(root, greatest).run(least, greatest)
}

interface Directory {
  readonly node: ComposefsNode
  readonly inode: number
  /** Null for the root, which is its own parent in the image, and has no name. */
  readonly parent: Directory | null
  readonly name: ByteString | null
}

interface PendingLink {
  readonly directory: Directory
  readonly name: ByteString
  readonly target: ComposefsNode
  readonly entry: PendingEntry
}

const AMBIGUOUS = -1 // instead of the number of an inode

class Walk {
  readonly #table: TableBuilder
  readonly #hider: ComposefsNode
  /** In the order of their inodes. */
  readonly #directories: Directory[]
  readonly #known: Set<ComposefsNode>
  readonly #links: PendingLink[] = []
  /** Inodes of nodes that links may lead to: of those that say that they have more names; if need be, of all. */
  readonly #inodes = new Map<ComposefsNode, number>()
  #areAllNoted = false
  #whiteouts = 0
  readonly #digests = new DigestLength()
  /** What is being looked at, for messages. */
  #at: Directory
  #name: ByteString | null = null

  constructor(root: ComposefsNode, version: Version) {
    this.#table = new TableBuilder(version)
    this.#hider = objectHider(root)
    this.#known = new Set([root])
    this.#at = { node: root, inode: 0, parent: null, name: null }
    this.#directories = [this.#at]
  }

  run(least: Version, greatest: Version): InodeTable {
    try {
      const root = this.#at.node
      if (root.kind !== 'directory') throw new NodeFault('ENOTDIR', 'the top of a tree is a directory')
      checkNode(root)
      this.#table.addDirectory(root)
      // More come while they are gone through.
      for (const directory of this.#directories) this.#enter(directory)
      for (const link of this.#links) this.#resolve(link)
    } catch (fault) {
      if (!(fault instanceof NodeFault)) throw fault
      throw refused(this.#path(), fault)
    }
    return this.#table.finish(this.#whiteouts > 0 ? greatest : least)
  }

  #enter(directory: Directory): void {
    const { inode, node, parent } = directory
    const dots = [DOT, DOT_DOT]
    const addDots = (): void =>
      this.#table.addEntry(dots.shift()!, dots.length === 1 ? inode : (parent?.inode ?? 0))
    const whiteouts = this.#whiteouts
    let nlink = 2
    this.#at = directory
    this.#name = null
    for (const [name, entry] of this.#entriesOf(directory)) {
      // Not always the first: some names are less.
      while (dots.length > 0 && name > dots[0]!) addDots()
      this.#name = name
      checkName(name)
      if (entry.kind === 'directory') nlink++
      if (entry.kind === 'link') this.#addLink(name, entry.target)
      else this.#table.addEntry(name, this.#add(name, entry))
    }
    while (dots.length > 0) addDots()
    this.#table.closeDirectory(inode, node, nlink, this.#whiteouts > whiteouts)
  }

  /** In order of name; those of the root with what hides the directories of objects. */
  #entriesOf({ inode, node }: Directory): Iterable<readonly [ByteString, ComposefsEntry]> {
    const children = node.children!
    if (inode !== 0) return inOrder(children)
    const hidden = OBJECT_DIRECTORIES.filter((name) => !children.has(name))
    return inOrder(new Map([...children, ...hidden.map((name) => [name, this.#hider] as const)]))
  }

  /** Makes an inode of a node, and gives its number. */
  #add(name: ByteString, node: ComposefsNode): number {
    checkNode(node)
    if (node.kind === 'directory') return this.#addDirectory(name, node)
    const isOwnWhiteout = isWhiteout(node) && node !== this.#hider
    if (isOwnWhiteout) this.#whiteouts++
    else if (node.digest !== null && isBacked(node)) this.#digests.check(node.digest)
    const inode = isOwnWhiteout ? this.#table.addWhiteout(node) : this.#table.addLeaf(node)
    if (node.nlink > 1) this.#note(node, inode)
    return inode
  }

  #addDirectory(name: ByteString, node: ComposefsNode): number {
    if (this.#known.has(node)) {
      throw new NodeFault('EMLINK', 'it is a directory that is in the tree under another name too')
    }
    this.#known.add(node)
    const inode = this.#table.addDirectory(node)
    this.#directories.push({ node, inode, parent: this.#at, name })
    return inode
  }

  #addLink(name: ByteString, target: ComposefsNode): void {
    this.#links.push({ directory: this.#at, name, target, entry: this.#table.addPendingEntry(name) })
  }

  #resolve({ directory, name, target, entry }: PendingLink): void {
    this.#at = directory
    this.#name = name
    if (target.kind === 'directory') throw new NodeFault('EINVAL', 'it is a link to a directory')
    if (!this.#inodes.has(target)) this.#noteAll()
    const inode = this.#inodes.get(target)
    if (inode === undefined) throw new NodeFault('EINVAL', 'it is a link to what is not in the tree')
    if (inode === AMBIGUOUS) {
      throw new NodeFault('EMLINK', 'it is a link to what has two other names, of which neither is a link')
    }
    this.#table.settleEntry(entry, inode)
  }

  #note(node: ComposefsNode, inode: number): void {
    this.#inodes.set(node, this.#inodes.has(node) ? AMBIGUOUS : inode)
  }

  /** Goes the same way once more. */
  #noteAll(): void {
    if (this.#areAllNoted) return
    this.#areAllNoted = true
    let inode = 0
    for (const directory of this.#directories) {
      for (const [, entry] of this.#entriesOf(directory)) {
        if (entry.kind === 'link') continue
        inode++
        if (entry.nlink <= 1) this.#note(entry, inode)
      }
    }
  }

  #path(): ByteString {
    const names = this.#name === null ? [] : [this.#name]
    for (let at = this.#at; at.parent !== null; at = at.parent) names.push(at.name!)
    return `/${names.reverse().join('/')}` as ByteString
  }
}
