/**
 * Between the trees of groot and the nodes of composefs.
 *
 * To nodes goes every tree: what a composefs image cannot hold is found when it is written. Back to a tree goes what has
 * objects under their own names, which is what groot and mkcomposefs write.
 */
import { type ByteString, EMPTY, printable } from '../bytes.js'
import type { VerityDigest } from '../digest.js'
import { isVerityDigest } from '../digest.js'
import { ImageError } from '../errors.js'
import {
  type Directory,
  type Inode,
  type Metadata,
  NO_CONTENT,
  NO_XATTRS,
  type RegularFile,
  type Tree,
} from '../tree/model.js'
import { inOrder } from './names.js'
import { type ComposefsEntry, type ComposefsNode, isInline, majorOf, minorOf, rdevOf } from './node.js'
import type { Verity512Digest } from './verity.js'

export interface FromTreeOptions {
  /**
   * `keep`: one inode for all names of a file, whose link count is their number; the first name in depth-first order is the
   * inode's own. `split`: an inode for each name, of link count 1, as mkcomposefs 1.0.8 scans directories. Default: keep.
   */
  readonly hardLinks?: 'keep' | 'split'
  /** All times are the epoch, as with `mkcomposefs --use-epoch`. */
  readonly useEpoch?: boolean
  /** Leaves devices out, whiteouts with them, as with `mkcomposefs --skip-devices`. */
  readonly skipDevices?: boolean
  /** Which xattrs to take, as with `--user-xattrs` and `--skip-xattrs`. Default: all. */
  readonly xattrs?: 'all' | 'user' | 'none'
  /** The digest to demand of an object, which is its name too; by default the one that the tree has. */
  readonly digestOf?: (object: VerityDigest) => VerityDigest | Verity512Digest
}

/** The tree as nodes. Content that the tree has inline is inline in the image, all else in objects. */
export function composefsFromTree(tree: Tree, options: FromTreeOptions = {}): ComposefsNode {
  const made = new Map<Inode, Writable<ComposefsNode>>()
  const root = nodeOf(tree.root, options)
  // Depth first and in order of name, so that dumps of the image say the same when they are read again.
  const open = [openDirectory(tree.root, root)]
  for (let directory = open.at(-1); directory !== undefined; directory = open.at(-1)) {
    const { done, value } = directory.entries.next()
    if (done === true) {
      open.pop()
      continue
    }
    const [name, inode] = value
    if (options.skipDevices === true && (inode.kind === 'char' || inode.kind === 'block')) continue
    const known = options.hardLinks === 'split' ? undefined : made.get(inode)
    if (known !== undefined) {
      known.nlink++
      directory.into.set(name, { kind: 'link', target: known })
      continue
    }
    const node = nodeOf(inode, options)
    directory.into.set(name, node)
    if (inode.kind === 'directory') open.push(openDirectory(inode, node))
    else made.set(inode, node)
  }
  return root
}

/** The path of an object below the directory of objects: `ab/cdef…`. */
function objectNameOf(digest: VerityDigest | Verity512Digest): ByteString {
  return `${digest.slice(0, 2)}/${digest.slice(2)}` as ByteString
}

type Writable<T> = { -readonly [K in keyof T]: T[K] }

/** A directory of the tree that is gone through, and the children of its node. */
interface OpenDirectory {
  readonly entries: Iterator<readonly [name: ByteString, inode: Inode]>
  readonly into: Map<ByteString, ComposefsEntry>
}

function openDirectory({ children }: Directory, node: ComposefsNode): OpenDirectory {
  return {
    entries: inOrder(children)[Symbol.iterator](),
    into: node.children as Map<ByteString, ComposefsEntry>,
  }
}

/** The node of an inode, of a directory without its entries. */
function nodeOf(inode: Inode, options: FromTreeOptions): Writable<ComposefsNode> {
  const { useEpoch, xattrs } = options
  const node: Writable<ComposefsNode> = {
    kind: inode.kind,
    mode: inode.mode,
    nlink: 1,
    uid: inode.uid,
    gid: inode.gid,
    rdev: 0,
    size: 0,
    mtimeSeconds: useEpoch === true ? 0n : inode.mtimeSeconds,
    mtimeNanoseconds: useEpoch === true ? 0 : inode.mtimeNanoseconds,
    xattrs: xattrs === 'none' ? NO_XATTRS : xattrs === 'user' ? userXattrs(inode) : inode.xattrs,
    payload: null,
    content: null,
    digest: null,
    children: inode.kind === 'directory' ? new Map() : null,
  }
  switch (inode.kind) {
    case 'symlink':
      node.size = inode.target.length
      node.payload = inode.target
      break
    case 'char':
    case 'block':
      node.rdev = rdevOf(inode.major, inode.minor)
      break
    case 'file':
      setContent(node, inode, options)
  }
  return node
}

