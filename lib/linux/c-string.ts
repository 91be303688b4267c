/**
 * Names and paths as system calls take them: bytes with a closing NUL.
 *
 * Bytes become text nowhere in this room, except in the messages of errors.
 */
import { type ByteString, byteString, fromBytes } from '../bytes.js'
import { errnoError } from './errno.js'

/** Bytes that end with their only NUL. Made by cString() alone. */
export type CString = Buffer & { readonly __brand: 'CString' }

/** What calls take for a name or a path; a name that is used several times is converted once. */
export type PathArgument = ByteString | CString

/**
 * @throws EINVAL when there is a NUL inside: the kernel would see another, shorter name
 */
export function cString(value: ByteString): CString {
  if (value.includes('\0')) throw errnoError(22, 'open', value) // EINVAL, as Node refuses such paths
  return Buffer.from(`${value}\0`, 'latin1') as CString
}

/** A path that is text, as configuration and callers give it. */
export function pathString(path: string): CString {
  return cString(byteString(path))
}

export function asCString(value: PathArgument): CString {
  return typeof value === 'string' ? cString(value) : value
}

/** The bytes without the closing NUL, for messages. */
export function textOf(value: PathArgument): ByteString {
  return typeof value === 'string' ? value : fromBytes(value, 0, value.length - 1)
}

/** The path of the file that a descriptor stands for; with a name, of that name in the directory it stands for. */
export function descriptorPath(fd: number, name?: PathArgument): CString {
  const path = `/proc/self/fd/${fd}` as ByteString
  return cString(name === undefined ? path : (`${path}/${textOf(name)}` as ByteString))
}

/** The empty path, which with AT_EMPTY_PATH means the descriptor itself. */
export const EMPTY_PATH: CString = Buffer.from('\0') as CString
