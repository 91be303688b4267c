/**
 * Making another tree of a directory that holds one already: what is the same stays, and only the difference is written.
 *
 * Nothing is read of the directory, for what is in it is known: it was written from the first tree and not changed since. As in
 * materialise.ts everything goes by descriptors, in a place that nobody else can reach.
 */
import { type ByteString, EMPTY } from '../bytes.js'
import { isErrno } from '../errors.js'
import { cString, pathString } from '../linux/c-string.js'
import { AT_FDCWD } from '../linux/constants.js'
import { DirectoryChain } from '../linux/directory-chain.js'
import { changeMode, makeDirectoryAt, openDirectoryAt, removeDirectoryAt, unlinkAt } from '../linux/files.js'
import { runInSlices, type Work } from '../linux/slices.js'
import { removeXattr } from '../linux/xattr.js'
import type { ObjectReader } from '../store/objects.js'
import { entryRefused, linkRefused } from './entry-refusals.js'
import { checkName, join, linkFrom, type MaterialiseOptions, openOwn, withEntry } from './materialise.js'
import type { Directory, Inode, NonDirectory, Tree } from './model.js'
import { hasSameMetadata, type Kept, keptFiles } from './same-entry.js'
import { EntryWriter } from './write-entry.js'

/**
 * Turns a directory that was written from one tree into another tree. Not synced. Works in slices of a few milliseconds.
 *
 * Needs root, or all of the rights that root has to files. After an error or an abort the directory is neither the one tree nor
 * the other.
 *
 * @param before what the directory holds, exactly
 * @throws as materialise() does
 */
export async function updateTree(
  before: Tree,
  tree: Tree,
  objects: ObjectReader,
  directory: string,
  options: MaterialiseOptions,
): Promise<void> {
  await runInSlices(update(before, tree, objects, directory, options), options.signal)
}

function* update(
  before: Tree,
  tree: Tree,
  objects: ObjectReader,
  directory: string,
  options: MaterialiseOptions,
): Work<void> {
  let work: TreeUpdate | null = null
  try {
    using chain = new DirectoryChain(openOwn(AT_FDCWD, pathString(directory)))
    const kept = keptFiles(before, tree)
    const writer = new EntryWriter(objects, chain.rootFd, options)
    writer.probe()
    work = new TreeUpdate(chain, writer, kept, before, tree)
    while (!(yield* work.step())) yield
  } catch (error) {
    throw withEntry(error, directory, work?.place ?? null)
  }
}

interface Frame {
  readonly directory: Directory
  /** What is there; null for a directory that was just made. */
  readonly before: Directory | null
  readonly path: ByteString
  readonly children: Iterator<[ByteString, Inode]>
  /** Names that have to go before others are made. */
  readonly leaving: Iterator<[ByteString, Inode]> | null
  /** Whether something was made or removed in it, which changes its times. */
  isTouched: boolean
}

/** Where the work stands. */
class TreeUpdate {
  /** Path of the entry that is being written. */
  place = EMPTY
  readonly #chain: DirectoryChain
  readonly #writer: EntryWriter
  readonly #frames: Frame[]
  readonly #kept: ReadonlyMap<NonDirectory, Kept>
  /** First path of every file that is made or kept; null for one that was left out. */
  readonly #made = new Map<NonDirectory, ByteString | null>()

  constructor(
    chain: DirectoryChain,
    writer: EntryWriter,
    kept: ReadonlyMap<NonDirectory, Kept>,
    before: Tree,
    tree: Tree,
  ) {
    this.#chain = chain
    this.#writer = writer
    this.#kept = kept
    this.#frames = [frameOf(tree.root, before.root, EMPTY)]
    // The writer has looked at it by trying.
    this.#frames[0]!.isTouched = true
  }

  /** Does one name or ends one directory. @returns whether all is done */
  *step(): Work<boolean> {
    const frame = this.#frames[this.#frames.length - 1]!
    const leaving = frame.leaving?.next()
    if (leaving?.done === false) {
      const [name, inode] = leaving.value
      if (!this.#stays(frame, name, inode)) yield* this.#remove(frame, name, inode)
      return false
    }
    const next = frame.children.next()
    if (!next.done) {
      yield* this.#child(frame, ...next.value)
      return false
    }
    this.#endDirectory(frame)
    return this.#frames.length === 0
  }

  #stays(frame: Frame, name: ByteString, old: Inode): boolean {
    const inode = frame.directory.children.get(name)
    if (inode === undefined) return false
    if (old.kind === 'directory' || inode.kind === 'directory') return old.kind === inode.kind
    return this.#kept.has(inode)
  }

