/**
 * Writing one entry of a tree: its content and its metadata, exactly.
 *
 * The order is the point. Owner first: chown(2) clears set-id bits and drops security.capability. Then attributes: without
 * privileges a file that is read-only takes none. Then the mode, then the times, which all before may have changed.
 */
import { type ByteString, EMPTY, printable } from '../bytes.js'
import type { VerityDigest } from '../digest.js'
import { BugError, isErrno, toGrootError } from '../errors.js'
import { type CString, pathString } from '../linux/c-string.js'
import {
  AT_FDCWD,
  O_CREAT,
  O_EXCL,
  O_NOATIME,
  O_NOFOLLOW,
  O_NONBLOCK,
  O_RDONLY,
  O_WRONLY,
} from '../linux/constants.js'
import { ContentCopier } from '../linux/copy.js'
import {
  changeMode,
  changeModeAt,
  changeOwner,
  changeOwnerAt,
  close,
  makeNodeAt,
  openAt,
  setTimes,
  setTimesAt,
  symlinkAt,
  writeAllAt,
} from '../linux/files.js'
import type { Work } from '../linux/slices.js'
import { type FileStat, statAt, statDescriptor } from '../linux/stat.js'
import { statFilesystemOf } from '../linux/statfs.js'
import { removeXattr, removeXattrAt, setXattr, setXattrAt, xattrsAt, xattrsOf } from '../linux/xattr.js'
import type { ObjectReader } from '../store/objects.js'
import {
  entryRefused,
  objectDamaged,
  objectMissing,
  objectOfWrongSize,
  ownerRefused,
  refuseOutOfRange,
  shown,
  timeRefused,
  unrepresentable,
  xattrRefused,
} from './entry-refusals.js'
import { checkMode, type Probed, probeTop, removeInherited } from './fresh-top.js'
import type { Device, Directory, Inode, NonDirectory, RegularFile, Xattrs } from './model.js'

/** @param detail what it was: `0:42`, `char 1:3`, the attribute's name */
export type Skipped = (what: 'device' | 'xattr' | 'owner', path: ByteString, detail: string) => void

interface Owner {
  readonly uid: number
  readonly gid: number
}

/** What was just made: its descriptor, or its name where it cannot be opened. */
type Made = number | { readonly directory: number; readonly name: CString }

const NO_ROOM_BYTES = 1024 * 1024 // with less than this, "no space" is taken to speak of the disk
// Seconds that every filesystem can keep. At the very ends of its range the kernel drops the nanoseconds, so these and
// all beyond are read back.
const LATEST_COMMON_TIME = 0x7fff_ffffn

export class EntryWriter {
  /** Contents written so far. */
  bytes = 0
  readonly #objects: ObjectReader
  readonly #ignoreOwnership: boolean
  readonly #underOverlay: boolean
  readonly #onSkipped: Skipped | undefined
  readonly #copier = new ContentCopier()
  readonly #topFd: number
  #probed: Probed | null = null
  /** Whom new files belong to, as the first of them shows. */
  #newOwner: Owner | null = null
  #noAtime = O_NOATIME

  /** @param topFd the directory that the tree goes to, empty; what it inherited from its parent is taken off */
  constructor(
    objects: ObjectReader,
    topFd: number,
    options: {
      readonly ignoreOwnership: boolean
      readonly underOverlay?: boolean
      readonly onSkipped?: Skipped
    },
  ) {
    this.#objects = objects
    this.#topFd = topFd
    this.#ignoreOwnership = options.ignoreOwnership
    this.#underOverlay = options.underOverlay ?? false
    this.#onSkipped = options.onSkipped
    removeInherited(topFd)
  }

  /** Looks what the filesystem keeps, by trying: before anything is written, unless that is the top alone. */
  probe(): void {
    this.#probed = probeTop(this.#topFd)
  }

