/**
 * The generation of `objects/`: a word that is another after every time that objects were taken away.
 *
 * An ingest uses contents that it finds in `objects/`, and clean may take them away before the layer has its record. So an
 * ingest reads the generation when it begins and, under the gc lock, when it announces its record (publishing.ts): the
 * same word means that nothing was taken away in between. Only whoever holds the gc lock changes it. It need not survive a
 * power cut, for no ingest does.
 */
import { randomBytes } from 'node:crypto'
import { closeSync, constants, mkdirSync, openSync, readFileSync, writeSync } from 'node:fs'
import { dirname } from 'node:path'
import { isErrno } from '../errors.js'

const WORD_BYTES = 16

/** @param path `gc/generation` of the store; made here where it is missing, so that a full disk never keeps clean from it */
export function readGeneration(path: string): string {
  try {
    return readFileSync(path, 'latin1')
  } catch (error) {
    if (!isErrno(error, 'ENOENT')) throw error
  }
  try {
    return write(path, constants.O_EXCL)
  } catch (error) {
    if (!isErrno(error, 'EEXIST')) throw error
    return readFileSync(path, 'latin1')
  }
}

/** Under the gc lock, before anything is taken from `objects/`. */
export function raiseGeneration(path: string): void {
  write(path, 0)
}

/** In place, by one call: it is whole for whoever reads it, and takes no room that is not there already. */
function write(path: string, flags: number): string {
  const word = randomBytes(WORD_BYTES / 2).toString('hex')
  const fd = open(path, constants.O_WRONLY | constants.O_CREAT | constants.O_NOFOLLOW | flags)
  try {
    writeSync(fd, word, 0, 'latin1')
    return word
  } finally {
    closeSync(fd)
  }
}

function open(path: string, flags: number): number {
  try {
    return openSync(path, flags, 0o600)
  } catch (error) {
    if (!isErrno(error, 'ENOENT')) throw error
    // A store that was made before there was this directory.
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
    return openSync(path, flags, 0o600)
  }
}
