/**
 * Files that images are read from: opening them without being held or led away, and reading pieces of them.
 *
 * Layouts and archives may come from anywhere: what they call a blob can be a FIFO, a device or a symlink. Whether bytes
 * are what a digest says is not looked at here.
 */
import { closeSync, constants, fstatSync, openSync, readSync, type Stats, statSync } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { setImmediate } from 'node:timers/promises'
import { byteString, printable } from '../bytes.js'
import { ImageError, isErrno, NotFoundError, SystemError, throwIfAborted, UsageError } from '../errors.js'

/** A run of bytes of a file. */
export interface Region {
  readonly path: string
  readonly offset: number
  readonly length: number
}

export interface OpenedFile extends AsyncDisposable {
  readonly handle: FileHandle
  readonly path: string
  /** Bytes, when it was opened. */
  readonly size: number
}

const CHUNK_BYTES = 1024 * 1024

/**
 * Opens a regular file that a person named; symlinks are followed.
 *
 * @throws {NotFoundError} `file-missing`
 * @throws {UsageError} `reference-invalid` for a directory, device, FIFO or socket
 * @throws {SystemError} when it cannot be read
 */
export async function openNamed(path: string): Promise<OpenedFile> {
  const refuse = (found: string) => notAFile(path, found)
  let handle: FileHandle
  try {
    handle = await open(path, READ_ONLY)
  } catch (error) {
    throw openError(path, error, false, refuse)
  }
  try {
    const stats = await handle.stat()
    checkRegular(stats, refuse)
    return { handle, path, size: stats.size, [Symbol.asyncDispose]: () => handle.close() }
  } catch (error) {
    await handle.close()
    throw error
  }
}

/** As openNamed, without keeping it open. */
export async function checkFile(path: string): Promise<void> {
  await using _file = await openNamed(path)
}

/** Bytes of a regular file that a layout names; null when there is none. @throws as readMember */
export function memberSize(path: string): number | null {
  return withMember(path, (_fd, size) => size)
}

/**
 * The bytes of a small regular file that a layout names; a symlink at its end is refused. Without a thread of its own:
 * handing such a read over takes longer than the read.
 *
 * @returns null when there is no such file
 * @throws {ImageError} `layout-invalid` for anything but a regular file, `limit-exceeded` for more than `cap` bytes
 * @throws {SystemError} when it cannot be read
 */
export function readMember(path: string, cap: number): Buffer | null {
  return withMember(path, (fd, size) => {
    checkCap(path, size, cap)
    const buffer = Buffer.allocUnsafe(size)
    let filled = 0
    while (filled < size) {
      const count = readSync(fd, buffer, filled, size - filled, filled)
      if (count === 0) break
      filled += count
    }
    return buffer.subarray(0, filled)
  })
}

function withMember<T>(path: string, read: (fd: number, size: number) => T): T | null {
  let fd: number
  try {
    fd = openSync(path, READ_ONLY | constants.O_NOFOLLOW)
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENOTDIR')) return null
    throw openError(path, error, true, (found) => notABlob(path, found))
  }
  try {
    const stats = fstatSync(fd)
    checkRegular(stats, (found) => notABlob(path, found))
    return read(fd, stats.size)
  } catch (error) {
    throw localError(path, error)
  } finally {
    closeSync(fd)
  }
}

// Without O_NONBLOCK, opening a FIFO waits for somebody to write to it.
const READ_ONLY = constants.O_RDONLY | constants.O_NONBLOCK

function openError(
  path: string,
  error: unknown,
  refusesLinks: boolean,
  refuse: (found: string) => Error,
): unknown {
  if (isErrno(error, 'ELOOP') && refusesLinks) return refuse('a symlink')
  // A socket, or a device without a driver.
  if (isErrno(error, 'ENXIO', 'ENODEV')) return refuse('neither a file nor a directory')
  return localError(path, error)
}

function checkRegular(stats: Stats, refuse: (found: string) => Error): void {
  if (!stats.isFile()) throw refuse(stats.isDirectory() ? 'a directory' : 'neither a file nor a directory')
}

/**
 * Checks that a person named a directory; symlinks are followed.
 *
 * @throws {NotFoundError} `file-missing`
 * @throws {UsageError} `reference-invalid` for anything but a directory
 */
