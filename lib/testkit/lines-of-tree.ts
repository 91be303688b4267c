/**
 * A tree in memory as the lines that treeLines gives of a directory on disk, so that the two can be compared.
 */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { type ByteString, printable } from '../bytes.js'
import type { ObjectReader } from '../store/objects.js'
import type { Inode, RegularFile, Tree } from '../tree/model.js'

/** See treeLines for the format. */
export function linesOfTree(tree: Tree, objects: ObjectReader): string[] {
  const lines: string[] = []
  const first = new Map<Inode, ByteString>()
  const visit = (path: ByteString, inode: Inode): void => {
    const linkTo = first.get(inode) ?? null
    if (linkTo === null) first.set(inode, path)
    lines.push(line(path, inode, linkTo, objects))
    if (inode.kind !== 'directory') return
    for (const name of [...inode.children.keys()].sort()) {
      visit((path === '' ? name : `${path}/${name}`) as ByteString, inode.children.get(name)!)
    }
  }
  visit('' as ByteString, tree.root)
  return lines
}

function line(path: ByteString, inode: Inode, linkTo: ByteString | null, objects: ObjectReader): string {
  const isDevice = inode.kind === 'char' || inode.kind === 'block'
  const xattrs = [...inode.xattrs].sort(([a], [b]) => (a < b ? -1 : 1))
  return [
    path === '' ? '.' : word(path),
    inode.kind,
    inode.mode.toString(8).padStart(4, '0'),
    `${inode.uid}:${inode.gid}`,
    inode.kind === 'file' ? inode.size : '-',
    `${inode.mtimeSeconds}.${String(inode.mtimeNanoseconds).padStart(9, '0')}`,
    isDevice ? `${inode.major}:${inode.minor}` : '-',
    inode.kind === 'symlink' ? word(inode.target) : '-',
    linkTo === null ? '-' : word(linkTo),
    xattrs.map(([name, value]) => `${word(name)}=${word(value)}`).join(',') || '-',
    inode.kind === 'file' && linkTo === null ? contentDigest(inode, objects) : '-',
  ].join(' ')
}

function contentDigest(file: RegularFile, objects: ObjectReader): string {
  const hash = createHash('sha256')
  if (file.content.kind === 'inline') hash.update(file.content.bytes)
  if (file.content.kind === 'object') hash.update(readFileSync(objects.path(file.content.digest)))
  return hash.digest('hex')
}

function word(bytes: ByteString): string {
  return printable(bytes).replaceAll(' ', '\\x20')
}
