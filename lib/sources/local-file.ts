/**
 * Files that images are read from: opening them without being held or led away, and reading pieces of them.
 *
 * Layouts and archives may come from anywhere: what they call a blob can be a FIFO, a device or a symlink. Whether bytes
 * are what a digest says is not looked at here.
 */
import { constants, type Stats } from 'node:fs'
import { type FileHandle, open, stat } from 'node:fs/promises'
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
  return openRegular(path, 0, (found) => notAFile(path, found))
}

/** As openNamed, without keeping it open. */
export async function checkFile(path: string): Promise<void> {
  await using _file = await openNamed(path)
}

/**
 * Opens a regular file that a layout names; a symlink at its end is refused.
 *
 * @returns null when there is no such file
 * @throws {ImageError} `layout-invalid` for anything but a regular file
 * @throws {SystemError} when it cannot be read
 */
export async function openMember(path: string): Promise<OpenedFile | null> {
  try {
    return await openRegular(path, constants.O_NOFOLLOW, (found) => notABlob(path, found))
  } catch (error) {
    if (error instanceof NotFoundError) return null
    throw error
  }
}

async function openRegular(
  path: string,
  flags: number,
  refuse: (found: string) => Error,
): Promise<OpenedFile> {
  let handle: FileHandle
  try {
    // Without O_NONBLOCK, opening a FIFO waits for somebody to write to it.
    handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK | flags)
  } catch (error) {
    if (isErrno(error, 'ELOOP') && flags !== 0) throw refuse('a symlink')
    // A socket, or a device without a driver.
    if (isErrno(error, 'ENXIO', 'ENODEV')) throw refuse('neither a file nor a directory')
    throw localError(path, error)
  }
  try {
    const stats = await handle.stat()
    if (!stats.isFile()) throw refuse(stats.isDirectory() ? 'a directory' : 'neither a file nor a directory')
    return { handle, path, size: stats.size, [Symbol.asyncDispose]: () => handle.close() }
  } catch (error) {
    await handle.close()
    throw error
  }
}

/**
 * Checks that a person named a directory; symlinks are followed.
 *
 * @throws {NotFoundError} `file-missing`
 * @throws {UsageError} `reference-invalid` for anything but a directory
 */
export async function checkDirectory(path: string): Promise<void> {
  let stats: Stats
  try {
    stats = await stat(path)
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

/** The bytes of a whole small file. @throws {ImageError} `limit-exceeded` when it has more than `cap` bytes */
export async function readWhole(file: OpenedFile, cap: number): Promise<Buffer> {
  return readRegion(file, 0, file.size, cap, file.path)
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
  if (length > cap) {
    throw new ImageError(
      'limit-exceeded',
      `Cannot read ${shown(name)}: it has ${length} bytes, at most ${cap} are read`,
      {
        facts: { path: name, bytes: length, limit: cap },
      },
    )
  }
  const buffer = Buffer.allocUnsafe(length)
  let filled = 0
  while (filled < length) {
    const count = await readAt(file, buffer.subarray(filled), offset + filled)
    if (count === 0) break
    filled += count
  }
  return buffer.subarray(0, filled)
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
