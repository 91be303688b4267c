/**
 * A directory as lines of text, one an entry, to compare trees that different hands made.
 */
import { createHash } from 'node:crypto'
import { readSync } from 'node:fs'
import { type ByteString, byteString, printable } from '../bytes.js'
import { pathString } from '../linux/c-string.js'
import { close, openDirectory } from '../linux/files.js'
import { openScanned, type ScannedEntry, scanDirectory } from '../tree/scan.js'

/**
 * Describes every entry below a directory, the top first, in byte order:
 * `path type mode uid:gid size mtime device target link xattrs sha256`.
 *
 * A part that an entry does not have is `-`. The size is that of regular files, the device that of device files. Link
 * is the first path of the same file. Blanks in names are written `\x20`, so lines can be split at blanks.
 */
export function treeLines(path: string): string[] {
  const root = openDirectory(pathString(path))
  try {
    return Array.from(scanDirectory(path), (entry) => line(root, entry))
  } finally {
    close(root)
  }
}

function line(root: number, entry: ScannedEntry): string {
  const isFile = entry.kind === 'file'
  const isDevice = entry.kind === 'char' || entry.kind === 'block'
  return [
    word(entry.path === '' ? byteString('.') : entry.path),
    entry.kind,
    entry.mode.toString(8).padStart(4, '0'),
    `${entry.uid}:${entry.gid}`,
    isFile ? entry.size : '-',
    `${entry.mtimeSeconds}.${String(entry.mtimeNanoseconds).padStart(9, '0')}`,
    isDevice ? `${entry.major}:${entry.minor}` : '-',
    entry.kind === 'symlink' ? word(entry.target) : '-',
    entry.linkTo === null ? '-' : word(entry.linkTo),
    Array.from(entry.xattrs, ([name, value]) => `${word(name)}=${word(value)}`).join(',') || '-',
    isFile && entry.linkTo === null ? contentDigest(root, entry) : '-',
  ].join(' ')
}

function word(bytes: ByteString): string {
  return printable(bytes).replaceAll(' ', '\\x20')
}

function contentDigest(root: number, entry: ScannedEntry): string {
  const fd = openScanned(root, entry)
  try {
    const hash = createHash('sha256')
    const buffer = Buffer.allocUnsafe(1024 * 1024)
    for (let count = readSync(fd, buffer); count > 0; count = readSync(fd, buffer))
      hash.update(buffer.subarray(0, count))
    return hash.digest('hex')
  } finally {
    close(fd)
  }
}
