/**
 * Several files made durable together.
 *
 * A sync of one file makes a journaling filesystem write its whole journal, with all that was done before. So everything is
 * written first and on its way to the disk before the first sync, and the syncs after that find little left to do.
 */
import { closeSync, fsyncSync, openSync, writeSync } from 'node:fs'
import { startWriteback, syncDirectory } from '../linux/sync.js'

export class DurableBatch implements Disposable {
  readonly #files: number[] = []
  readonly #directories: string[] = []

  /** Writes a new file. */
  write(path: string, data: string | Uint8Array, mode: number): void {
    const bytes = typeof data === 'string' ? Buffer.from(data, 'utf8') : data
    const fd = openSync(path, 'wx', mode)
    this.#files.push(fd)
    for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at)
    startWriteback(fd, 0, 0)
  }

  /** Has the names in a directory synced too, after all files. */
  directory(path: string): void {
    this.#directories.push(path)
  }

  /** Durable when it returns: all that was written and all names in the directories. */
  sync(): void {
    for (const fd of this.#files) fsyncSync(fd)
    for (const path of this.#directories) syncDirectory(path)
  }

  [Symbol.dispose](): void {
    for (const fd of this.#files.splice(0)) closeSync(fd)
  }
}
