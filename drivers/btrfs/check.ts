/**
 * Reading a base from end to end: its tree is put together again from what is on disk, and its digest compared.
 */
import { closeSync, constants, openSync, readSync } from 'node:fs'
import {
  type BaseId,
  type ByteString,
  type Content,
  type Directory,
  type Inode,
  IntegrityError,
  isErrno,
  type NonDirectory,
  NotFoundError,
  openScanned,
  type ScannedEntry,
  scanDirectory,
  TreeImage,
  toGrootError,
  type VerityDigest,
  VerityHasher,
  type Xattrs,
} from '../../lib/driver/kit.js'
import type { Base } from './bases.js'

const MAX_INLINE_BYTES = 64 // what a tree holds itself
const READ_BYTES = 1024 * 1024

/**
 * @param path of the base's subvolume
 * @param digest of the composefs image of its tree
 * @throws {IntegrityError} `base-damaged` @throws {NotFoundError} `base-missing`
 */
export async function checkTree(id: BaseId, base: Base, path: string, digest: VerityDigest): Promise<void> {
  const root = openTop(id, path)
  try {
    const reader = new TreeReader(root)
    for (const entry of scanDirectory(path)) {
      reader.add(entry)
      await new Promise(setImmediate)
    }
    // What was left to its owner is another tree than the image's, and all that can be said is that it was read.
    if (base.ignoresOwnership) return
    const found = new TreeImage({ root: reader.tree() }).digest()
    if (found !== digest) throw damaged(id, `it measures ${found}, ${digest} was made`)
  } catch (error) {
    if (!isErrno(error)) throw error
    if (error.code !== 'EIO') throw toGrootError(error, `Cannot check base "${id}"`)
    throw damaged(id, error.message, error)
  } finally {
    closeSync(root)
  }
}

function openTop(id: BaseId, path: string): number {
  try {
    return openSync(path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW)
  } catch (error) {
    if (!isErrno(error, 'ENOENT')) throw error
    throw new NotFoundError('base-missing', `Cannot check base "${id}": the driver does not have it`, {
      facts: { base: id },
      cause: error,
    })
  }
}

function damaged(id: BaseId, cause: string, thrown?: unknown): IntegrityError {
  return new IntegrityError('base-damaged', `Cannot use base "${id}": ${cause}`, {
    facts: { base: id, cause },
    cause: thrown,
  })
}

/** A tree of what is scanned, each directory before what is in it. */
class TreeReader {
  readonly #root: number
  readonly #directories = new Map<ByteString, Directory>()
  readonly #files = new Map<ByteString, NonDirectory>()
  readonly #buffer = Buffer.allocUnsafe(READ_BYTES)

  /** @param root descriptor of the top */
  constructor(root: number) {
    this.#root = root
  }

  tree(): Directory {
    return this.#directories.get('' as ByteString)!
  }

  add(entry: ScannedEntry): void {
    const inode = this.#inodeOf(entry)
    if (inode.kind === 'directory') this.#directories.set(entry.path, inode)
    else this.#files.set(entry.path, inode)
    if (entry.path === '') return
    const cut = entry.path.lastIndexOf('/')
    const parent = this.#directories.get(entry.path.slice(0, Math.max(cut, 0)) as ByteString)!
    parent.children.set(entry.path.slice(cut + 1) as ByteString, inode)
  }

  #inodeOf(entry: ScannedEntry): Inode {
    if (entry.linkTo !== null) return this.#files.get(entry.linkTo)!
    const { kind, mode, uid, gid, mtimeSeconds, mtimeNanoseconds, size, major, minor, target } = entry
    const metadata = {
      mode,
      uid,
      gid,
      mtimeSeconds,
      mtimeNanoseconds,
      xattrs: unescaped(entry.xattrs),
    }
    switch (kind) {
      case 'directory':
        return { ...metadata, kind, children: new Map() }
      case 'file':
        return { ...metadata, kind, size, content: this.#contentOf(entry) }
      case 'symlink':
        return { ...metadata, kind, target }
      case 'char':
      case 'block':
        return { ...metadata, kind, major, minor }
      case 'fifo':
      case 'socket':
        return { ...metadata, kind }
      default:
        return kind satisfies never
    }
  }

  #contentOf(entry: ScannedEntry): Content {
    if (entry.size === 0) return { kind: 'empty' }
    const fd = openScanned(this.#root, entry)
    try {
      if (entry.size <= MAX_INLINE_BYTES) {
        const length = readSync(fd, this.#buffer, 0, entry.size, 0)
        return { kind: 'inline', bytes: Uint8Array.from(this.#buffer.subarray(0, length)) }
      }
      const hasher = new VerityHasher()
      for (let length = readSync(fd, this.#buffer); length > 0; length = readSync(fd, this.#buffer))
        hasher.update(this.#buffer.subarray(0, length))
      return { kind: 'object', digest: hasher.digest() }
    } finally {
      closeSync(fd)
    }
  }
}

/** Attributes of overlays stand in directories with one more `overlay.` in their names; labels of the machine are none of ours. */
function unescaped(xattrs: Xattrs): Xattrs {
  const found = new Map<ByteString, ByteString>()
  for (const [name, value] of xattrs) {
    if (name === 'security.selinux') continue
    found.set(name.replace(/^(trusted|user)\.overlay\.overlay\./, '$1.overlay.') as ByteString, value)
  }
  return found
}