  /** Writes anything but a directory. @returns false when it was left out */
  *write(directory: number, name: CString, inode: NonDirectory, path: ByteString): Work<boolean> {
    if (inode.kind === 'file') {
      yield* this.#writeFile(directory, name, inode, path)
      return true
    }
    if (isDevice(inode)) {
      if (this.#skipsDevice(inode, path)) return false
      refuseOutOfRange(inode, path)
    }
    try {
      if (inode.kind === 'symlink') symlinkAt(inode.target, directory, name)
      else if (isDevice(inode)) makeNodeAt(directory, name, inode.kind, 0o600, inode.major, inode.minor)
      else makeNodeAt(directory, name, inode.kind, 0o600)
    } catch (error) {
      throw entryRefused(error, inode, path)
    }
    this.#finish({ directory, name }, inode, path, inode.mode)
    return true
  }

  /** A further name of something that was left out is left out too. */
  skipLink(inode: NonDirectory, path: ByteString): void {
    if (isDevice(inode)) this.#skipsDevice(inode, path)
  }

  /** Sets the metadata of a full directory. @returns false when the caller has to set its mode once all is written */
  finishDirectory(fd: number, inode: Directory, path: ByteString): boolean {
    const isSettled = (inode.mode & 0o700) === 0o700 || hasAcl(inode)
    this.#finish(fd, inode, path, isSettled ? inode.mode : inode.mode | 0o700)
    return isSettled
  }

  /** Sets the metadata of the top and looks whether the filesystem kept it. */
  finishTop(fd: number, inode: Directory): void {
    const before = statDescriptor(fd)
    // Unlike all below, the top may have its group from its parent.
    this.#newOwner = before
    this.#finish(fd, inode, EMPTY, inode.mode)
    const stat = statDescriptor(fd)
    const owner = this.#ignoreOwnership ? before : inode
    checkMode(stat, inode.mode, EMPTY)
    if (stat.uid !== owner.uid || stat.gid !== owner.gid) {
      const wanted = `${owner.uid}:${owner.gid}`
      throw unrepresentable(EMPTY, 'owner', wanted, `the filesystem makes ${stat.uid}:${stat.gid} of it`)
    }
    checkTime(stat, inode, EMPTY)
  }

  /**
   * Gives what stands there other metadata, all of it.
   *
   * @param xattrs what it has, as the tree says that it was written from
   */
  rewrite(made: Made, xattrs: Xattrs, inode: Inode, path: ByteString): void {
    for (const imageName of xattrs.keys()) {
      if (inode.xattrs.get(imageName) === xattrs.get(imageName) && !isAcl(imageName)) continue
      const name = escapeOverlayName(imageName, this.#underOverlay)
      try {
        if (typeof made === 'number') removeXattr(made, name)
        else removeXattrAt(made.directory, made.name, name)
      } catch (error) {
        if (!isErrno(error, 'ENODATA')) throw error
      }
    }
    this.#finish(made, inode, path, inode.mode, statMade(made))
  }

  *#writeFile(directory: number, name: CString, inode: RegularFile, path: ByteString): Work<void> {
    let fd: number
    try {
      fd = openAt(directory, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600)
    } catch (error) {
      throw entryRefused(error, inode, path)
    }
    try {
      yield* this.#writeContent(fd, inode, path)
      this.bytes += inode.size
      this.#finish(fd, inode, path, inode.mode)
    } finally {
      close(fd)
    }
  }

  *#writeContent(fd: number, inode: RegularFile, path: ByteString): Work<void> {
    const { content } = inode
    switch (content.kind) {
      case 'object':
        return yield* this.#copyObject(fd, inode, content.digest, path)
      case 'inline':
        checkLength(content.bytes.length, inode, path)
        return writeAllAt(fd, content.bytes, 0)
      case 'empty':
        return checkLength(0, inode, path)
      default:
        content satisfies never
    }
  }

