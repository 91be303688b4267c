/**
 * Several files made durable together.
 *
 * A sync of one file makes a journaling filesystem write its whole journal, with all that was done before. So everything is
 * written first and on its way to the disk before the first sync, and the syncs after that find little left to do. Where the
 * filesystem keeps the order of metadata, contents are waited for and nothing is synced but the name that comes last.
 */
import { closeSync, fstatSync, openSync, renameSync, statSync } from 'node:fs'
import { dirname } from 'node:path'
import { isErrno } from '../errors.js'
import { claim } from '../linux/claim.js'
import {
  startWriteback,
  syncDirectoryLater,
  syncFileLater,
  writeContents,
  writeContentsLater,
} from '../linux/sync.js'
import { isSyncing } from '../linux/sync-mode.js'
import { writeAll } from '../linux/write-all.js'
import { recordText, removeIfThere, temporaryPath, writeRecord } from './records.js'

/** A record that stands beside its name, and has yet to get it. */
export interface PendingRecord<T> {
  readonly value: T
  /** Makes the batch durable, and then the record, which says that what is in the batch is there. Once. */
  commit(): Promise<void>
}

export class DurableBatch implements Disposable {
  readonly #files: number[] = []
  readonly #directories: string[] = []
  /** Records that did not get their names. */
  readonly #unnamed = new Set<string>()
  readonly #isOrdered: boolean

  /** @param isOrdered whether the filesystem of the store keeps the order of metadata (lib/linux/ordered-metadata.ts) */
  constructor(isOrdered: boolean) {
    this.#isOrdered = isOrdered
  }

  /** Writes a new file. @returns its descriptor, open for as long as the batch */
  write(path: string, data: string | Uint8Array, mode: number): number {
    const bytes = typeof data === 'string' ? Buffer.from(data, 'utf8') : data
    const fd = openSync(path, 'wx', mode)
    this.#files.push(fd)
    writeAll(fd, bytes)
    startWriteback(fd, 0, 0)
    return fd
  }

  /** Has the names in a directory synced too. */
  directory(path: string): void {
    this.#directories.push(path)
  }

  /** Writes a record that means nothing yet; it is gone with the batch unless it is committed. */
  record<T>(path: string, value: T): PendingRecord<T> {
    const temporary = temporaryPath(path)
    this.#unnamed.add(temporary)
    const fd = this.write(temporary, recordText(value), 0o600)
    claim(fd)
    return { value, commit: () => this.#commit(fd, temporary, path, value) }
  }

  async #commit(fd: number, temporary: string, path: string, value: unknown): Promise<void> {
    await this.syncBefore(fd)
    try {
      renameSync(temporary, path)
    } catch (error) {
      // A clean that looked before it was claimed took it away.
      if (!isErrno(error, 'ENOENT')) throw error
      return writeRecord(path, value)
    }
    this.#unnamed.delete(temporary)
    await syncDirectoryLater(dirname(path))
  }

  /** Waits until the contents of all files are on the disk; whatever writes all names and metadata then makes them durable. */
  async writeContents(): Promise<void> {
    await this.#contentsOf(this.#files)
  }

  /** @returns the files that need a sync, as their contents cannot be waited for alone */
  async #contentsOf(files: readonly number[]): Promise<number[]> {
    const last = files.at(-1)
    if (last === undefined) return []
    const isWritten = await writeContentsLater(last)
    // All were on their way before it, so that there is mostly nothing left to wait for.
    return files.filter((fd) => (fd === last ? !isWritten : !writeContents(fd)))
  }

  /**
   * When this is done, all that was written and all names in the directories are durable as soon as what is done next in a
   * directory is. Other threads wait for the disk, so that other operations go on.
   *
   * @param next a file in that directory, open
   */
  async syncBefore(next: number): Promise<void> {
    if (!isSyncing()) return
    const { dev } = fstatSync(next)
    const isOrdered = (found: { readonly dev: number }) => this.#isOrdered && found.dev === dev
    const ordered = this.#files.filter((fd) => isOrdered(fstatSync(fd)))
    const others = this.#files.filter((fd) => !ordered.includes(fd))
    const files = [...others, ...(await this.#contentsOf(ordered))]
    const directories = this.#directories.filter((path) => !isOrdered(statSync(path)))
    // All at once, so that they share what the filesystem writes for each.
    await all([...files.map(syncFileLater), ...directories.map(syncDirectoryLater)])
  }

  [Symbol.dispose](): void {
    try {
      for (const path of this.#unnamed) removeIfThere(path)
    } finally {
      for (const fd of this.#files.splice(0)) closeSync(fd)
    }
  }
}

/** Waits for all, also when one fails: what they work on is closed after that. */
async function all(works: readonly Promise<void>[]): Promise<void> {
  for (const result of await Promise.allSettled(works)) if (result.status === 'rejected') throw result.reason
}
