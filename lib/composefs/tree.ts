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
  type NonDirectory,
  type RegularFile,
  type Tree,
} from '../tree/model.js'
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
  const made = new Map<NonDirectory, Writable<ComposefsNode>>()
  const root = directoryNode(tree.root, options)
  // Depth first and in order of name, so that dumps of the image say the same when they are read again.
  const todo: Step[] = stepsInto(tree.root, root.children)
  for (let step = todo.pop(); step !== undefined; step = todo.pop()) {
    const { name, inode, into } = step
    if (inode.kind === 'directory') {
      const node = directoryNode(inode, options)
      into.set(name, node)
      for (const each of stepsInto(inode, node.children)) todo.push(each)
      continue
    }
    if (options.skipDevices === true && (inode.kind === 'char' || inode.kind === 'block')) continue
    const known = made.get(inode)
    if (known === undefined || options.hardLinks === 'split') {
      const node = nodeOf(inode, options)
      made.set(inode, node)
      into.set(name, node)
    } else {
      known.nlink++
      into.set(name, { kind: 'link', target: known })
    }
  }
  return root
}

/** The path of an object below the directory of objects: `ab/cdef…`. */
function objectNameOf(digest: VerityDigest | Verity512Digest): ByteString {
  return `${digest.slice(0, 2)}/${digest.slice(2)}` as ByteString
}

type Writable<T> = { -readonly [K in keyof T]: T[K] }
type Children = Map<ByteString, ComposefsEntry>

interface Step {
  readonly name: ByteString
  readonly inode: Inode
  readonly into: Children
}

/** Last name first, for a stack. */
function stepsInto(directory: Directory, into: Children): Step[] {
  const names = [...directory.children.keys()].sort().reverse()
  return names.map((name) => ({ name, inode: directory.children.get(name)!, into }))
}

function directoryNode(
  directory: Directory,
  options: FromTreeOptions,
): ComposefsNode & { readonly children: Children } {
  return { ...baseNode(directory, options), kind: 'directory', children: new Map() }
}

function nodeOf(inode: NonDirectory, options: FromTreeOptions): ComposefsNode {
  const base = baseNode(inode, options)
  switch (inode.kind) {
    case 'symlink':
      return { ...base, kind: 'symlink', size: inode.target.length, payload: inode.target }
    case 'char':
    case 'block':
      return { ...base, kind: inode.kind, rdev: rdevOf(inode.major, inode.minor) }
    case 'fifo':
    case 'socket':
      return { ...base, kind: inode.kind }
    case 'file':
      return fileNode(base, inode, options)
  }
}

function fileNode(
  base: ComposefsNode,
  { content, size }: RegularFile,
  options: FromTreeOptions,
): ComposefsNode {
  switch (content.kind) {
    case 'empty':
      return base
    case 'inline':
      return { ...base, size: content.bytes.length, content: content.bytes }
    case 'object': {
      const digest = options.digestOf?.(content.digest) ?? content.digest
      return { ...base, size, payload: objectNameOf(digest), digest }
    }
  }
}

/** An empty file with the metadata. */
function baseNode(inode: Metadata, { useEpoch, xattrs }: FromTreeOptions): ComposefsNode {
  return {
    kind: 'file',
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
    children: null,
  }
}

function userXattrs({ xattrs }: Metadata): Metadata['xattrs'] {
  return new Map([...xattrs].filter(([name]) => name.startsWith('user.')))
}

/**
 * The nodes as a tree. Link counts are not in trees: what is one node stays one inode, whatever its count.
 *
 * @throws {ImageError} `composefs-refused` for what a tree cannot say: an object without a digest, by SHA-512 or under
 *   another name than its digest's; sizes, ids and times that no filesystem of Linux has. The facts name path and cause
 */
export function treeFromComposefs(root: ComposefsNode): Tree {
  const made = new Map<ComposefsNode, Inode>()
  const todo: { readonly node: ComposefsNode; readonly directory: Directory; readonly path: string }[] = []
  const take = (node: ComposefsNode, path: string): Inode => {
    const known = made.get(node)
    if (known !== undefined) return known
    const inode = inodeOf(node, path)
    made.set(node, inode)
    if (inode.kind === 'directory') todo.push({ node, directory: inode, path })
    return inode
  }
  const top = take(root, '')
  if (top.kind !== 'directory') throw notATree('', 'it is the top, and no directory')
  for (let next = todo.pop(); next !== undefined; next = todo.pop()) {
    for (const [name, entry] of next.node.children!) {
      const node = entry.kind === 'link' ? entry.target : entry
      next.directory.children.set(name, take(node, `${next.path}/${name}`))
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
