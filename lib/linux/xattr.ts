/**
 * Extended attributes, by descriptor and by name, without following symlinks. Names and values are bytes.
 *
 * Calls by name go through the path of the directory's descriptor in /proc: there is no *at() form before Linux 6.13.
 */
import { type ByteString, compareBytes, fromBytes, toBytes } from '../bytes.js'
import type { Xattrs } from '../tree/model.js'
import { type CString, cString, descriptorPath, type PathArgument } from './c-string.js'
import { type Calls, calls } from './calls.js'
import { ERRNO } from './errno.js'
import { failed } from './files.js'

const MAX_BYTES = 65_536 // XATTR_LIST_MAX and XATTR_SIZE_MAX (linux/limits.h)

// The kernel's largest answer, kept: asking for sizes first would double the calls, and the answer may change between.
let scratch: Buffer | undefined

/** All attributes that the caller may see, by name in byte order. Empty where the filesystem has none. */
export function xattrsOf(fd: number): Xattrs {
  return collect(
    (libc, buffer) => libc.flistxattr(fd, buffer, buffer.length),
    (libc, name, buffer) => libc.fgetxattr(fd, name, buffer, buffer.length),
  )
}

/** The same for a name in a directory, of a symlink itself. */
export function xattrsAt(directory: number, name: PathArgument): Xattrs {
  const path = descriptorPath(directory, name)
  return collect(
    (libc, buffer) => libc.llistxattr(path, buffer, buffer.length),
    (libc, xattr, buffer) => libc.lgetxattr(path, xattr, buffer, buffer.length),
  )
}

export function setXattr(fd: number, name: ByteString, value: ByteString): void {
  const bytes = toBytes(value)
  if (calls().fsetxattr(fd, cString(name), bytes, bytes.length, 0) < 0) failed('fsetxattr', name)
}

/** Does not follow a symlink. */
export function setXattrAt(
  directory: number,
  fileName: PathArgument,
  name: ByteString,
  value: ByteString,
): void {
  const bytes = toBytes(value)
  const path = descriptorPath(directory, fileName)
  if (calls().lsetxattr(path, cString(name), bytes, bytes.length, 0) < 0) failed('lsetxattr', name)
}

export function removeXattr(fd: number, name: ByteString): void {
  if (calls().fremovexattr(fd, cString(name)) < 0) failed('fremovexattr', name)
}

/** Does not follow a symlink. */
export function removeXattrAt(directory: number, fileName: PathArgument, name: ByteString): void {
  if (calls().lremovexattr(descriptorPath(directory, fileName), cString(name)) < 0)
    failed('lremovexattr', name)
}

type ListCall = (libc: Calls, buffer: Buffer) => number
type GetCall = (libc: Calls, name: CString, buffer: Buffer) => number

const NONE: Xattrs = new Map()

function collect(list: ListCall, get: GetCall): Xattrs {
  const libc = calls()
  scratch ??= Buffer.allocUnsafeSlow(MAX_BYTES)
  const length = list(libc, scratch)
  if (length === 0) return NONE
  if (length < 0) {
    if (libc.errno() === ERRNO.ENOTSUP) return NONE
    failed('listxattr')
  }
  const names = fromBytes(scratch, 0, length).split('\0') as ByteString[]
  names.pop() // what follows the last NUL
  const found = new Map<ByteString, ByteString>()
  for (const name of names.sort(compareBytes)) {
    const size = get(libc, cString(name), scratch)
    if (size >= 0) found.set(name, fromBytes(scratch, 0, size))
    // Removed since it was listed: as if it had never been there.
    else if (libc.errno() !== ERRNO.ENODATA) failed('getxattr', name)
  }
  return found
}
