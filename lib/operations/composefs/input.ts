/**
 * Reading what a person named: files, devices, pipes and FIFOs alike, without ever being held by one.
 */
import { constants, createReadStream, fstatSync, openSync } from 'node:fs'
import { Socket } from 'node:net'
import type { Readable } from 'node:stream'
import { byteString, printable } from '../../bytes.js'
import { isErrno, NotFoundError, toGrootError, UsageError } from '../../errors.js'
import type { ComposefsInput } from './api.js'
import { eachUnlessAborted } from './unless-aborted.js'

const PIECE_BYTES = 1024 * 1024

/** An open file whose descriptor is closed when the stream is. */
export interface OpenInput {
  readonly fd: number
  readonly isFile: boolean
  readonly stream: Readable
}

/**
 * Opens a file to be read from its start.
 *
 * @throws {NotFoundError} `file-missing`
 * @throws {UsageError} `usage-invalid` for a directory
 */
export function openInput(path: string, signal: AbortSignal | undefined): OpenInput {
  let fd: number
  try {
    // Opening a FIFO would wait for somebody to write to it, on a thread that nobody can stop.
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
  } catch (error) {
    throw inputError(path, error)
  }
  const stats = fstatSync(fd)
  const abort = signal === undefined ? {} : { signal }
  const stream = stats.isFIFO()
    ? new Socket({ fd, readable: true, writable: false, ...abort })
    : createReadStream('', { fd, highWaterMark: PIECE_BYTES, ...abort })
  if (!stats.isDirectory()) return { fd, isFile: stats.isFile(), stream }
  stream.destroy()
  throw new UsageError('usage-invalid', `Cannot read ${shown(path)}: it is a directory`, { facts: { path } })
}

/** The bytes of an input. The errors of reading a path name it. */
export async function* bytesOf(
  input: ComposefsInput,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array, void, undefined> {
  if (typeof input !== 'string') return yield* eachUnlessAborted(input, signal)
  yield* bytesOfOpened(input, openInput(input, signal))
}

/** The bytes of an input that is open, which is closed at the end. @param path for errors */
export async function* bytesOfOpened(
  path: string,
  { stream }: OpenInput,
): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    yield* stream
  } catch (error) {
    throw inputError(path, error)
  } finally {
    stream.destroy()
  }
}

/** What the input is called in messages. */
export function nameOf(input: ComposefsInput): string {
  return typeof input === 'string' ? shown(input) : 'the given bytes'
}

/** What the input is called in answers. */
export function pathOf(input: ComposefsInput): string | null {
  return typeof input === 'string' ? input : null
}

export function shown(path: string): string {
  return `"${printable(byteString(path))}"`
}

function inputError(path: string, error: unknown): Error {
  if (isErrno(error, 'ENOENT', 'ENOTDIR')) {
    const facts = { path }
    return new NotFoundError('file-missing', `Cannot read ${shown(path)}: there is no such file`, {
      facts,
      cause: error,
    })
  }
  return toGrootError(error, `Cannot read ${shown(path)}`)
}