  *#copyObject(fd: number, inode: RegularFile, digest: VerityDigest, path: ByteString): Work<void> {
    const source = this.#openObject(digest, path)
    try {
      const stat = statDescriptor(source)
      if (stat.kind !== 'file') throw objectDamaged(digest, path, 'it is not a regular file')
      if (stat.size !== inode.size) throw objectOfWrongSize(digest, path, inode.size, stat.size)
      const copied = yield* this.#copier.copy(source, stat, fd, this.#probed!.device)
      if (copied !== inode.size) throw objectOfWrongSize(digest, path, inode.size, copied)
    } finally {
      close(source)
    }
  }

  #openObject(digest: VerityDigest, path: ByteString): number {
    const object = pathString(this.#objects.path(digest))
    for (;;) {
      try {
        return openAt(AT_FDCWD, object, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | this.#noAtime)
      } catch (error) {
        // Only the owner may read without leaving a trace; it saves a write for each object, no more.
        if (isErrno(error, 'EPERM') && this.#noAtime !== 0) this.#noAtime = 0
        else if (isErrno(error, 'ELOOP')) throw objectDamaged(digest, path, 'it is not a regular file', error)
        else if (isErrno(error, 'ENOENT')) throw objectMissing(digest, path, error)
        else throw toGrootError(error, `Cannot read object ${digest} for "${shown(path)}"`)
      }
    }
  }

  #skipsDevice(inode: Device, path: ByteString): boolean {
    const isWhiteout = inode.kind === 'char' && inode.major === 0 && inode.minor === 0
    const skips = this.#ignoreOwnership || (this.#underOverlay && isWhiteout)
    if (skips) this.#onSkipped?.('device', path, `${inode.kind} ${inode.major}:${inode.minor}`)
    return skips
  }

  /** @param found whom it belongs to; new files all belong to the same */
  #finish(
    made: Made,
    inode: Inode,
    path: ByteString,
    mode: number,
    found: Owner = this.#ownerOfNew(made),
  ): void {
    this.#setOwner(made, inode, path, found)
    if (inode.xattrs.size > 0) this.#setXattrs(made, inode, path)
    if (inode.kind !== 'symlink') {
      if (typeof made === 'number') changeMode(made, mode)
      else changeModeAt(made.directory, made.name, mode)
      // Without privileges the set-group-id bit of a foreign group is dropped, and nobody says so.
      if ((mode & 0o6000) !== 0) checkMode(statMade(made), mode, path)
    }
    if (hasAcl(inode)) this.#checkAcls(made, inode, path)
    this.#setTimes(made, inode, path)
  }

  #ownerOfNew(made: Made): Owner {
    this.#newOwner ??= statMade(made)
    return this.#newOwner
  }

  #setOwner(made: Made, inode: Inode, path: ByteString, found: Owner): void {
    const { uid, gid } = inode
    if (uid === found.uid && gid === found.gid) return
    if (this.#ignoreOwnership) {
      this.#onSkipped?.('owner', path, `${uid}:${gid}`)
      return
    }
    if (!isId(uid) || !isId(gid)) {
      throw unrepresentable(path, 'owner', `${uid}:${gid}`, 'ids go from 0 to 4294967294')
    }
    try {
      if (typeof made === 'number') changeOwner(made, uid, gid)
      else changeOwnerAt(made.directory, made.name, uid, gid)
    } catch (error) {
      throw ownerRefused(error, inode, path)
    }
  }

  #setXattrs(made: Made, inode: Inode, path: ByteString): void {
    for (const [imageName, value] of inode.xattrs) {
      const name = escapeOverlayName(imageName, this.#underOverlay)
      if (this.#ignoreOwnership && (name.startsWith('security.') || name.startsWith('trusted.'))) {
        this.#onSkipped?.('xattr', path, printable(name))
        continue
      }
      try {
        if (typeof made === 'number') setXattr(made, name, value)
        else setXattrAt(made.directory, made.name, name, value)
      } catch (error) {
        throw xattrRefused(error, inode, path, name, () => this.#hasRoom())
      }
    }
  }

  #setTimes(made: Made, inode: Inode, path: ByteString): void {
    const { mtimeSeconds, mtimeNanoseconds } = inode
    if (BigInt.asIntN(64, mtimeSeconds) !== mtimeSeconds) throw timeRefused(inode, path, null)
    if (typeof made === 'number') setTimes(made, mtimeSeconds, mtimeNanoseconds)
    else setTimesAt(made.directory, made.name, mtimeSeconds, mtimeNanoseconds)
    const isCommon = mtimeSeconds > 0n && mtimeSeconds < LATEST_COMMON_TIME
    if (!isCommon || this.#probed?.keepsNanoseconds !== true) checkTime(statMade(made), inode, path)
  }

  /** An access list that does not fit the mode is changed by chmod(2) without a word. */
  #checkAcls(made: Made, inode: Inode, path: ByteString): void {
    const found = typeof made === 'number' ? xattrsOf(made) : xattrsAt(made.directory, made.name)
    for (const [name, value] of inode.xattrs) {
      if (isAcl(name) && found.get(name) !== value) {
        throw unrepresentable(path, 'xattr', printable(name), 'the kernel makes another list of it')
      }
    }
  }

  #hasRoom(): boolean {
    return statFilesystemOf(this.#topFd).availableBytes >= NO_ROOM_BYTES
  }
}

/** An overlay takes one level of `overlay.` off what it shows, and obeys what has none (overlayfs.rst, "Nesting"). */
function escapeOverlayName(name: ByteString, underOverlay: boolean): ByteString {
  for (const prefix of underOverlay ? ['trusted.'] : ['trusted.', 'user.']) {
    if (name.startsWith(`${prefix}overlay.`)) {
      return `${prefix}overlay.${name.slice(prefix.length)}` as ByteString
    }
  }
  return name
}

function statMade(made: Made): FileStat {
  return typeof made === 'number' ? statDescriptor(made) : statAt(made.directory, made.name)
}

/** 2^32 - 1 would mean "leave the owner as it is". */
function isId(id: number): boolean {
  return Number.isInteger(id) && id >= 0 && id < 0xffff_ffff
}

function isAcl(name: ByteString): boolean {
  return name.startsWith('system.posix_acl_')
}

function hasAcl(inode: Inode): boolean {
  if (inode.xattrs.size === 0) return false
  for (const name of inode.xattrs.keys()) if (isAcl(name)) return true
  return false
}

function isDevice(inode: NonDirectory): inode is Device {
  return inode.kind === 'char' || inode.kind === 'block'
}

function checkTime(stat: FileStat, inode: Inode, path: ByteString): void {
  if (stat.mtimeSeconds === inode.mtimeSeconds && stat.mtimeNanoseconds === inode.mtimeNanoseconds) return
  throw timeRefused(inode, path, `${stat.mtimeSeconds}.${String(stat.mtimeNanoseconds).padStart(9, '0')}`)
}

function checkLength(length: number, inode: RegularFile, path: ByteString): void {
  if (length === inode.size) return
  const entry = shown(path)
  throw new BugError(`Cannot write "${entry}": the tree says ${inode.size} bytes and holds ${length}`, {
    facts: { entry },
  })
}
