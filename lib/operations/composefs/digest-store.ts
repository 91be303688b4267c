/**
 * A directory of objects that a scan adds to: `ab/cdef…`, as overlayfs finds them below an image.
 *
 * Copies are staged in a directory of the scan's own, made durable by one sync of the filesystem, and renamed to their
 * places. A crash before that leaves the staging directory (`.tmp…`), which nobody reads.
 */
import { mkdirSync, mkdtempSync, realpathSync, renameSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { isErrno, toGrootError, UsageError } from '../../errors.js'
import { pathString } from '../../linux/c-string.js'
import { close, openDirectory } from '../../linux/files.js'
import { removeTree } from '../../linux/remove-tree.js'
import type { Work } from '../../linux/slices.js'
import { syncFilesystem } from '../../linux/sync.js'
import type { ObjectPlace } from '../../worker/object-copier.js'
import { shown } from './input.js'

const DIRECTORY_MODE = 0o755

export class DigestStore implements Disposable {
  readonly place: ObjectPlace

  private constructor(place: ObjectPlace) {
    this.place = place
  }

  /**
   * Opens a directory of objects, making it and those above it when they are not there.
   *
   * @param source the directory that will be scanned
   * @throws {UsageError} `usage-invalid` when the one is inside the other: what is staged would be scanned
   */
  static open(path: string, source: string): DigestStore {
    const directory = resolve(path)
    try {
      refuseInside(directory, source)
      mkdirSync(directory, { recursive: true, mode: DIRECTORY_MODE })
      return new DigestStore({ directory, staging: mkdtempSync(join(directory, '.tmp')) })
    } catch (error) {
      throw toGrootError(error, `Cannot use ${shown(path)} as the digest store`)
    }
  }

  /** Gives staged objects their places. Durable at its end. */
  *publish(digests: readonly string[]): Work<void> {
    const { directory, staging } = this.place
    const fd = openDirectory(pathString(directory))
    try {
      syncFilesystem(fd)
      for (const digest of digests) {
        moveTo(`${staging}/${digest}`, `${directory}/${digest.slice(0, 2)}`, digest.slice(2))
        yield
      }
      syncFilesystem(fd)
    } catch (error) {
      throw toGrootError(error, `Cannot fill the digest store ${shown(directory)}`)
    } finally {
      close(fd)
    }
  }

  /** Removes what is staged and was not published. */
  [Symbol.dispose](): void {
    removeTree(this.place.staging)
  }
}

function moveTo(staged: string, directory: string, name: string): void {
  try {
    renameSync(staged, `${directory}/${name}`)
  } catch (error) {
    if (!isErrno(error, 'ENOENT')) throw error
    mkdirSync(directory, { recursive: true, mode: DIRECTORY_MODE })
    renameSync(staged, `${directory}/${name}`)
  }
}

function refuseInside(directory: string, source: string): void {
  const scanned = realpathSync(source)
  const objects = realOrResolved(directory)
  if (objects !== scanned && !objects.startsWith(scanned === '/' ? '/' : `${scanned}/`)) return
  const message = `Cannot use ${shown(directory)} as the digest store: it is inside of the directory to scan, ${shown(source)}`
  throw new UsageError('usage-invalid', message, { facts: { path: directory, source } })
}

/** The real path of what is there of a path, with the rest. */
function realOrResolved(path: string): string {
  try {
    return realpathSync(path)
  } catch (error) {
    if (!isErrno(error, 'ENOENT')) throw error
    return join(realOrResolved(dirname(path)), path.slice(dirname(path).length))
  }
}
