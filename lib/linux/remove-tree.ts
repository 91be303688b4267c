/**
 * Removing a directory with all that is in it, whatever somebody made of it.
 *
 * Goes by descriptors: symlinks are removed and never followed, names may be of any length and depth. Stops at a mount
 * point. May be called again after any failure, and what is gone already counts as removed.
 */
import { basename, dirname, resolve } from 'node:path'
import { type ByteString, byteString, printable } from '../bytes.js'
import { BugError, BusyError, isErrno } from '../errors.js'
import { descriptorPath, pathString } from './c-string.js'
import { AT_FDCWD } from './constants.js'
import { DirectoryChain } from './directory-chain.js'
import { withPath } from './errno.js'
import {
  changeMode,
  changeModeAt,
  close,
  openDirectory,
  openDirectoryAt,
  readLinkAt,
  removeDirectoryAt,
  unlinkAt,
} from './files.js'
import { mountPointsBelow } from './mount-points.js'
import { type DirectoryItem, readBatches } from './read-directory.js'
import { removeSubvolume } from './remove-subvolume.js'
import { runAtOnce, runInSlices, type Work } from './slices.js'
import { mountIdFromProc, mountIdOf, statDescriptor } from './stat.js'

const MAX_ROUNDS = 16 // somebody who goes on writing into the tree must not keep us for ever
const MAX_KEPT = 4096 // names of directories in one directory, so that memory does not grow with what somebody made

/**
 * Removes a file or a whole tree. What is not there counts as removed.
 *
 * Directories of the caller's that forbid it to list or change them are opened up (u+rwx) on the way.
 *
 * @param path symlinks on the way are followed, the last name is not
 * @throws {BusyError} `mount-busy` when something is mounted at or below it, before anything is removed; `tree-changed`
 *   when somebody moves directories about meanwhile
 * @throws an errno error that names the entry
 */
export function removeTree(path: string): void {
  runAtOnce(removal(path))
}

/** The same in slices of a few milliseconds. After an abort a part is left, which can be removed later. */
export function removeTreeInSlices(path: string, signal?: AbortSignal): Promise<void> {
  return runInSlices(removal(path), signal)
}

/**
 * The same for what is given up whatever happens: a mount point is met on the way, when a part is gone already. Its costs
 * do not grow with what is mounted elsewhere.
 */
export function removeAbandonedTree(path: string, signal?: AbortSignal): Promise<void> {
  return runInSlices(removal(path, false), signal)
}

function* removal(path: string, looksAhead = true): Work<void> {
  const absolute = resolve(path)
  const name = byteString(basename(absolute))
  if (path === '' || name === '') throw new BugError(`Cannot remove "${path}": it is no name in a directory`)
  const parent = openIfThere(dirname(absolute))
  if (parent === null) return
  try {
    if (looksAhead) refuseMounts(parent, name, byteString(absolute))
    yield* new Removal(byteString(absolute), parent, name).run()
  } finally {
    close(parent)
  }
}

