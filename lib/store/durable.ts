/**
 * Several files made durable together.
 *
 * A sync of one file makes a journaling filesystem write its whole journal, with all that was done before. So everything is
 * written first and on its way to the disk before the first sync, and the syncs after that find little left to do. Where the
 * filesystem keeps the order of metadata, contents are waited for and nothing is synced but the name that comes last.
 */
import { closeSync, fstatSync, openSync, statSync } from 'node:fs'
import { startWriteback, syncDirectoryLater, syncFileLater, writeContentsLater } from '../linux/sync.js'
import { isSyncing } from '../linux/sync-mode.js'
import { writeAll } from '../linux/write-all.js'

export class DurableBatch implements Disposable {
  readonly #files: number[] = []
  readonly #directories: string[] = []
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

  /** Has the names in a directory synced too, after all files. */
  directory(path: string): void {
    this.#directories.push(path)
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
    await all(
      this.#files.map(async (fd) => {
        if (!isOrdered(fstatSync(fd)) || !(await writeContentsLater(fd))) await syncFileLater(fd)
      }),
    )
    for (const path of this.#directories) if (!isOrdered(statSync(path))) await syncDirectoryLater(path)
  }

  [Symbol.dispose](): void {
    for (const fd of this.#files.splice(0)) closeSync(fd)
  }
}

/** Waits for all, also when one fails: what they work on is closed after that. */
async function all(works: readonly Promise<void>[]): Promise<void> {
  for (const result of await Promise.allSettled(works)) if (result.status === 'rejected') throw result.reason
}