function setContent(
  node: Writable<ComposefsNode>,
  { content, size }: RegularFile,
  { digestOf }: FromTreeOptions,
): void {
  switch (content.kind) {
    case 'empty':
      return
    case 'inline':
      node.size = content.bytes.length
      node.content = content.bytes
      return
    case 'object':
      node.size = size
      node.digest = digestOf === undefined ? content.digest : digestOf(content.digest)
      node.payload = objectNameOf(node.digest)
  }
}

function userXattrs({ xattrs }: Metadata): Metadata['xattrs'] {
  return new Map([...xattrs].filter(([name]) => name.startsWith('user.')))
}

/**
 * The nodes as a tree. Link counts are not in trees: a node and the links to it are one inode, whatever its count.
 *
 * @throws {ImageError} `composefs-refused` for what a tree cannot say: an object without a digest, by SHA-512 or under
 *   another name than its digest's; sizes, ids and times that no filesystem of Linux has. The facts name path and cause
 */
export function treeFromComposefs(root: ComposefsNode): Tree {
  const made = new Map<ComposefsNode, Inode>()
  const placed = new Set<ComposefsNode>()
  const todo: { readonly node: ComposefsNode; readonly directory: Directory; readonly path: string }[] = []
  const linked = (node: ComposefsNode, path: string): Inode => {
    const inode = made.get(node) ?? inodeOf(node, path)
    made.set(node, inode)
    return inode
  }
  const place = (node: ComposefsNode, path: string): Inode => {
    const isAgain = placed.has(node)
    if (isAgain && node.kind === 'directory') throw notATree(path, 'it is a directory of two names')
    placed.add(node)
    const inode = isAgain ? inodeOf(node, path) : linked(node, path)
    if (inode.kind === 'directory') todo.push({ node, directory: inode, path })
    return inode
  }
  const top = place(root, '')
  if (top.kind !== 'directory') throw notATree('', 'it is the top, and no directory')
  for (let next = todo.pop(); next !== undefined; next = todo.pop()) {
    for (const [name, entry] of next.node.children!) {
      const path = `${next.path}/${name}`
      next.directory.children.set(
        name,
        entry.kind === 'link' ? linked(entry.target, path) : place(entry, path),
      )
    }
  }
  return { root: top }
}

const MAX_ID = 2 ** 32 - 2
const MAX_NANOSECONDS = 999_999_999

function inodeOf(node: ComposefsNode, path: string): Inode {
  const { kind, mode, uid, gid, mtimeSeconds, mtimeNanoseconds, xattrs } = node
  if (uid > MAX_ID || gid > MAX_ID)
    throw notATree(path, `its owner is ${uid}:${gid}, and ids end at ${MAX_ID}`)
  if (mtimeNanoseconds > MAX_NANOSECONDS) throw notATree(path, `its time has ${mtimeNanoseconds} nanoseconds`)
  const metadata: Metadata = { mode, uid, gid, mtimeSeconds, mtimeNanoseconds, xattrs }
  switch (kind) {
    case 'directory':
      return { ...metadata, kind, children: new Map() }
    case 'symlink':
      return { ...metadata, kind, target: node.payload ?? EMPTY }
    case 'char':
    case 'block':
      return { ...metadata, kind, major: majorOf(node.rdev), minor: minorOf(node.rdev) }
    case 'fifo':
    case 'socket':
      return { ...metadata, kind }
    case 'file':
      return fileOf(metadata, node, path)
  }
}

function fileOf(metadata: Metadata, node: ComposefsNode, path: string): RegularFile {
  const { digest, payload } = node
  const size = Number(node.size)
  if (isInline(node))
    return { ...metadata, kind: 'file', size, content: { kind: 'inline', bytes: node.content! } }
  if (size === 0) return { ...metadata, kind: 'file', size, content: NO_CONTENT }
  if (size > Number.MAX_SAFE_INTEGER) throw notATree(path, `its size is ${node.size}`)
  if (!isVerityDigest(digest)) throw notATree(path, 'it is a file of an object without a SHA-256 digest')
  if (payload !== objectNameOf(digest)) {
    throw notATree(
      path,
      `its object is "${printable(payload ?? EMPTY)}", which is not the name of its digest`,
    )
  }
  return { ...metadata, kind: 'file', size, content: { kind: 'object', digest } }
}

function notATree(path: string, cause: string): ImageError {
  const entry = printable((path || '/') as ByteString)
  return new ImageError(
    'composefs-refused',
    `Cannot make a tree of the composefs image: "${entry}": ${cause}`,
    {
      facts: { path: entry, cause, errno: 'EINVAL' },
    },
  )
}
