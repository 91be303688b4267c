/**
 * Reading of configuration files: whole, small, regular, and in UTF-8. What they say is lib/config's business.
 *
 * A file that is not there is no error unless the caller named it; one that is there and cannot be read always is.
 */
import { constants } from 'node:fs'
import { access, type FileHandle, open, readdir } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { FilePlace } from '../config/places.js'
import { invalidConfiguration, MAX_CONFIG_BYTES } from '../config/value.js'
import { isErrno, toGrootError } from '../errors.js'
import { quote } from '../image/json.js'

/**
 * @returns null when there is no such file, or when it is in a directory that this user must not search
 * @throws {UsageError} `configuration-invalid` for a named file that is missing, and what is too large or no text
 * @throws {SystemError} when it cannot be read
 */
export async function readConfigFile({ path, isNamed }: FilePlace): Promise<string | null> {
  try {
    // Without O_NONBLOCK, opening a fifo would wait for a writer.
    const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK)
    try {
      return await readWhole(file, path)
    } finally {
      await file.close()
    }
  } catch (error) {
    if (await isAbsent(error, path)) {
      if (isNamed) throw invalidConfiguration(path, '', 'is not there')
      return null
    }
    throw toGrootError(error, `Cannot read ${quote(path)}`)
  }
}

/**
 * The names in a directory of configuration, in byte order of UTF-16.
 *
 * @returns null when there is no such directory; throws as readConfigFile does
 */
export async function readConfigDirectory({ path, isNamed }: FilePlace): Promise<string[] | null> {
  try {
    return (await readdir(path)).sort()
  } catch (error) {
    if (await isAbsent(error, path)) {
      if (isNamed) throw invalidConfiguration(path, '', 'is no directory')
      return null
    }
    throw toGrootError(error, `Cannot read ${quote(path)}`)
  }
}

async function readWhole(file: FileHandle, path: string): Promise<string> {
  if (!(await file.stat()).isFile()) throw invalidConfiguration(path, '', 'is not a regular file')
  const buffer = Buffer.alloc(MAX_CONFIG_BYTES + 1)
  let size = 0
  while (size < buffer.length) {
    const { bytesRead } = await file.read(buffer, size)
    if (bytesRead === 0) break
    size += bytesRead
  }
  if (size > MAX_CONFIG_BYTES) throw invalidConfiguration(path, '', `has more than ${MAX_CONFIG_BYTES} bytes`)
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(buffer.subarray(0, size))
  } catch {
    throw invalidConfiguration(path, '', 'is not text in UTF-8')
  }
}

async function isAbsent(error: unknown, path: string): Promise<boolean> {
  if (isErrno(error, 'ENOENT', 'ENOTDIR')) return true
  // Other programs' directories may be closed to us as a whole; what is in there was not meant for us.
  return isErrno(error, 'EACCES') && !(await isSearchable(dirname(path)))
}

async function isSearchable(directory: string): Promise<boolean> {
  return await access(directory, constants.X_OK).then(
    () => true,
    () => false,
  )
}
