/**
 * The files of new objects: made in a staging directory, and moved into `objects/` when they are durable. The first few stand
 * there under their digests, the others as `ab/cdef…` like in `objects/`, so that whole directories can be moved. The
 * kernel's threads write them where they can, so that whoever makes them goes on meanwhile.
 */
import { closeSync, ftruncateSync, mkdirSync, openSync, renameSync, unlinkSync } from 'node:fs'
import { type ByteString, byteString } from '../bytes.js'
import type { VerityDigest } from '../digest.js'
import { isErrno } from '../errors.js'
import { FileRing } from '../linux/file-ring.js'
import { writeAll } from '../linux/write-all.js'
import { objectName } from '../store/objects.js'

const OBJECT_MODE = 0o444
const DIRECTORY_MODE = 0o711
const LARGE = 'large' // the name of a file as long as its digest is not known
/** So many contents are written here, and moved one by one: for a few, asking somebody else and making directories takes longer. */
const FEW_FILES = 32

export class StagingFiles implements Disposable {
  readonly #objects: string
  readonly #staging: string
  /** What is staged under its digest. */
  readonly #few: VerityDigest[] = []
  /** What is staged by directory: the first two digits of a digest, and the others. */
  readonly #staged = new Map<string, string[]>()
  readonly #writers: number
  #ring: FileRing | null | undefined
  #directory: number | null = null
  #count = 0

  /**
   * @param objects the store's `objects/`
   * @param staging an empty directory on the same filesystem, nobody else's
   * @param writers how many of the kernel's threads may write; 0 for none
   */
  constructor(objects: string, staging: string, writers: number) {
    this.#objects = objects
    this.#staging = staging
    this.#writers = writers
    if (writers === 0) this.#ring = null
  }

  /** Makes the file of a content; it may be written later, until `settle` returns. */
  add(digest: VerityDigest, bytes: Uint8Array): void {
    const name = this.#place(digest)
    const ring = this.#count++ < FEW_FILES ? null : this.#openRing()
    if (ring !== null) {
      this.#directory ??= openSync(this.#staging, 'r')
      return ring.create(this.#directory, name as ByteString, bytes, OBJECT_MODE)
    }
    const fd = openSync(`${this.#staging}/${name}`, 'wx', OBJECT_MODE)
    try {
      writeAll(fd, bytes)
    } finally {
      closeSync(fd)
    }
  }

  /** Begins a file whose digest will be known at its end; one at a time. */
  begin(): LargeFile {
    const path = `${this.#staging}/${LARGE}`
    const fd = openSync(path, 'wx', OBJECT_MODE)
    const ring = this.#openRing()?.pieces(fd, byteString(path)) ?? null
    return {
      put: (bytes, position) => (ring === null ? writeAll(fd, bytes, position) : ring.put(bytes, position)),
      setLength: (length) => ftruncateSync(fd, length),
      close: () => (ring === null ? closeSync(fd) : ring.end()),
      keep: (digest) => renameSync(path, `${this.#staging}/${this.#place(digest)}`),
      drop: () => unlinkSync(path),
    }
  }

  /** When this returns, all that was added is written, though not to the disk. */
  settle(): void {
    this.#ring?.settle()
  }

  /**
   * Moves all that was added into `objects/`. The files must be synced already.
   *
   * A directory that `objects/` lacks is moved as a whole, so directories come first. Where another ingest has brought the same
   * object meanwhile, equal bytes are put in place of equal bytes.
   *
   * @returns the directories that were changed: when they are synced, the objects are there for good
   */
  publish(): Iterable<string> {
    const touched = new Set<string>()
    for (const [prefix, names] of this.#staged) {
      const [from, to] = [`${this.#staging}/${prefix}`, `${this.#objects}/${prefix}`]
      if (moveDirectory(from, to)) continue
      for (const name of names) renameSync(`${from}/${name}`, `${to}/${name}`)
      touched.add(to)
    }
    for (const digest of this.#few) touched.add(this.#publishFile(digest))
    // Directories may be new, also those that another ingest has made just now.
    if (this.#few.length > 0) touched.add(this.#objects)
    return touched
  }

  /** Nothing is written any more when this returns. What is not published stays, for whoever removes the staging directory. */
  [Symbol.dispose](): void {
    try {
      this.#ring?.[Symbol.dispose]()
    } finally {
      if (this.#directory !== null) closeSync(this.#directory)
    }
  }

  /** Null where nobody else can write. */
  #openRing(): FileRing | null {
    if (this.#ring === undefined) this.#ring = FileRing.open(this.#writers)
    return this.#ring
  }

  /** Moves a file that is staged under its digest. @returns the directory that it is in then */
  #publishFile(digest: VerityDigest): string {
    const directory = `${this.#objects}/${digest.slice(0, 2)}`
    const move = () => renameSync(`${this.#staging}/${digest}`, `${this.#objects}/${objectName(digest)}`)
    try {
      move()
    } catch (error) {
      if (!isErrno(error, 'ENOENT')) throw error
      // Directories of `objects/` are never taken away.
      mkdirSync(directory, { mode: DIRECTORY_MODE, recursive: true })
      move()
    }
    return directory
  }

  /** Notes a file, and makes the directory for it, if any. @returns its name in the staging directory */
  #place(digest: VerityDigest): string {
    if (this.#few.length < FEW_FILES) {
      this.#few.push(digest)
      return digest
    }
    const prefix = digest.slice(0, 2)
    const names = this.#staged.get(prefix)
    if (names !== undefined) {
      names.push(digest.slice(2))
    } else {
      mkdirSync(`${this.#staging}/${prefix}`, { mode: DIRECTORY_MODE })
      this.#staged.set(prefix, [digest.slice(2)])
    }
    return objectName(digest)
  }
}

/** A file that is written in pieces, each where no other was. */
export interface LargeFile {
  put(bytes: Uint8Array, position: number): void
  /** Makes the file longer than what is put: the rest is a hole. */
  setLength(length: number): void
  /** Once; before `keep` or `drop`. */
  close(): void
  keep(digest: VerityDigest): void
  drop(): void
}

/** @returns false when the other directory is there, and not empty */
function moveDirectory(from: string, to: string): boolean {
  try {
    renameSync(from, to)
    return true
  } catch (error) {
    if (isErrno(error, 'ENOTEMPTY', 'EEXIST')) return false
    throw error
  }
}
