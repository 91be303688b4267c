/**
 * Where an image is written to. A regular file appears whole and durable under its name, or not at all; what is no regular
 * file (a device, a FIFO, an open file that /proc names) is written to as it stands.
 */
import { randomBytes } from 'node:crypto'
import { close, constants, fstatSync, fsync, openSync, type Stats, write } from 'node:fs'
import { type FileHandle, lstat, open, readlink, rename, statfs, unlink } from 'node:fs/promises'
import { Socket } from 'node:net'
import { dirname, join, resolve } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { isatty } from 'node:tty'
import { promisify } from 'node:util'
import { isErrno, NotFoundError, SystemError, toGrootError, UsageError } from '../../errors.js'
import { syncDirectory } from '../../linux/sync.js'
import type { ByteSink } from './api.js'
import { shown } from './input.js'

export interface Output extends ByteSink {
  /** Ends it; a regular file is under its name and durable then. */
  commit(): Promise<void>
  /** Leaves nothing of a regular file; after commit, nothing happens. */
  discard(): Promise<void>
}

/** What stands at the end of a path, symlinks followed. */
export interface Target {
  readonly path: string
  /** `aside`: a regular file or nothing. `direct`: anything that must not be replaced. */
  readonly way: 'aside' | 'direct'
  readonly stats: Stats | null
}

const MAX_SYMLINKS = 40 // as the kernel
const PROC_MAGIC = 0x9fa0 // linux/magic.h

/**
 * Looks at where an image shall go, before any work is done for it.
 *
 * @throws {NotFoundError} `file-missing` when the directory is not there
 * @throws {UsageError} `usage-invalid` for a directory
 */
export async function findTarget(path: string): Promise<Target> {
  let at = resolve(path)
  try {
    for (let links = 0; links < MAX_SYMLINKS; links++) {
      const stats = await lstatOrNull(at)
      if (stats === null) {
        await lstat(dirname(at))
        return { path: at, way: 'aside', stats }
      }
      if (stats.isFile()) return { path: at, way: 'aside', stats }
      if (stats.isDirectory()) throw isDirectory(path)
      // What links in /proc lead to has often no name, or another one by now: only opening them gets there.
      if (!stats.isSymbolicLink() || (await isProc(at))) return { path: at, way: 'direct', stats }
      at = resolve(dirname(at), await readlink(at))
    }
  } catch (error) {
    throw outputError(path, error)
  }
  throw new SystemError('system-call', `Cannot write ${shown(path)}: too many symlinks`, {
    facts: { path, errno: 'ELOOP', syscall: 'open' },
  })
}

/** @throws {UsageError} `usage-invalid` for a terminal */
export async function openOutput(target: Target, signal: AbortSignal | undefined): Promise<Output> {
  try {
    if (target.way === 'aside') return await FileAside.open(target)
    const fd = await openDirectly(target.path, signal)
    if (isatty(fd)) {
      await closeFd(fd)
      throw isTerminal(target.path)
    }
    return fstatSync(fd).isFIFO() ? new Pipe(fd, target.path, signal) : new OpenFile(fd, target.path)
  } catch (error) {
    throw outputError(target.path, error)
  }
}

function isTerminal(path: string): UsageError {
  const message = `Cannot write the image to ${shown(path)}: it is a terminal, and images are not text`
  return new UsageError('usage-invalid', message, { facts: { path } })
}

const [closeFd, syncFd, writeFd] = [promisify(close), promisify(fsync), promisify(write)]

class FileAside implements Output {
  readonly #handle: FileHandle
  readonly #aside: string
  readonly #target: Target
  #isOpen = true

  private constructor(handle: FileHandle, aside: string, target: Target) {
    this.#handle = handle
    this.#aside = aside
    this.#target = target
  }

  static async open(target: Target): Promise<FileAside> {
    const aside = join(dirname(target.path), `.groot-${randomBytes(8).toString('hex')}`)
    const handle = await open(aside, 'wx', 0o666)
    const output = new FileAside(handle, aside, target)
    try {
      if (target.stats !== null) await keepOwner(handle, target.stats)
      return output
    } catch (error) {
      await output.discard()
      throw error
    }
  }

