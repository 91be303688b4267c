/**
 * The words for what cannot be written: which entry, which of its values, and why the system does not take it.
 *
 * Turns errno errors of single steps into errors that a caller can act on. An errno that says nothing about the entry
 * (a full disk, a failing one) passes as it is.
 */
import { type ByteString, printable } from '../bytes.js'
import { IntegrityError, isErrno, NotFoundError, SystemError, UnsupportedError } from '../errors.js'
import type { Device, Inode } from './model.js'

const ELSEWHERE = 'another filesystem may hold it, or the driver overlay, which writes no files of its own'

/** An entry for messages and facts: `etc/motd`; the top of the tree is `/`. */
export function shown(path: ByteString): string {
  return printable(path) || '/'
}

/** An entry could not be made at all. */
export function entryRefused(error: unknown, inode: Inode, path: ByteString): unknown {
  if (!isErrno(error)) return error
  const entry = shown(path)
  const facts = { entry, errno: error.code }
  switch (error.code) {
    case 'EEXIST':
      // The directory was fresh, so this name is one of ours: the filesystem takes two names of the tree for one.
      return unrepresentable(
        path,
        'name',
        entry,
        'the filesystem takes it for the same as another name',
        error,
      )
    case 'ENAMETOOLONG':
      if (inode.kind === 'symlink' && lastName(path).length <= 255) {
        return unrepresentable(
          path,
          'target',
          `${inode.target.length} bytes`,
          'the filesystem keeps shorter ones',
          error,
        )
      }
      return new SystemError(
        'name-too-long',
        `Cannot write "${shown(path)}": its name is longer than the filesystem takes`,
        {
          facts,
          cause: error,
        },
      )
    case 'EILSEQ':
    case 'EINVAL':
      if (inode.kind === 'char' || inode.kind === 'block') {
        return unrepresentable(path, 'device', numbersOf(inode), 'the filesystem keeps smaller ones', error)
      }
      return unrepresentable(path, 'name', entry, 'the filesystem does not take these bytes', error)
    case 'ENOENT':
      if (inode.kind !== 'symlink' || inode.target !== '') return error
      return unrepresentable(path, 'target', '', 'a symlink has to lead somewhere', error)
    case 'EMLINK':
      return unrepresentable(path, 'kind', inode.kind, 'the directory above can hold no more of them', error)
    case 'EPERM':
    case 'ENOTSUP':
      if (inode.kind === 'char' || inode.kind === 'block') return deviceRefused(error, inode, path)
      return unrepresentable(path, 'kind', inode.kind, 'the filesystem has no such files', error)
    default:
      return error
  }
}

/** A file could not be given a further name. */
export function linkRefused(error: unknown, inode: Inode, path: ByteString): unknown {
  if (isErrno(error, 'EMLINK', 'EPERM', 'ENOTSUP')) {
    const why = `the filesystem gives this file no further name; ${ELSEWHERE}`
    return unrepresentable(path, 'kind', 'hard link', why, error)
  }
  return entryRefused(error, inode, path)
}

function numbersOf(device: { readonly major: number; readonly minor: number }): string {
  return `${device.major}:${device.minor}`
}

function lastName(path: ByteString): string {
  return path.slice(path.lastIndexOf('/') + 1)
}

function deviceRefused(
  cause: unknown,
  inode: Inode & { major: number; minor: number },
  path: ByteString,
): UnsupportedError {
  const device = `${inode.kind} ${numbersOf(inode)}`
  return new UnsupportedError(
    'ownership-unsupported',
    `Cannot make "${shown(path)}" (${device}): only root may make devices; with --ignore-ownership it is left out`,
    { facts: { entry: shown(path), device }, cause },
  )
}

export function ownerRefused(error: unknown, inode: Inode, path: ByteString): unknown {
  if (!isErrno(error, 'EPERM', 'EINVAL', 'ENOTSUP')) return error
  const { uid, gid } = inode
  const why =
    error.code === 'EINVAL'
      ? 'the user namespace has no such id'
      : process.geteuid?.() === 0
        ? 'the filesystem or the user namespace does not allow it'
        : 'only root may give files away'
  return new UnsupportedError(
    'ownership-unsupported',
    `Cannot give "${shown(path)}" to owner ${uid}:${gid}: ${why}; with --ignore-ownership it would belong to the caller`,
    { facts: { entry: shown(path), uid, gid }, cause: error },
  )
}

