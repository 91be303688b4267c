/**
 * Writing a finished tree to a fresh directory, exactly, or not at all.
 *
 * Everything goes by descriptors of directories that were made here a moment ago, so no name of the tree can lead
 * anywhere else, and depth does not matter. What an entry is made of is written by write-entry.ts; here is the order:
 * directories first, what is in them, then their own metadata, for whatever is made in a directory changes its times.
 */
import { type ByteString, byteString, EMPTY, printable } from '../bytes.js'
import { BugError, type GrootError, isErrno, toGrootError } from '../errors.js'
import { cString, pathString } from '../linux/c-string.js'
import { AT_FDCWD, O_DIRECTORY, O_NOFOLLOW, O_PATH } from '../linux/constants.js'
import { DirectoryChain } from '../linux/directory-chain.js'
import { withPath } from '../linux/errno.js'
import {
  changeMode,
  changeModeAt,
  close,
  linkAt,
  makeDirectoryAt,
  openAt,
  openDirectoryAt,
} from '../linux/files.js'
import { runInSlices, type Work } from '../linux/slices.js'
import type { ObjectReader } from '../store/objects.js'
import { entryRefused, linkRefused, shown } from './entry-refusals.js'
import type { Directory, Inode, NonDirectory, Tree } from './model.js'
import { EntryWriter, type Skipped } from './write-entry.js'

export interface MaterialiseOptions {
  /**
   * Leaves out what takes privileges: everything belongs to the caller, devices and `security.*` and `trusted.*`
   * attributes are not made. Without it they are made or the whole is refused.
   */
  readonly ignoreOwnership: boolean
  /**
   * Writes what an overlay mounted by groot will have as its lower or upper layer. Character devices 0:0 would be
   * whiteouts there, so they are left out; `user.overlay.*` attributes mean nothing to such an overlay and stay as they
   * are. Elsewhere they are escaped, as `trusted.overlay.*` is everywhere: any directory may become a layer of somebody's.
   */
  readonly underOverlay?: boolean
  /** The directory is there already, and empty. */
  readonly intoEmpty?: boolean
  readonly signal: AbortSignal
  /** Told of each thing that was left out. */
  readonly onSkipped?: Skipped
}

export interface Materialised {
  /** Names that were made, the top included. */
  readonly entries: number
  /** Bytes of contents, those of a file with several names once. */
  readonly bytes: number
}

/**
 * Writes a tree to a directory that does not exist yet. Not synced. Works in slices of a few milliseconds.
 *
 * After an error or an abort a part is left, for the caller to remove.
 *
 * @param directory in a place that nobody else can reach meanwhile; symlinks on the way are followed
 * @throws {UnsupportedError} `ownership-unsupported`: an owner, device or attribute that the caller may not make
 * @throws {SystemError} `value-unrepresentable`, `name-too-long`: what the filesystem cannot keep; `disk-full`; `system-call`
 * @throws {NotFoundError} `object-missing`
 * @throws {IntegrityError} `object-damaged`: an object of another size than the tree says
 */
export async function materialise(
  tree: Tree,
  objects: ObjectReader,
  directory: string,
  options: MaterialiseOptions,
): Promise<Materialised> {
  return await runInSlices(write(tree, objects, directory, options), options.signal)
}

function* write(
  tree: Tree,
  objects: ObjectReader,
  directory: string,
  options: MaterialiseOptions,
): Work<Materialised> {
  let work: TreeWork | null = null
  try {
    using chain = new DirectoryChain(
      options.intoEmpty === true ? openOwn(AT_FDCWD, pathString(directory)) : makeTop(directory),
    )
    const writer = new EntryWriter(objects, chain.rootFd, options)
    if (tree.root.children.size > 0) writer.probe()
    work = new TreeWork(chain, writer, tree.root)
    while (!(yield* work.step())) yield
    yield* work.settleModes()
    writer.finishTop(chain.rootFd, tree.root)
    return { entries: work.entries, bytes: writer.bytes }
  } catch (error) {
    throw withEntry(error, directory, work?.place ?? null)
  }
}

/** @param place path of the entry that was being written; null when there was not even the directory */
export function withEntry(error: unknown, directory: string, place: ByteString | null): GrootError {
  if (place === null) return toGrootError(error, `Cannot make directory "${directory}"`)
  const path = byteString(directory) + (place === EMPTY ? '' : `/${place}`)
  const named = isErrno(error) ? withPath(error, path as ByteString) : error
  return toGrootError(named, `Cannot write "${shown(place)}" of the tree`)
}

function makeTop(directory: string): number {
  const path = pathString(directory)
  makeDirectoryAt(AT_FDCWD, path, 0o700)
  return openOwn(AT_FDCWD, path)
}

/** Opens a directory that was just made. */
export function openOwn(directory: number, name: ReturnType<typeof cString>): number {
  try {
    return openDirectoryAt(directory, name)
  } catch (error) {
    // An umask may have taken the owner's bits.
    if (!isErrno(error, 'EACCES')) throw error
    changeModeAt(directory, name, 0o700)
    return openDirectoryAt(directory, name)
  }
}

