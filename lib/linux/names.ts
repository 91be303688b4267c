/**
 * The names in a directory that may not be there.
 */
import { readdirSync } from 'node:fs'
import { isErrno } from '../errors.js'

/** Names in a directory, in no order; none where there is no directory. */
export function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory)
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return []
    throw error
  }
}
