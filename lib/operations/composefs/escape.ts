/**
 * Byte strings as composefs-info prints them outside of dumps.
 */
import type { ByteString } from '../../bytes.js'
import { escapeField } from '../../composefs/dump-escape.js'

/** As a field of a dump, but for a lone dash, which means itself here. */
export function escaped(value: ByteString): string {
  return value === '-' ? value : escapeField(value)
}

/** The same with blanks left as they are. */
export function escapedPath(path: ByteString): string {
  // A backslash of the name is two of them here, and what follows it is not ours.
  return escaped(path).replace(/\\(?:\\|x20)/g, (found) => (found === '\\x20' ? ' ' : found))
}
