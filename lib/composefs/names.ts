/**
 * The names that directories of an image have, and their order: by bytes, as byte strings compare.
 */
import { type ByteString, byteString, compareBytes, EMPTY } from '../bytes.js'

export const DOT = byteString('.')
export const DOT_DOT = byteString('..')

/** The directories of objects, which must not show through the root: it has an entry for each. */
export const OBJECT_DIRECTORIES: readonly ByteString[] = Array.from({ length: 256 }, (_, i) =>
  byteString(i.toString(16).padStart(2, '0')),
)

/** All names of a directory in an image, in order. */
export function imageNames(children: ReadonlyMap<ByteString, unknown>, isRoot: boolean): ByteString[] {
  const names = [DOT, DOT_DOT, ...children.keys()]
  if (isRoot) for (const name of OBJECT_DIRECTORIES) if (!children.has(name)) names.push(name)
  return isInOrder(names) ? names : names.sort()
}

/** The entries of a directory in order of name. */
export function inOrder<T>(
  children: ReadonlyMap<ByteString, T>,
): Iterable<readonly [name: ByteString, entry: T]> {
  return isInOrder(children.keys()) ? children : [...children].sort(([a], [b]) => compareBytes(a, b))
}

function isInOrder(names: Iterable<ByteString>): boolean {
  let last = EMPTY
  for (const name of names) {
    if (name < last) return false
    last = name
  }
  return true
}