/** @param hasRoom whether the disk has room left, so that ENOSPC speaks of the attribute */
export function xattrRefused(
  error: unknown,
  inode: Inode,
  path: ByteString,
  name: ByteString,
  hasRoom: () => boolean,
): unknown {
  if (!isErrno(error)) return error
  const what = `attribute "${printable(name)}"`
  const isPrivileged = name.startsWith('security.') || name.startsWith('trusted.')
  switch (error.code) {
    case 'EPERM':
    case 'EACCES':
      if (isPrivileged) {
        return new UnsupportedError(
          'ownership-unsupported',
          `Cannot give "${shown(path)}" its ${what}: only root may; with --ignore-ownership it is left out`,
          { facts: { entry: shown(path), xattr: printable(name) }, cause: error },
        )
      }
      return unrepresentable(
        path,
        'xattr',
        printable(name),
        `the kernel does not allow it on a ${inode.kind}`,
        error,
      )
    case 'ENOTSUP':
      return unrepresentable(path, 'xattr', printable(name), 'the filesystem has no such attributes', error)
    case 'EINVAL':
    case 'ERANGE':
    case 'E2BIG':
      return unrepresentable(
        path,
        'xattr',
        printable(name),
        'its name or value is not one that the kernel takes',
        error,
      )
    case 'ENOSPC':
      if (!hasRoom()) return error
      return unrepresentable(
        path,
        'xattr',
        printable(name),
        'the filesystem has no room for so much in one file',
        error,
      )
    default:
      return error
  }
}

/** @throws {SystemError} `value-unrepresentable` for a device with other numbers than Linux has */
export function refuseOutOfRange(inode: Device, path: ByteString): void {
  const { major, minor } = inode
  const isFit = Number.isInteger(major) && Number.isInteger(minor)
  if (isFit && major >= 0 && major <= 0xfff && minor >= 0 && minor <= 0xfffff) return
  throw unrepresentable(path, 'device', numbersOf(inode), 'Linux has 12 bits of major and 20 of minor')
}

/** @param found what the filesystem makes of the time; null for one that nothing can hold */
export function timeRefused(inode: Inode, path: ByteString, found: string | null): SystemError {
  const wanted = `${inode.mtimeSeconds}.${String(inode.mtimeNanoseconds).padStart(9, '0')}`
  const why = found === null ? 'times have 64 bits' : `the filesystem makes ${found} of it; ${ELSEWHERE}`
  return unrepresentable(path, 'mtime', wanted, why)
}

/**
 * What the filesystem cannot keep, though the tree has it.
 *
 * @param value which of the entry's values: `name`, `mtime`, …
 */
export function unrepresentable(
  path: ByteString,
  value: string,
  wanted: string,
  why: string,
  cause?: unknown,
): SystemError {
  const errno = isErrno(cause) ? cause.code : null
  return new SystemError(
    'value-unrepresentable',
    `Cannot write "${shown(path)}" with ${value} "${wanted}": ${why}`,
    {
      facts: { entry: shown(path), value, wanted, errno },
      cause,
    },
  )
}

export function objectOfWrongSize(
  object: string,
  path: ByteString,
  expected: number,
  found: number,
): IntegrityError {
  const entry = shown(path)
  const message = `Cannot write "${entry}": object ${object} has ${found} bytes, the tree says ${expected}`
  return new IntegrityError('object-damaged', message, { facts: { entry, object, expected, found } })
}

export function objectDamaged(
  object: string,
  path: ByteString,
  why: string,
  cause?: unknown,
): IntegrityError {
  const entry = shown(path)
  const message = `Cannot write "${entry}": object ${object} is damaged, ${why}`
  return new IntegrityError('object-damaged', message, { facts: { entry, object }, cause })
}

export function objectMissing(object: string, path: ByteString, cause: unknown): NotFoundError {
  const entry = shown(path)
  const message = `Cannot write "${entry}": object ${object} is not in the store`
  return new NotFoundError('object-missing', message, { facts: { entry, object }, cause })
}