interface Frame {
  readonly directory: Directory
  readonly path: ByteString
  readonly children: Iterator<[ByteString, Inode]>
}

/** Where the writing of a tree stands. */
class TreeWork {
  /** Names made so far. */
  entries = 1
  /** Path of the entry that is being written. */
  place = EMPTY
  readonly #chain: DirectoryChain
  readonly #writer: EntryWriter
  readonly #frames: Frame[]
  /** First path of every file that was made; null for one that was left out. */
  readonly #made = new Map<NonDirectory, ByteString | null>()
  /** Directories that get their last mode at the end, and all above them. */
  readonly #unsettled = new Set<Directory>()

  constructor(chain: DirectoryChain, writer: EntryWriter, root: Directory) {
    this.#chain = chain
    this.#writer = writer
    this.#frames = [{ directory: root, path: EMPTY, children: root.children.entries() }]
  }

  /** Writes one entry or ends one directory. @returns whether all is written */
  *step(): Work<boolean> {
    const frame = this.#frames[this.#frames.length - 1]!
    const next = frame.children.next()
    if (next.done) {
      if (this.#frames.length === 1) return true
      this.#endDirectory(frame)
      return false
    }
    const [name, inode] = next.value
    checkName(name, frame.path)
    this.place = join(frame.path, name)
    const cName = cString(name)
    if (inode.kind === 'directory') this.#beginDirectory(name, cName, inode)
    else if (this.#made.has(inode)) this.#link(cName, inode)
    else if (yield* this.#writer.write(this.#chain.fd, cName, inode, this.place))
      this.#note(inode, this.place)
    else this.#made.set(inode, null)
    return false
  }

  #note(inode: NonDirectory, path: ByteString): void {
    this.entries++
    this.#made.set(inode, path)
  }

  #beginDirectory(name: ByteString, cName: ReturnType<typeof cString>, inode: Directory): void {
    try {
      makeDirectoryAt(this.#chain.fd, cName, 0o700)
    } catch (error) {
      throw entryRefused(error, inode, this.place)
    }
    this.#chain.enter(name, openOwn(this.#chain.fd, cName))
    this.#frames.push({ directory: inode, path: this.place, children: inode.children.entries() })
    this.entries++
  }

  /**
   * Sets the metadata of a directory that is full.
   *
   * A mode without u+rwx waits until all is written: further names of files in it may still be to come, and without
   * privileges they could not be linked from there any more.
   */
  #endDirectory(frame: Frame): void {
    this.place = frame.path
    this.#chain.openParent()
    const isSettled = this.#writer.finishDirectory(this.#chain.fd, frame.directory, frame.path)
    this.#chain.leave()
    this.#frames.pop()
    if (!isSettled || this.#unsettled.has(frame.directory)) {
      this.#unsettled.add(frame.directory)
      this.#unsettled.add(this.#frames[this.#frames.length - 1]!.directory)
    }
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
    this.entries++
  }

  /** Goes through the directories that wait for their mode, deepest first. */
  *settleModes(): Work<void> {
    const [top] = this.#frames
    this.place = EMPTY
    const frames = [{ directory: top!.directory, children: top!.directory.children.entries() }]
    for (;;) {
      const frame = frames[frames.length - 1]!
      const next = this.#unsettled.has(frame.directory)
        ? frame.children.next()
        : { done: true as const, value: null }
      if (next.done) {
        if (frames.length === 1) return
        this.#chain.openParent()
        changeMode(this.#chain.fd, frame.directory.mode)
        this.#chain.leave()
        frames.pop()
      } else if (next.value[1].kind === 'directory' && this.#unsettled.has(next.value[1])) {
        const [name, directory] = next.value
        this.#chain.enter(name, openDirectoryAt(this.#chain.fd, name))
        frames.push({ directory, children: directory.children.entries() })
      }
      yield
    }
  }
}

export function join(parent: ByteString, name: ByteString): ByteString {
  return parent === EMPTY ? name : (`${parent}/${name}` as ByteString)
}

/** Merging gives clean names only. Here a wrong one would leave the directory, so it is looked at once more. */
export function checkName(name: ByteString, parent: ByteString): void {
  if (name !== '' && name !== '.' && name !== '..' && !name.includes('/') && !name.includes('\0')) return
  const shown = printable(name)
  throw new BugError(
    `Cannot write an entry named "${shown}" in "${printable(parent)}": no file can have that name`,
    {
      facts: { name: shown, parent: printable(parent) },
    },
  )
}

const LONGEST_PATH = 4000 // below PATH_MAX

/** linkat(2) from a path of any length below a directory. */
export function linkFrom(
  root: number,
  path: ByteString,
  directory: number,
  name: ReturnType<typeof cString>,
): void {
  let from = root
  let rest = path
  try {
    while (rest.length > LONGEST_PATH) {
      const cut = rest.lastIndexOf('/', LONGEST_PATH)
      const next = openAt(from, rest.slice(0, cut) as ByteString, O_PATH | O_DIRECTORY | O_NOFOLLOW)
      if (from !== root) close(from)
      from = next
      rest = rest.slice(cut + 1) as ByteString
    }
    linkAt(from, rest, directory, name)
  } finally {
    if (from !== root) close(from)
  }
}