export function checkDirectory(path: string): void {
  let stats: Stats
  try {
    stats = statSync(path)
  } catch (error) {
    throw localError(path, error)
  }
  if (stats.isDirectory()) return
  const found = stats.isFile() ? 'a file' : 'neither a file nor a directory'
  throw new UsageError(
    'reference-invalid',
    `Cannot read an image from ${shown(path)}: it is ${found}, not a directory`,
    { facts: { path, found } },
  )
}

/** A path for messages: whole, quoted, without what could forge lines of a log. */
export function shown(path: string): string {
  return `"${printable(byteString(path))}"`
}

/**
 * The error for a path that cannot be opened or looked at.
 *
 * @returns NotFoundError `file-missing`, SystemError for other errno errors; what is neither passes unchanged
 */
function localError(path: string, error: unknown): unknown {
  if (!isErrno(error)) return error
  const facts = { path, errno: error.code, syscall: error.syscall ?? null }
  if (error.code === 'ENOENT' || error.code === 'ENOTDIR') {
    return new NotFoundError('file-missing', `Cannot read ${shown(path)}: there is no such file`, {
      facts: { path },
      cause: error,
    })
  }
  return new SystemError('system-call', `Cannot read ${shown(path)}: ${error.message}`, {
    facts,
    cause: error,
  })
}

/**
 * The bytes of a small region.
 *
 * @param name what it is called in messages
 * @returns fewer bytes when the file ends earlier
 * @throws {ImageError} `limit-exceeded` when it has more than `cap` bytes
 */
export async function readRegion(
  file: OpenedFile,
  offset: number,
  length: number,
  cap: number,
  name: string,
): Promise<Buffer> {
  checkCap(name, length, cap)
  const buffer = Buffer.allocUnsafe(length)
  let filled = 0
  while (filled < length) {
    const count = await readAt(file, buffer.subarray(filled), offset + filled)
    if (count === 0) break
    filled += count
  }
  return buffer.subarray(0, filled)
}

function checkCap(name: string, length: number, cap: number): void {
  if (length <= cap) return
  throw new ImageError(
    'limit-exceeded',
    `Cannot read ${shown(name)}: it has ${length} bytes, at most ${cap} are read`,
    { facts: { path: name, bytes: length, limit: cap } },
  )
}

/** @returns bytes read; 0 at the end of the file */
export async function readAt(file: OpenedFile, buffer: Uint8Array, offset: number): Promise<number> {
  try {
    return (await file.handle.read(buffer, 0, buffer.length, offset)).bytesRead
  } catch (error) {
    throw localError(file.path, error)
  }
}

export async function writeAll(handle: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length; ) at += (await handle.write(bytes, at)).bytesWritten
}

/**
 * The bytes of a region, in chunks of 1 MiB at most, each of which belongs to the consumer until it asks for the next.
 * Ends early when the file does.
 */
export async function* chunksOf(
  file: OpenedFile,
  signal: AbortSignal,
  offset = 0,
  length = file.size - offset,
): AsyncGenerator<Uint8Array, void, undefined> {
  const buffer = Buffer.allocUnsafe(Math.min(CHUNK_BYTES, Math.max(length, 1)))
  for (let at = 0; at < length; ) {
    throwIfAborted(signal)
    const count = await readAt(file, buffer.subarray(0, Math.min(buffer.length, length - at)), offset + at)
    if (count === 0) return
    at += count
    yield buffer.subarray(0, count)
  }
}

const BREATH_BYTES = 16 * 1024 * 1024

/**
 * Lets timers, signals and messages have their turn now and then, which a chain of finished promises never does.
 *
 * @throws {AbortedError}
 */
export class Breather {
  readonly #signal: AbortSignal
  #bytes = 0

  constructor(signal: AbortSignal) {
    this.#signal = signal
  }

  async after(bytes: number): Promise<void> {
    this.#bytes += bytes
    if (this.#bytes < BREATH_BYTES) return
    this.#bytes = 0
    await setImmediate()
    throwIfAborted(this.#signal)
  }
}

function notAFile(path: string, found: string): UsageError {
  return new UsageError(
    'reference-invalid',
    `Cannot read an image from ${shown(path)}: it is ${found}, not a regular file`,
    {
      facts: { path, found },
    },
  )
}

function notABlob(path: string, found: string): ImageError {
  return new ImageError(
    'layout-invalid',
    `Cannot read ${shown(path)}: it is ${found}, a layout holds regular files`,
    {
      facts: { path, found },
    },
  )
}