  async write(bytes: Uint8Array): Promise<void> {
    try {
      await writeAll(bytes, async (rest) => (await this.#handle.write(rest)).bytesWritten)
    } catch (error) {
      throw outputError(this.#target.path, error)
    }
  }

  async commit(): Promise<void> {
    const { path } = this.#target
    try {
      await this.#handle.sync()
      await this.#handle.close()
      // commit point: the image is there, whole
      await rename(this.#aside, path)
      this.#isOpen = false
      syncDirectory(dirname(path))
    } catch (error) {
      throw outputError(path, error)
    }
  }

  async discard(): Promise<void> {
    if (!this.#isOpen) return
    this.#isOpen = false
    await this.#handle.close().catch(() => {}) // it is of no use any more, and was perhaps closed
    await unlink(this.#aside)
  }
}

/** What takes the place of a file has its mode, and its owner where that may be given. */
async function keepOwner(handle: FileHandle, { mode, uid, gid }: Stats): Promise<void> {
  const own = await handle.stat()
  if (own.uid !== uid || own.gid !== gid) {
    await handle.chown(uid, gid).catch((error: unknown) => {
      if (!isErrno(error, 'EPERM', 'EINVAL')) throw error
    })
  }
  await handle.chmod(mode & 0o777)
}

class OpenFile implements Output {
  readonly #fd: number
  readonly #path: string
  #isOpen = true

  constructor(fd: number, path: string) {
    this.#fd = fd
    this.#path = path
  }

  async write(bytes: Uint8Array): Promise<void> {
    try {
      await writeAll(bytes, async (rest) => (await writeFd(this.#fd, rest)).bytesWritten)
    } catch (error) {
      throw outputError(this.#path, error)
    }
  }

  async commit(): Promise<void> {
    try {
      await syncFd(this.#fd).catch((error: unknown) => {
        if (!isErrno(error, 'EINVAL', 'EROFS', 'ENOTSUP')) throw error // /dev/null and its like have nothing to sync
      })
      this.#isOpen = false
      await closeFd(this.#fd)
    } catch (error) {
      throw outputError(this.#path, error)
    }
  }

  async discard(): Promise<void> {
    if (!this.#isOpen) return
    this.#isOpen = false
    await closeFd(this.#fd)
  }
}

/** Written by the event loop: a write that waits for the reader can be given up. */
class Pipe implements Output {
  readonly #socket: Socket
  readonly #path: string

  constructor(fd: number, path: string, signal: AbortSignal | undefined) {
    this.#path = path
    this.#socket = new Socket({
      fd,
      readable: false,
      writable: true,
      ...(signal === undefined ? {} : { signal }),
    })
    this.#socket.on('error', () => {}) // told by the write that it ended
  }

  write(bytes: Uint8Array): Promise<void> {
    return new Promise((done, fail) => {
      this.#socket.write(bytes, (error) => (error ? fail(outputError(this.#path, error)) : done()))
    })
  }

  commit(): Promise<void> {
    return new Promise((done) => this.#socket.end(done))
  }

  async discard(): Promise<void> {
    this.#socket.destroy()
  }
}

const RETRY_MS = 20

/** Without blocking: a FIFO that nobody reads yet is asked again and again. */
async function openDirectly(path: string, signal: AbortSignal | undefined): Promise<number> {
  for (;;) {
    try {
      return openSync(
        path,
        constants.O_WRONLY | constants.O_TRUNC | constants.O_NONBLOCK | constants.O_NOCTTY,
      )
    } catch (error) {
      const isFifo = isErrno(error, 'ENXIO') && (await lstat(path)).isFIFO()
      if (!isFifo) throw error
    }
    await setTimeout(RETRY_MS, undefined, signal === undefined ? {} : { signal })
  }
}

async function writeAll(bytes: Uint8Array, write: (rest: Uint8Array) => Promise<number>): Promise<void> {
  for (let done = 0; done < bytes.length; ) done += await write(bytes.subarray(done))
}

async function lstatOrNull(path: string): Promise<Stats | null> {
  try {
    return await lstat(path)
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return null
    throw error
  }
}

async function isProc(path: string): Promise<boolean> {
  return (await statfs(dirname(path))).type === PROC_MAGIC
}

function isDirectory(path: string): UsageError {
  return new UsageError('usage-invalid', `Cannot write ${shown(path)}: it is a directory`, {
    facts: { path },
  })
}

function outputError(path: string, error: unknown): Error {
  if (!isErrno(error, 'ENOENT', 'ENOTDIR')) return toGrootError(error, `Cannot write ${shown(path)}`)
  const message = `Cannot write ${shown(path)}: the directory that it would be in is not there`
  return new NotFoundError('file-missing', message, { facts: { path }, cause: error })
}
