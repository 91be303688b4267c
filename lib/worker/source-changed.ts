/**
 * The error for a directory tree that is not left alone while it is scanned.
 */
import { type ByteString, printable } from '../bytes.js'
import { IntegrityError } from '../errors.js'

/** @param path of the entry, from the top of the tree */
export function sourceChanged(path: ByteString, cause?: unknown): IntegrityError {
  const shown = printable(path)
  const message = `Cannot read "${shown}": it was changed while the directory was being read`
  return new IntegrityError('source-changed', message, { facts: { path: shown }, cause, temporary: true })
}
