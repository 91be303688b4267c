/**
 * A way down a directory tree, of any depth, with few descriptors and no long paths.
 *
 * The deepest directories stay open. One that was closed on the way down is opened again through `..` on the way up and
 * compared with what was left: when somebody moved a directory meanwhile, the way back ends in an error and not in
 * another place.
 */
import { type ByteString, byteString, printable } from '../bytes.js'
import { BusyError } from '../errors.js'
import { O_DIRECTORY, O_NOFOLLOW, O_RDONLY } from './constants.js'
import { close, openAt } from './files.js'
import { statDescriptor } from './stat.js'

interface Level {
  /** -1 while closed. */
  fd: number
  /** Which directory it was, known once it was closed. */
  device: number
  inode: bigint
  readonly name: ByteString
}

const OPEN_LEVELS = 64 // deeper than nearly all real trees, and far below any limit of descriptors

export class DirectoryChain implements Disposable {
  readonly #levels: Level[]
  readonly #openLevels: number
  /** Index of the highest level that is open below the first. */
  #firstOpen = 1

  /**
   * @param rootFd descriptor of the top; closed with the chain
   * @param openLevels how many of the deepest stay open, at least 2; the top stays open always
   */
  constructor(rootFd: number, openLevels: number = OPEN_LEVELS) {
    this.#levels = [{ fd: rootFd, device: 0, inode: 0n, name: '' as ByteString }]
    this.#openLevels = Math.max(2, openLevels)
  }

  /** Directories below the top: 0 at the top itself. */
  get depth(): number {
    return this.#levels.length - 1
  }

  /** Descriptor of the deepest directory. */
  get fd(): number {
    return this.#levels[this.#levels.length - 1]!.fd
  }

  get rootFd(): number {
    return this.#levels[0]!.fd
  }

  /** The way from the top to the deepest directory, components joined by slashes; empty at the top. */
  path(): ByteString {
    return this.#levels
      .slice(1)
      .map((level) => level.name)
      .join('/') as ByteString
  }

  /** The same with a further name. */
  pathTo(name: ByteString): ByteString {
    return (this.depth === 0 ? name : `${this.path()}/${name}`) as ByteString
  }

  /** Goes down into a directory of the deepest one. The chain closes the descriptor from now on. */
  enter(name: ByteString, fd: number): void {
    this.#levels.push({ fd, device: 0, inode: 0n, name })
    if (this.#levels.length - this.#firstOpen <= this.#openLevels) return
    const level = this.#levels[this.#firstOpen]!
    const stat = statDescriptor(level.fd)
    level.device = stat.device
    level.inode = stat.inode
    close(level.fd)
    level.fd = -1
    this.#firstOpen++
  }

  /** Makes sure that the directory above the deepest is open; while the deepest may still be searched. */
  openParent(): number {
    const parent = this.#levels[this.#levels.length - 2]!
    if (parent.fd === -1) {
      parent.fd = this.#reopen(parent)
      this.#firstOpen = this.#levels.length - 2
    }
    return parent.fd
  }

  /** Goes up and closes the deepest directory. At the top there is no up. */
  leave(): void {
    this.openParent()
    const level = this.#levels.pop()!
    close(level.fd)
  }

  /** Closes all descriptors. */
  [Symbol.dispose](): void {
    for (const level of this.#levels.splice(0)) if (level.fd !== -1) close(level.fd)
  }

  #reopen(level: Level): number {
    const fd = openAt(this.fd, byteString('..'), O_RDONLY | O_DIRECTORY | O_NOFOLLOW)
    const stat = statDescriptor(fd)
    if (stat.device === level.device && stat.inode === level.inode) return fd
    close(fd)
    const path = printable(this.path())
    throw new BusyError(
      'tree-changed',
      `Cannot finish with directory "${path}": it was moved elsewhere while it was being worked on`,
      { facts: { path } },
    )
  }
}
