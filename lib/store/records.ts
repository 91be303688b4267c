/**
 * Records: small JSON files that are either whole or absent.
 */
import { randomUUID } from 'node:crypto'
import { closeSync, linkSync, lstatSync, openSync, readFileSync, renameSync, unlinkSync } from 'node:fs'
import { basename, dirname } from 'node:path'
import { byteString } from '../bytes.js'
import { isErrno, StoreError } from '../errors.js'
import { claim, claimPath } from '../linux/claim.js'
import { ERRNO, errnoError } from '../linux/errno.js'
import { removeTree } from '../linux/remove-tree.js'
import { syncDirectory, syncFile } from '../linux/sync.js'
import { writeAll } from '../linux/write-all.js'

const MAX_RECORD_BYTES = 16 * 1024 * 1024
const MAX_TRIES = 5 // a clean that happens to look takes a temporary file away that is not claimed yet

/** Writes a file aside, syncs it, renames it to its name and syncs the directory: durable when it returns. */
export function writeDurably(path: string, data: string | Uint8Array): void {
  closeSync(putInPlace(path, data, true, renameSync))
  syncDirectory(dirname(path))
}

/**
 * The same, but not durable: for what means nothing after a crash. Other processes see it whole or not at all, and claimed
 * (lib/linux/claim.ts) until it is let go.
 *
 * @returns its descriptor, which has the claim until it is closed
 */
export function writeClaimed(path: string, value: unknown): number {
  return putInPlace(path, JSON.stringify(value), false, renameSync)
}

/** The same, but loses against a file that is there. @returns whether this call made the file */
export function createDurably(path: string, data: string | Uint8Array): boolean {
  try {
    const fd = putInPlace(path, data, true, (temporary, place) => {
      linkSync(temporary, place)
      removeIfThere(temporary)
    })
    closeSync(fd)
  } catch (error) {
    if (isErrno(error, 'EEXIST')) return false
    throw error
  }
  syncDirectory(dirname(path))
  return true
}

export function writeRecord(path: string, value: unknown): void {
  writeDurably(path, recordText(value))
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
  if (!removeIfThere(path)) return false
  syncDirectory(dirname(path))
  return true
}

/** The same, but it may be there again after a power cut. */
export function removeIfThere(path: string): boolean {
  try {
    unlinkSync(path)
    return true
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return false
    throw error
  }
}

/** Whether a name in a record directory is one of our temporary files, left by a killed process. */
export function isTemporaryName(name: string): boolean {
  return name.startsWith('.tmp-')
}

/** Whether nobody works on a temporary file any more. One that is gone is none. */
export function isDeadTemporary(path: string): boolean {
  return withDead(path, () => undefined)
}

/** Removes a temporary file that nobody works on. @returns false when somebody does, or it is gone */
export function removeDeadTemporary(path: string): boolean {
  return withDead(path, removeTree)
}

function withDead(path: string, work: (path: string) => void): boolean {
  const stat = lstatSync(path, { throwIfNoEntry: false })
  if (stat === undefined) return false
  const fd = stat.isFile() ? claimPath(path) : null
  try {
    const isDead = fd !== null || !stat.isFile() // what is no file was not made by us
    if (isDead) work(path)
    return isDead
  } finally {
    if (fd !== null) closeSync(fd)
  }
}

type Put = (temporary: string, path: string) => void

/** @returns a descriptor of the file, claimed */
function putInPlace(path: string, data: string | Uint8Array, isDurable: boolean, put: Put): number {
  const bytes = typeof data === 'string' ? Buffer.from(data, 'utf8') : data
  for (let attempt = 1; ; attempt++) {
    const temporary = temporaryPath(path)
    const fd = openSync(temporary, 'wx', 0o600)
    let isKept = false
    try {
      // A clean that looks has it now, and removes it; or it has its name by then, and would be claimed by nobody.
      if (!claim(fd)) throw errnoError(ERRNO.EAGAIN, 'flock', byteString(temporary))
      writeAll(fd, bytes)
      if (isDurable) syncFile(fd)
      put(temporary, path)
      isKept = true
      return fd
    } catch (error) {
      const wasThere = removeIfThere(temporary)
      const isLost = isErrno(error, 'EAGAIN') || (isErrno(error, 'ENOENT') && !wasThere)
      if (attempt === MAX_TRIES || !isLost) throw error
    } finally {
      if (!isKept) closeSync(fd)
    }
  }
}

/** 12 hex digits that nobody else has. UUIDs are random at their end, and Node asks the kernel once for many of them. */
export function randomName(): string {
  return randomUUID().slice(-12)
}

/** A name beside a record, for what is to become it. */
export function temporaryPath(path: string): string {
  return `${dirname(path)}/.tmp-${basename(path).slice(0, 64)}-${randomName()}`
}

export function recordText(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`
}