  *#child(frame: Frame, name: ByteString, inode: Inode): Work<void> {
    checkName(name, frame.path)
    this.place = join(frame.path, name)
    const cName = cString(name)
    if (inode.kind === 'directory') return this.#directory(frame, name, cName, inode)
    const kept = this.#kept.get(inode)
    if (kept !== undefined) return this.#keep(cName, inode, kept)
    this.#touch(frame)
    if (this.#made.has(inode)) this.#link(cName, inode)
    else {
      const isMade = yield* this.#writer.write(this.#chain.fd, cName, inode, this.place)
      this.#made.set(inode, isMade ? this.place : null)
    }
  }

  #keep(name: ReturnType<typeof cString>, inode: NonDirectory, { before, isSame }: Kept): void {
    if (isSame || this.#made.has(inode)) return
    this.#made.set(inode, this.place)
    this.#writer.rewrite({ directory: this.#chain.fd, name }, before.xattrs, inode, this.place)
  }

  #directory(frame: Frame, name: ByteString, cName: ReturnType<typeof cString>, inode: Directory): void {
    const old = frame.before?.children.get(name)
    if (old?.kind === 'directory') {
      this.#chain.enter(name, openDirectoryAt(this.#chain.fd, cName))
      this.#frames.push(frameOf(inode, old, this.place))
      return
    }
    this.#touch(frame)
    try {
      makeDirectoryAt(this.#chain.fd, cName, 0o700)
    } catch (error) {
      throw entryRefused(error, inode, this.place)
    }
    this.#chain.enter(name, openOwn(this.#chain.fd, cName))
    this.#frames.push(frameOf(inode, null, this.place))
  }

  #endDirectory({ directory, before, path, isTouched }: Frame): void {
    this.place = path
    const { fd } = this.#chain
    if (before === null) {
      // Who has all rights finds its way in anyway, so the mode need not wait for what is linked from here later.
      if (!this.#writer.finishDirectory(fd, directory, path)) changeMode(fd, directory.mode)
    } else if (isTouched || !hasSameMetadata(before, directory)) {
      this.#writer.rewrite(fd, before.xattrs, directory, path)
    }
    this.#frames.pop()
    if (this.#frames.length > 0) this.#chain.leave()
  }

  /** What an existing directory would hand on to all that is made in it is taken off until it is full. */
  #touch(frame: Frame): void {
    if (frame.isTouched) return
    frame.isTouched = true
    if (frame.before === null) return
    for (const name of frame.before.xattrs.keys()) {
      if (name.startsWith('system.posix_acl_')) removeIfThere(this.#chain.fd, name)
    }
    changeMode(this.#chain.fd, 0o700)
  }

  /** Gives a file that was made already a further name. */
  #link(name: ReturnType<typeof cString>, inode: NonDirectory): void {
    const first = this.#made.get(inode)
    if (first === null || first === undefined) {
      this.#writer.skipLink(inode, this.place)
      return
    }
    try {
      linkFrom(this.#chain.rootFd, first, this.#chain.fd, name)
    } catch (error) {
      throw linkRefused(error, inode, this.place)
    }
  }

  /** Removes a name of the first tree, with all that is below. */
  *#remove(frame: Frame, name: ByteString, inode: Inode): Work<void> {
    this.place = join(frame.path, name)
    this.#touch(frame)
    if (inode.kind !== 'directory') return unlinkIfThere(this.#chain.fd, name)
    const levels = [this.#enter(name, inode)]
    for (let level = levels[0]; level !== undefined; level = levels[levels.length - 1]) {
      const next = level.children.next()
      if (next.done) {
        this.#chain.leave()
        removeDirectoryAt(this.#chain.fd, level.name)
        levels.pop()
      } else if (next.value[1].kind === 'directory') {
        levels.push(this.#enter(next.value[0], next.value[1]))
      } else {
        unlinkIfThere(this.#chain.fd, next.value[0])
      }
      yield
    }
  }

  #enter(name: ByteString, { children }: Directory) {
    this.#chain.enter(name, openDirectoryAt(this.#chain.fd, name))
    return { name, children: children.entries() }
  }
}

function frameOf(directory: Directory, before: Directory | null, path: ByteString): Frame {
  return {
    directory,
    before,
    path,
    children: directory.children.entries(),
    leaving: before?.children.entries() ?? null,
    isTouched: false,
  }
}

/** What the first tree has may have been left out when it was written. */
function unlinkIfThere(directory: number, name: ByteString): void {
  try {
    unlinkAt(directory, name)
  } catch (error) {
    if (!isErrno(error, 'ENOENT')) throw error
  }
}

function removeIfThere(fd: number, name: ByteString): void {
  try {
    removeXattr(fd, name)
  } catch (error) {
    if (!isErrno(error, 'ENODATA', 'ENOTSUP')) throw error
  }
}
