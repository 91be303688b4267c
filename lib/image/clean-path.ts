/**
 * Paths of an image's config, as places of its root filesystem.
 */
import { ImageError } from '../errors.js'
import { quote } from './json.js'

const MAX_NAME_BYTES = 255 // NAME_MAX of Linux
const MAX_PATH_BYTES = 4095 // PATH_MAX, without the NUL at its end

/**
 * The absolute path without `.`, `..` and empty names; `..` stops at the root, as in a chroot. Links are not followed:
 * what a name before `..` is does not matter, as with Docker.
 *
 * @param field that has the path, for messages
 * @throws {ImageError} `config-invalid` for a path that can be nowhere
 */
export function cleanPath(path: string, field: string): string {
  const names: string[] = []
  for (const name of path.split('/')) {
    if (name === '' || name === '.') continue
    if (name === '..') names.pop()
    else names.push(name)
  }
  const clean = `/${names.join('/')}`
  if (Buffer.byteLength(clean) > MAX_PATH_BYTES)
    throw invalid(path, field, `a path has at most ${MAX_PATH_BYTES} bytes`)
  if (names.some((name) => Buffer.byteLength(name) > MAX_NAME_BYTES))
    throw invalid(path, field, `a name has at most ${MAX_NAME_BYTES} bytes`)
  return clean
}

function invalid(path: string, field: string, cause: string): ImageError {
  return new ImageError('config-invalid', `Cannot use ${quote(path)} as ${field}: ${cause}`, {
    facts: { document: 'config', field, found: quote(path), cause },
  })
}
