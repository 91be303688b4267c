/**
 * Copies of scanned files for a directory of objects: staged under their digest, in a form that can be renamed to their
 * place once they are durable. What is there already is not copied.
 */
import { existsSync } from 'node:fs'
import { type ByteString, printable } from '../bytes.js'
import type { VerityAlgorithm } from '../composefs/verity.js'
import { isErrno, isGrootError, toGrootError } from '../errors.js'
import { type CString, pathString } from '../linux/c-string.js'
import { AT_FDCWD, O_CREAT, O_EXCL, O_NOFOLLOW, O_RDONLY, O_WRONLY } from '../linux/constants.js'
import { ContentCopier } from '../linux/copy.js'
import { changeMode, close, openAt, seek, unlinkAt } from '../linux/files.js'
import type { Work } from '../linux/slices.js'
import { type FileStat, statDescriptor } from '../linux/stat.js'
import { enableVerity, measureVerity } from '../linux/verity.js'
import { sourceChanged } from './source-changed.js'

export interface ObjectPlace {
  /** Absolute path; objects stand in it as `ab/cdef…`. */
  readonly directory: string
  /** Absolute path of a directory of this scan's own on the same filesystem. */
  readonly staging: string
}

type Hash = (fd: number, stat: FileStat, path: ByteString) => Work<string>

const OBJECT_MODE = 0o644 // as mkcomposefs makes them: every container may read them, whoever it runs as

export class ObjectCopier {
  readonly #place: ObjectPlace
  readonly #algorithm: VerityAlgorithm
  readonly #hash: Hash
  readonly #copier = new ContentCopier()

  constructor(place: ObjectPlace, algorithm: VerityAlgorithm, hash: Hash) {
    this.#place = place
    this.#algorithm = algorithm
    this.#hash = hash
  }

  /**
   * Copies the content of a file that was hashed, unless the object is there or another thread stages it.
   *
   * @param path for messages
   * @returns whether this call staged it
   * @throws {IntegrityError} `source-changed` when the copy does not have the digest any more
   * @throws {SystemError} when it cannot be written; never an errno error, which callers take for one of the source's
   */
  *store(fd: number, stat: FileStat, digest: string, path: ByteString): Work<boolean> {
    try {
      return yield* this.#store(fd, stat, digest, path)
    } catch (error) {
      throw toGrootError(
        error,
        `Cannot keep the content of "${printable(path)}" in "${this.#place.directory}"`,
      )
    }
  }

  *#store(fd: number, stat: FileStat, digest: string, path: ByteString): Work<boolean> {
    const { directory, staging } = this.#place
    if (existsSync(`${directory}/${digest.slice(0, 2)}/${digest.slice(2)}`)) return false
    const staged = pathString(`${staging}/${digest}`)
    let target: number
    try {
      target = openAt(AT_FDCWD, staged, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, OBJECT_MODE)
    } catch (error) {
      if (isErrno(error, 'EEXIST')) return false
      throw error
    }
    try {
      yield* this.#copy(fd, stat, target, path)
      yield* this.#verify(staged, digest, path)
      return true
    } catch (error) {
      unlinkAt(AT_FDCWD, staged)
      throw error
    }
  }

  *#copy(fd: number, stat: FileStat, target: number, path: ByteString): Work<void> {
    try {
      seek(fd, 0)
      const copied = yield* this.#copier.copy(fd, stat, target, statDescriptor(target).device)
      if (copied !== stat.size) throw sourceChanged(path)
      changeMode(target, OBJECT_MODE) // whatever the umask is
    } finally {
      close(target)
    }
  }

  /** The copy is ours and stays as it is, so its digest is what counts: the source may have changed since it was hashed. */
  *#verify(staged: CString, digest: string, path: ByteString): Work<void> {
    const fd = openAt(AT_FDCWD, staged, O_RDONLY | O_NOFOLLOW)
    try {
      const measured = this.#protect(fd)
      const found = measured ?? (yield* this.#hash(fd, statDescriptor(fd), path))
      if (found !== digest) throw sourceChanged(path)
    } finally {
      close(fd)
    }
  }

  /** Has the kernel check every read from now on, where it can. @returns the digest that it measured, else null */
  #protect(fd: number): string | null {
    try {
      if (!enableVerity(fd, this.#algorithm)) return null
    } catch (error) {
      // As mkcomposefs has it: only tried. Filesystems refuse it for reasons of their own, as for compressed files.
      if (isErrno(error) || isGrootError(error)) return null
      throw error
    }
    const measured = measureVerity(fd)
    return measured?.algorithm === this.#algorithm ? measured.digest : null
  }
}
