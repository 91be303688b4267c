/**
 * The names in a directory, by descriptor, as bytes (getdents64).
 *
 * Not Node's readdir: that takes a path, and where we read there is often no path that is short enough to use.
 */
import { type ByteString, fromBytes } from '../bytes.js'
import { calls } from './calls.js'
import { DIRENT } from './constants.js'
import { ERRNO } from './errno.js'
import { failed, seek } from './files.js'
import type { FileKind } from './stat.js'

export interface DirectoryItem {
  readonly name: ByteString
  /** Null where the filesystem does not keep kinds with names. */
  readonly kind: FileKind | null
}

const BUFFER_BYTES = 32 * 1024

/** DT_* (dirent.h): the type bits of a mode, moved down. */
const KINDS: Readonly<Record<number, FileKind>> = {
  1: 'fifo',
  2: 'char',
  4: 'directory',
  6: 'block',
  8: 'file',
  10: 'symlink',
  12: 'socket',
}

// Kept for all times: each answer is taken apart before anybody else can ask for another.
let scratch: Buffer | undefined

/**
 * Lists a directory from its start, without `.` and `..`, in the order of the filesystem, some hundred names at a time:
 * nobody knows how many there are.
 *
 * @param fd descriptor open for reading; its offset is moved, so it serves one listing at a time
 */
export function* readBatches(fd: number): Generator<DirectoryItem[], void, void> {
  const libc = calls()
  scratch ??= Buffer.allocUnsafeSlow(BUFFER_BYTES)
  seek(fd, 0)
  for (;;) {
    const length = libc.getdents64(fd, scratch, scratch.length)
    // ENOENT is said of a directory that was removed while it was open: there is nothing in it.
    if (length === 0 || (length < 0 && libc.errno() === ERRNO.ENOENT)) return
    if (length < 0) failed('getdents64')
    yield takeApart(scratch, length)
  }
}

/** All names at once. */
export function readDirectory(fd: number): DirectoryItem[] {
  const items: DirectoryItem[] = []
  for (const batch of readBatches(fd)) for (const item of batch) items.push(item)
  return items
}

function takeApart(buffer: Buffer, length: number): DirectoryItem[] {
  const items: DirectoryItem[] = []
  for (let at = 0; at < length; ) {
    const start = at + DIRENT.name
    const name = fromBytes(buffer, start, buffer.indexOf(0, start))
    if (name !== '.' && name !== '..') items.push({ name, kind: KINDS[buffer[at + DIRENT.type]!] ?? null })
    at += buffer.readUInt16LE(at + DIRENT.recordLength)
  }
  return items
}
