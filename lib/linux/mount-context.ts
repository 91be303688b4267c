/**
 * The mount interface of file descriptors: fsopen(2), fsconfig(2), fsmount(2), move_mount(2), and umount(2).
 *
 * A filesystem is configured key by key, and the kernel says in words what it does not like; those words end up in the
 * errors. Nothing here knows which filesystem it is or what its keys mean.
 */
import type { ErrnoError } from '../errors.js'
import { asCString, EMPTY_PATH, type PathArgument, pathString, textOf } from './c-string.js'
import { calls } from './calls.js'
import {
  AT_FDCWD,
  FSCONFIG,
  FSMOUNT_CLOEXEC,
  FSOPEN_CLOEXEC,
  MNT_DETACH,
  MOUNT_ATTR_RDONLY,
  MOVE_MOUNT_F_EMPTY_PATH,
  OPEN_TREE_CLOEXEC,
  OPEN_TREE_CLONE,
  UMOUNT_NOFOLLOW,
} from './constants.js'
import { ERRNO, errnoError } from './errno.js'
import { close, failed, uninterrupted } from './files.js'
import { isMountPoint } from './mount-points.js'

/** The kernel takes a value of at most this many bytes in a key (strndup_user in fs/fsopen.c). */
export const MAX_VALUE_BYTES = 255

const MAX_MESSAGE_BYTES = 1024

export class MountContext implements Disposable {
  readonly #type: string
  readonly #fd: number
  #open = true

  private constructor(type: string, fd: number) {
    this.#type = type
    this.#fd = fd
  }

  /** @throws ENODEV when the kernel does not have this filesystem, EPERM without CAP_SYS_ADMIN, ENOSYS before Linux 5.2 */
  static open(type: string): MountContext {
    const fd = calls().fsopen(pathString(type), FSOPEN_CLOEXEC)
    if (fd < 0) throw errnoError(calls().errno(), `fsopen ${type}`)
    return new MountContext(type, fd)
  }

  flag(key: string): void {
    this.#configure(FSCONFIG.setFlag, key, null)
  }

  /** @throws EINVAL for a key or a value that this kernel does not know */
  set(key: string, value: PathArgument): void {
    this.#configure(FSCONFIG.setString, key, value)
  }

  /**
   * Makes the filesystem and a mount of it that has no place yet.
   *
   * @returns a descriptor; the mount goes away with it unless it is moved to a place
   */
  mount(options: { readonly readOnly: boolean }): number {
    this.#configure(FSCONFIG.create, null, null)
    const fd = calls().fsmount(this.#fd, FSMOUNT_CLOEXEC, options.readOnly ? MOUNT_ATTR_RDONLY : 0)
    if (fd < 0) throw this.#failure('fsmount')
    return fd
  }

  [Symbol.dispose](): void {
    if (!this.#open) return
    this.#open = false
    close(this.#fd)
  }

  #configure(command: number, key: string | null, value: PathArgument | null): void {
    const bytes = value === null ? null : asCString(value)
    const name = key === null ? null : pathString(key)
    if (uninterrupted((libc) => libc.fsconfig(this.#fd, command, name, bytes, 0)) < 0) {
      throw this.#failure(key === null ? 'fsconfig' : `fsconfig ${key}`)
    }
  }

  #failure(syscall: string): ErrnoError {
    const error = errnoError(calls().errno(), `${syscall} of ${this.#type}`)
    const words = this.#messages()
    if (words !== '') error.message += `: ${words}`
    return error
  }

  /** What the kernel wrote about this context since the last time: lines that begin with `e `, `w ` or `i `. */
  #messages(): string {
    const lines: string[] = []
    const buffer = Buffer.alloc(MAX_MESSAGE_BYTES)
    for (;;) {
      const length = calls().read(this.#fd, buffer, buffer.length)
      if (length <= 0) return lines.join('; ')
      lines.push(
        buffer
          .toString('latin1', 0, length)
          .trim()
          .replace(/^[ewi] /, ''),
      )
    }
  }
}

/** Gives a mount its place. The descriptor stays open and is the caller's to close. */
export function placeMount(mount: number, at: PathArgument): void {
  const path = asCString(at)
  if (calls().move_mount(mount, EMPTY_PATH, AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH) < 0)
    failed('move_mount', path)
}

/** The same for one that is not needed otherwise: the descriptor is closed, also when the mount cannot have its place. */
export function settleMount(mount: number, at: PathArgument): void {
  try {
    placeMount(mount, at)
  } finally {
    close(mount)
  }
}

/** A further mount of what a directory shows, without a place yet. @returns a descriptor; the mount goes away with it */
export function cloneMount(directory: PathArgument): number {
  const path = asCString(directory)
  const fd = calls().open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC)
  if (fd < 0) failed('open_tree', path)
  return fd
}

/**
 * Takes away the topmost mount at a place; a symlink there is not followed.
 *
 * @returns false when nothing is mounted there, or the place is not there
 * @throws EBUSY while somebody uses it
 */
export function unmount(at: string, options: { readonly lazily: boolean } = { lazily: false }): boolean {
  const path = pathString(at)
  const flags = UMOUNT_NOFOLLOW | (options.lazily ? MNT_DETACH : 0)
  if (uninterrupted((libc) => libc.umount2(path, flags)) === 0) return true
  const errno = calls().errno()
  if (errno === ERRNO.EINVAL || errno === ERRNO.ENOENT) return false
  // Who may not unmount is told so before the kernel looks whether there is anything.
  if (errno === ERRNO.EPERM && !isMountPoint(at)) return false
  throw errnoError(errno, 'umount', textOf(path))
}

/**
 * Takes away what is mounted on a place, one over the other.
 *
 * @param most so that whoever goes on mounting does not keep us for ever
 * @returns whether there was something
 * @throws EBUSY while somebody uses it
 */
export function unmountStacked(at: string, most: number): boolean {
  let found = false
  for (let left = most; left > 0 && unmount(at); left--) found = true
  return found
}