function refuseMounts(parent: number, name: ByteString, path: ByteString): void {
  const real = `${readLinkAt(AT_FDCWD, descriptorPath(parent))}/${name}`.replace(/^\/\//, '/') as ByteString
  const [mount] = mountPointsBelow(real)
  if (mount !== undefined) throw mountBusy(path, mount)
}

function openIfThere(path: string): number | null {
  try {
    return openDirectory(pathString(path))
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENOTDIR')) return null
    throw error
  }
}

/** A directory that is being emptied. */
interface Level {
  readonly name: ByteString
  /** Directories in it that are still to be removed. */
  directories: DirectoryItem[]
  /** Whether all of its names were seen. */
  complete: boolean
  /** How often all were seen, and still there was something left. */
  rounds: number
}

/** For messages: spelled out only when there is one. */
type Place = () => ByteString

class Removal {
  readonly #path: ByteString
  readonly #parent: number
  readonly #name: ByteString
  readonly #mountId: number
  readonly #ownUid = process.geteuid?.() ?? 0

  constructor(path: ByteString, parent: number, name: ByteString) {
    this.#path = path
    this.#parent = parent
    this.#name = name
    this.#mountId = mountIdOf(parent)
  }

  *run(): Work<void> {
    const place = () => this.#path
    for (let round = 0; ; round++) {
      const fd = this.#removeOrOpen(this.#parent, { name: this.#name, kind: null }, place)
      if (fd === null) return
      try {
        yield* this.#empty(fd)
      } catch (error) {
        // The way back out of a directory is gone where another removed it too: begin again with what is left.
        if (!isErrno(error, 'ENOENT') || round >= MAX_ROUNDS) throw error
      }
      if (this.#removeEmptied(this.#parent, this.#name, place, round)) return
    }
  }

  /** Removes all below a directory, deepest first. */
  *#empty(fd: number): Work<void> {
    using chain = new DirectoryChain(fd)
    const levels: Level[] = [yield* this.#sweep(chain, this.#name)]
    for (;;) {
      yield
      const level = levels[levels.length - 1]!
      const item = level.directories.pop()
      if (item !== undefined) {
        const child = this.#removeOrOpen(chain.fd, item, () => this.#below(chain.pathTo(item.name)))
        if (child === null) continue
        chain.enter(item.name, child)
        levels.push(yield* this.#sweep(chain, item.name))
      } else if (!level.complete) {
        levels[levels.length - 1] = { ...(yield* this.#sweep(chain, level.name)), rounds: level.rounds }
      } else if (levels.length === 1) {
        return
      } else if (
        this.#removeEmptied(chain.openParent(), level.name, () => this.#below(chain.path()), level.rounds)
      ) {
        chain.leave()
        levels.pop()
      } else {
        level.complete = false
        level.rounds++
      }
    }
  }

  /** Removes what is no directory from the deepest directory, and remembers some of the directories. */
  *#sweep(chain: DirectoryChain, name: ByteString): Work<Level> {
    const directories: DirectoryItem[] = []
    for (const batch of readBatches(chain.fd)) {
      for (const item of batch) {
        if (item.kind === 'directory') {
          directories.push(item)
          continue
        }
        const fd = this.#removeOrOpen(chain.fd, item, () => this.#below(chain.pathTo(item.name)))
        if (fd !== null) {
          close(fd)
          directories.push(item)
        }
        yield
      }
      if (directories.length >= MAX_KEPT) return { name, directories, complete: false, rounds: 0 }
    }
    return { name, directories, complete: true, rounds: 0 }
  }

  /** Removes what is not a directory; opens what is one. @returns null when it is gone */
  #removeOrOpen(directory: number, item: DirectoryItem, place: Place): number | null {
    // More than once, for somebody may replace a file by a directory or the other way round between two calls.
    for (let attempt = 0; ; attempt++) {
      try {
        if (item.kind === 'directory' || item.kind === null || attempt > 0) {
          const opened = this.#open(directory, item.name, place)
          if (opened !== null) return opened.fd
        }
        unlinkAt(directory, item.name)
        return null
      } catch (error) {
        if (isErrno(error, 'ENOENT')) return null
        if (isErrno(error, 'EBUSY')) throw mountBusy(this.#path, place(), error)
        if (attempt > 2 || !isErrno(error, 'EISDIR')) throw isErrno(error) ? withPath(error, place()) : error
      }
    }
  }

  /**
   * Opens a directory that can be listed and changed.
   *
   * @returns null when it is no directory; without a descriptor when it was a subvolume and is gone already
   */
  #open(directory: number, name: ByteString, place: Place): { fd: number | null } | null {
    const fd = openOrPermit(directory, name)
    if (fd === null) return null
    try {
      const stat = statDescriptor(fd)
      if ((stat.mountId ?? mountIdFromProc(fd)) !== this.#mountId) throw mountBusy(this.#path, place())
      if (removeSubvolume(directory, name, fd, stat)) {
        close(fd)
        return { fd: null }
      }
      if (stat.uid === this.#ownUid && (stat.mode & 0o700) !== 0o700) changeMode(fd, 0o700)
      return { fd }
    } catch (error) {
      close(fd)
      throw error
    }
  }

  /** @returns false when something is in it again and it has to be emptied once more */
  #removeEmptied(directory: number, name: ByteString, place: Place, rounds: number): boolean {
    try {
      removeDirectoryAt(directory, name)
      return true
    } catch (error) {
      if (isErrno(error, 'ENOENT')) return true
      if (isErrno(error, 'EBUSY')) throw mountBusy(this.#path, place(), error)
      if (isErrno(error, 'ENOTEMPTY', 'EEXIST') && rounds < MAX_ROUNDS) return false
      throw isErrno(error) ? withPath(error, place()) : error
    }
  }

  #below(path: ByteString): ByteString {
    return `${this.#path}/${path}` as ByteString
  }
}

function openOrPermit(directory: number, name: ByteString): number | null {
  try {
    return openDirectoryAt(directory, name)
  } catch (error) {
    if (isErrno(error, 'ENOTDIR', 'ELOOP')) return null
    if (!isErrno(error, 'EACCES')) throw error
    changeModeAt(directory, name, 0o700)
    return openDirectoryAt(directory, name)
  }
}

function mountBusy(tree: ByteString, mount: ByteString, cause?: unknown): BusyError {
  const [path, place] = [printable(tree), printable(mount)]
  return new BusyError(
    'mount-busy',
    `Cannot remove "${path}": something is mounted on "${place}"; unmount it first`,
    {
      facts: { path, mount: place },
      cause,
    },
  )
}
