/**
 * Reading a directory of this machine: what is in it, with all that a tree would hold of it, in one fixed order.
 *
 * Symlinks are never followed and mounts never entered. Contents are not read here: openScanned() gives a descriptor.
 * Nothing is written and no tree is built.
 */
import { type ByteString, byteString, compareBytes, EMPTY, printable } from '../bytes.js'
import { ImageError, IntegrityError, isErrno } from '../errors.js'
import { cString } from '../linux/c-string.js'
import { O_DIRECTORY, O_NOFOLLOW, O_NONBLOCK, O_PATH, O_RDONLY } from '../linux/constants.js'
import { DirectoryChain } from '../linux/directory-chain.js'
import { withPath } from '../linux/errno.js'
import { close, openAt, openDirectory, openDirectoryAt, readLinkAt } from '../linux/files.js'
import { readDirectory } from '../linux/read-directory.js'
import { type FileKind, type FileStat, statAt, statDescriptor } from '../linux/stat.js'
import { xattrsAt, xattrsOf } from '../linux/xattr.js'
import { NO_XATTRS, type Xattrs } from './model.js'

export interface ScannedEntry {
  /** Components joined by slashes; empty for the top. */
  readonly path: ByteString
  readonly kind: FileKind
  /** Permission bits, set-id and sticky bits: 0 to 0o7777. */
  readonly mode: number
  readonly uid: number
  readonly gid: number
  readonly mtimeSeconds: bigint
  readonly mtimeNanoseconds: number
  /** Bytes of a regular file, 0 for all else. */
  readonly size: number
  /** Of a device, else 0. */
  readonly major: number
  readonly minor: number
  /** Of a symlink, verbatim; else empty. */
  readonly target: ByteString
  readonly xattrs: Xattrs
  /** The first path that was met of the same file, when this is a further name of it. */
  readonly linkTo: ByteString | null
  /** Of 512 bytes. */
  readonly blocks: number
  /** With `inode`: which file it was, for openScanned(). */
  readonly device: number
  readonly inode: bigint
}

/**
 * Goes through a directory: the top first, each directory before what is in it, names in byte order.
 *
 * @param path symlinks on the way and at its end are followed, for it is the caller's word; below, none are
 * @throws {ImageError} `entry-refused` at a mount point below the top
 * @throws {IntegrityError} `source-changed` when something vanishes or changes its kind meanwhile
 * @throws an errno error that names the entry, when it cannot be read
 */
export function* scanDirectory(path: string): Generator<ScannedEntry, void, void> {
  using chain = new DirectoryChain(openDirectory(cString(byteString(path))))
  const scan = new Scan(byteString(path), statDescriptor(chain.rootFd))
  yield scan.top(chain.rootFd)
  const levels = [{ path: EMPTY, names: namesOf(chain.rootFd) }]
  for (;;) {
    const level = levels[levels.length - 1]!
    const name = level.names.pop()
    if (name === undefined) {
      if (levels.length === 1) return
      levels.pop()
      chain.leave()
      continue
    }
    const entryPath = (level.path === EMPTY ? name : `${level.path}/${name}`) as ByteString
    const { entry, fd } = scan.visit(chain.fd, name, entryPath)
    if (fd !== null) {
      chain.enter(name, fd)
      levels.push({ path: entryPath, names: namesOf(fd) })
    }
    yield entry
  }
}

/**
 * Opens a regular file that a scan met, to read its content.
 *
 * @param root descriptor of the scanned directory
 * @throws {IntegrityError} `source-changed` when another file is there now, or this one changed
 */
