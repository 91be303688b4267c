/**
 * Records: small JSON files that are either whole or absent.
 */
import { randomBytes } from 'node:crypto'
import {
  closeSync,
  fsyncSync,
  linkSync,
  openSync,
  readFileSync,
  renameSync,
  unlinkSync,
  writeSync,
} from 'node:fs'
import { basename, dirname } from 'node:path'
import { isErrno, StoreError } from '../errors.js'
import { syncDirectory } from '../linux/sync.js'

const MAX_RECORD_BYTES = 16 * 1024 * 1024

/** Writes a file aside, syncs it, renames it to its name and syncs the directory: durable when it returns. */
export function writeDurably(path: string, data: string | Uint8Array): void {
  const temporary = writeAside(path, data)
  try {
    renameSync(temporary, path)
  } catch (error) {
    unlinkSync(temporary)
    throw error
  }
  syncDirectory(dirname(path))
}

/** The same, but loses against a file that is there. @returns whether this call made the file */
export function createDurably(path: string, data: string | Uint8Array): boolean {
  const temporary = writeAside(path, data)
  try {
    linkSync(temporary, path)
  } catch (error) {
    if (isErrno(error, 'EEXIST')) return false
    throw error
  } finally {
    unlinkSync(temporary)
  }
  syncDirectory(dirname(path))
  return true
}

export function writeRecord(path: string, value: unknown): void {
  writeDurably(path, `${JSON.stringify(value, null, 2)}\n`)
}

/**
 * Reads a JSON record; null when there is none.
 *
 * @param parse makes the exact type or throws; what it throws becomes `record-damaged`
 * @throws {StoreError} `record-damaged`
 */
export function readRecord<T>(path: string, parse: (value: unknown) => T): T | null {
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return null
    throw error
  }
  try {
    if (text.length > MAX_RECORD_BYTES) throw new Error('it is too large')
    return parse(JSON.parse(text))
  } catch (error) {
    const cause = error instanceof Error ? error.message : String(error)
    throw new StoreError('record-damaged', `Cannot read record "${path}": ${cause}`, {
      facts: { path, cause },
      cause: error,
    })
  }
}

/** Removes a record for good; "not there" is success. @returns whether it was there */
export function removeRecord(path: string): boolean {
  try {
    unlinkSync(path)
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return false
    throw error
  }
  syncDirectory(dirname(path))
  return true
}

/** Whether a name in a record directory is one of our temporary files, left by a killed process. */
export function isTemporaryName(name: string): boolean {
  return name.startsWith('.tmp-')
}

function writeAside(path: string, data: string | Uint8Array): string {
  const temporary = `${dirname(path)}/.tmp-${basename(path).slice(0, 64)}-${randomBytes(6).toString('hex')}`
  const bytes = typeof data === 'string' ? Buffer.from(data, 'utf8') : data
  const fd = openSync(temporary, 'wx', 0o600)
  try {
    for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at)
    fsyncSync(fd)
  } catch (error) {
    unlinkSync(temporary)
    throw error
  } finally {
    closeSync(fd)
  }
  return temporary
}
