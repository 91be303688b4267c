/**
 * What a driver notes of each base, as JSON in the base's own directory: `<id>/base.json`.
 */
import { closeSync, fsyncSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import { type ErrorOptions, IntegrityError, isErrno, NotFoundError } from '../errors.js'
import { syncDirectory } from '../linux/sync.js'
import type { BaseId } from '../store/base-id.js'

export class BaseNotes<Note> {
  readonly #directory: string
  // What a base is never changes, and warm creates should not read it again and again.
  readonly #known = new Map<BaseId, Note>()

  /** @param directory of all bases */
  constructor(directory: string) {
    this.#directory = directory
  }

  /** @throws {NotFoundError} `base-missing` @throws {IntegrityError} `base-damaged` */
  read(id: BaseId): Note {
    const known = this.#known.get(id)
    if (known !== undefined) return known
    let text: string
    try {
      text = readFileSync(this.#file(id), 'utf8')
    } catch (error) {
      if (!isErrno(error, 'ENOENT')) throw error
      throw baseMissing(id, error)
    }
    const note = parse(id, text) as Note
    this.#known.set(id, note)
    return note
  }

  /** Writes the note of a new base; it and the base's name are durable when this returns. */
  write(id: BaseId, note: Note): void {
    const fd = openSync(this.#file(id), 'wx', 0o600)
    try {
      writeFileSync(fd, JSON.stringify(note))
      fsyncSync(fd)
    } finally {
      closeSync(fd)
    }
    syncDirectory(`${this.#directory}/${id}`)
    syncDirectory(this.#directory)
  }

  /** Reads from the disk the next time. */
  forget(id: BaseId): void {
    this.#known.delete(id)
  }

  #file(id: BaseId): string {
    return `${this.#directory}/${id}/base.json`
  }
}

function parse(id: BaseId, text: string): object {
  try {
    const note: unknown = JSON.parse(text)
    if (typeof note === 'object' && note !== null) return note
  } catch {
    // Told below, like all else that was never written.
  }
  throw baseDamaged(id, 'its notes are not what was written')
}

export function baseDamaged(id: BaseId, why: string, { facts, cause }: ErrorOptions = {}): IntegrityError {
  const message = `Cannot use base "${id}": ${why}; groot check --repair makes it again`
  return new IntegrityError('base-damaged', message, { facts: { base: id, ...facts }, cause })
}

export function baseMissing(id: BaseId, cause: unknown): NotFoundError {
  return new NotFoundError('base-missing', `Cannot use base "${id}": the driver does not have it`, {
    facts: { base: id },
    cause,
  })
}