export function openScanned(root: number, entry: ScannedEntry): number {
  const names = entry.path.split('/') as ByteString[]
  const last = names.pop()!
  let directory = root
  try {
    for (const name of names) {
      const next = openAt(directory, name, O_PATH | O_DIRECTORY | O_NOFOLLOW)
      if (directory !== root) close(directory)
      directory = next
    }
    // Without O_NONBLOCK a FIFO that took the place of the file would hold us for ever.
    const fd = openAt(directory, last, O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
    if (isUnchanged(statDescriptor(fd), entry)) return fd
    close(fd)
    throw changed(entry.path)
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENOTDIR', 'ELOOP', 'ENXIO')) throw changed(entry.path, error)
    throw isErrno(error) ? withPath(error, entry.path) : error
  } finally {
    if (directory !== root) close(directory)
  }
}

/** Names in byte order, last first, so that pop() takes them in order. */
function namesOf(fd: number): ByteString[] {
  const names = readDirectory(fd).map((item) => item.name)
  return names.sort((a, b) => compareBytes(b, a))
}

class Scan {
  readonly #path: ByteString
  readonly #top: FileStat
  /** First path of each file that has more names than one. */
  readonly #links = new Map<string, ByteString>()

  constructor(path: ByteString, top: FileStat) {
    this.#path = path
    this.#top = top
  }

  top(fd: number): ScannedEntry {
    return describe(EMPTY, this.#top, EMPTY, xattrsOf(fd), null)
  }

  /** @returns with a descriptor when it is a directory */
  visit(directory: number, name: ByteString, path: ByteString): { entry: ScannedEntry; fd: number | null } {
    try {
      const stat = statAt(directory, name)
      this.#refuseMount(stat, path)
      if (stat.kind === 'directory') return this.#visitDirectory(directory, name, path, stat)
      const target = stat.kind === 'symlink' ? readLinkAt(directory, name) : EMPTY
      const entry = describe(path, stat, target, xattrsAt(directory, name), this.#firstPath(stat, path))
      return { entry, fd: null }
    } catch (error) {
      if (isErrno(error, 'ENOENT', 'ENOTDIR', 'ELOOP', 'EINVAL')) throw changed(path, error)
      throw isErrno(error) ? withPath(error, path) : error
    }
  }

  #visitDirectory(directory: number, name: ByteString, path: ByteString, listed: FileStat) {
    const fd = openDirectoryAt(directory, name)
    try {
      const stat = statDescriptor(fd)
      if (stat.inode !== listed.inode || stat.device !== listed.device) throw changed(path)
      return { entry: describe(path, stat, EMPTY, xattrsOf(fd), null), fd }
    } catch (error) {
      close(fd)
      throw error
    }
  }

  #firstPath(stat: FileStat, path: ByteString): ByteString | null {
    if (stat.nlink < 2) return null
    const identity = `${stat.device}:${stat.inode}`
    const first = this.#links.get(identity)
    if (first === undefined) this.#links.set(identity, path)
    return first ?? null
  }

  #refuseMount(stat: FileStat, path: ByteString): void {
    // Kernels that tell no mount ids leave only the device to go by.
    const hasIds = stat.mountId !== null && this.#top.mountId !== null
    const isSame = hasIds ? stat.mountId === this.#top.mountId : stat.device === this.#top.device
    if (isSame) return
    const [directory, mount] = [printable(this.#path), printable(path)]
    throw new ImageError(
      'entry-refused',
      `Cannot read directory "${directory}": something is mounted on "${mount}" in it; unmount it or copy the directory`,
      { facts: { directory, entry: mount } },
    )
  }
}

function describe(
  path: ByteString,
  stat: FileStat,
  target: ByteString,
  xattrs: Xattrs,
  linkTo: ByteString | null,
): ScannedEntry {
  return {
    path,
    kind: stat.kind,
    mode: stat.mode,
    uid: stat.uid,
    gid: stat.gid,
    mtimeSeconds: stat.mtimeSeconds,
    mtimeNanoseconds: stat.mtimeNanoseconds,
    size: stat.kind === 'file' ? stat.size : 0,
    major: stat.kind === 'char' || stat.kind === 'block' ? stat.major : 0,
    minor: stat.kind === 'char' || stat.kind === 'block' ? stat.minor : 0,
    target,
    xattrs: xattrs.size === 0 ? NO_XATTRS : xattrs,
    linkTo,
    blocks: stat.blocks,
    device: stat.device,
    inode: stat.inode,
  }
}

function isUnchanged(stat: FileStat, entry: ScannedEntry): boolean {
  return (
    stat.kind === 'file' &&
    stat.inode === entry.inode &&
    stat.device === entry.device &&
    stat.size === entry.size &&
    stat.mtimeSeconds === entry.mtimeSeconds &&
    stat.mtimeNanoseconds === entry.mtimeNanoseconds
  )
}

function changed(path: ByteString, cause?: unknown): IntegrityError {
  const shown = printable(path)
  return new IntegrityError(
    'source-changed',
    `Cannot read "${shown}": it was changed while the directory was being read`,
    {
      facts: { path: shown },
      cause,
      temporary: true,
    },
  )
}
