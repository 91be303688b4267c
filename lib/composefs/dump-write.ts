/**
 * Nodes to composefs-dump(5): the canonical text of a tree, which tells exactly what an image of it would hold.
 *
 * Names are in byte order, xattrs too; link counts and sizes of directories are those of the image; what an image does not
 * hold (payloads of directories, digests of files whose bytes are in the image) is not there.
 */
import { asBuffer, type ByteString, fromBytes } from '../bytes.js'
import { directoryBytes } from './dirents.js'
import { escapeField, escapeXattrPart } from './dump-escape.js'
import { imageNames } from './names.js'
import {
  type ComposefsEntry,
  type ComposefsNode,
  isBacked,
  isInline,
  isWhiteout,
  stModeOf,
  UNSEEN_SIZE,
} from './node.js'

export interface DumpWriteOptions {
  /**
   * Which name of several is the node, and which are links to it. `stored`: the one that is in the tree, so that the image
   * of the dump has the same bytes. `first`: the first in the order of the dump, as composefs-info writes it. Default: stored.
   */
  readonly hardLinks?: 'stored' | 'first'
}

const PIECE_CHARS = 64 * 1024

/**
 * Gives the text in pieces of whole lines, all ASCII. The tree must be one that planComposefs takes.
 */
export function* writeDump(
  root: ComposefsNode,
  options: DumpWriteOptions = {},
): Generator<string, void, undefined> {
  const paths = pathsOfLinked(root, options.hardLinks ?? 'stored')
  let piece = ''
  for (const { path, entry } of walk(root)) {
    const node = entry.kind === 'link' ? entry.target : entry
    const nodePath = paths.get(node)
    piece += dumpLine(
      path,
      node,
      nodePath === undefined || nodePath === path ? null : nodePath,
      node === root,
    )
    if (piece.length < PIECE_CHARS) continue
    yield piece
    piece = ''
  }
  if (piece !== '') yield piece
}

interface Visit {
  readonly path: ByteString
  readonly entry: ComposefsEntry
}

/** Depth first, names in order; directories before what is in them. */
function* walk(root: ComposefsNode): Generator<Visit, void, undefined> {
  const todo: Visit[] = [{ path: '' as ByteString, entry: root }]
  for (let visit = todo.pop(); visit !== undefined; visit = todo.pop()) {
    const { path, entry } = visit
    yield path === '' ? { path: '/' as ByteString, entry } : visit
    if (entry.kind !== 'directory') continue
    const names = [...entry.children!.keys()].sort().reverse()
    for (const name of names)
      todo.push({ path: `${path}/${name}` as ByteString, entry: entry.children!.get(name)! })
  }
}

/** For nodes that have more names than one, the path of the name that is dumped as the node. */
function pathsOfLinked(root: ComposefsNode, hardLinks: 'stored' | 'first'): Map<ComposefsNode, ByteString> {
  const linked = new Set<ComposefsNode>()
  for (const { entry } of walk(root)) if (entry.kind === 'link') linked.add(entry.target)
  const paths = new Map<ComposefsNode, ByteString>()
  if (linked.size === 0) return paths
  for (const { path, entry } of walk(root)) {
    const node = entry.kind === 'link' ? entry.target : entry
    if (!linked.has(node) || paths.has(node)) continue
    if (hardLinks === 'first' || entry.kind !== 'link') paths.set(node, path)
  }
  return paths
}

function dumpLine(path: ByteString, node: ComposefsNode, linkTo: ByteString | null, isRoot: boolean): string {
  const { kind, uid, gid, mtimeSeconds, mtimeNanoseconds } = node
  const isDevice = kind === 'char' || kind === 'block'
  const backed = isBacked(node)
  const mode = `${linkTo === null ? '' : '@'}${stModeOf(kind, node.mode).toString(8)}`
  const mtime = `${mtimeSeconds}.${mtimeNanoseconds}`
  const payload = linkTo ?? (kind === 'symlink' || backed ? node.payload : null)
  const content = kind === 'file' && isInline(node) ? escapeField(fromBytes(asBuffer(node.content!))) : '-'
  const digest = backed && node.digest !== null ? node.digest : '-'
  const numbers = `${sizeOf(node, isRoot)} ${mode} ${nlinkOf(node)} ${uid} ${gid} ${isDevice ? node.rdev : 0} ${mtime}`
  const fields = `${escapeField(path)} ${numbers} ${optional(payload)} ${content} ${digest}`
  return node.xattrs.size === 0 ? `${fields}\n` : `${fields}${xattrsOf(node)}\n`
}

function sizeOf(node: ComposefsNode, isRoot: boolean): number | bigint {
  if (node.kind === 'directory') return directoryBytes(imageNames(node.children!, isRoot))
  if (node.kind === 'symlink') return node.payload!.length
  if (node.kind === 'file') return node.size
  // Of other kinds only this much is to be seen in an image, and of whiteouts nothing.
  return node.size < UNSEEN_SIZE || isWhiteout(node) ? 0 : UNSEEN_SIZE
}

function nlinkOf(node: ComposefsNode): number {
  if (node.kind !== 'directory') return node.nlink
  let nlink = 2
  for (const entry of node.children!.values()) if (entry.kind === 'directory') nlink++
  return nlink
}

function xattrsOf(node: ComposefsNode): string {
  const names = [...node.xattrs.keys()].sort()
  return names.map((name) => ` ${escapeXattrPart(name)}=${escapeXattrPart(node.xattrs.get(name)!)}`).join('')
}

function optional(payload: ByteString | null): string {
  return payload === null || payload === '' ? '-' : escapeField(payload)
}
