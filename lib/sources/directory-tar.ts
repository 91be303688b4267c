/**
 * The tar of a directory: the same bytes for the same content, so that a directory has a digest.
 *
 * Names in byte order, PAX where ustar does not hold a value, modification times with nanoseconds, hard links by the first
 * of their names. Neither times of access and change nor inode numbers are in it. Nothing is written here.
 */
import { readSync } from 'node:fs'
import { type ByteString, byteString, EMPTY, printable } from '../bytes.js'
import { type ErrnoError, ImageError, IntegrityError, isErrno, SystemError } from '../errors.js'
import type { TarEntry, TarKind } from '../layer/entry.js'
import { TAR_END, tarHeader, tarPadding } from '../layer/write-tar.js'
import { pathString } from '../linux/c-string.js'
import { close, openDirectory } from '../linux/files.js'
import { NO_XATTRS, type Xattrs } from '../tree/model.js'
import { openScanned, type ScannedEntry, scanDirectory } from '../tree/scan.js'
import { Breather, shown } from './local-file.js'

const CHUNK_BYTES = 1024 * 1024
const WHITEOUT_PREFIX = '.wh.'

/** Set by this machine for itself: labels of its policy, seals with its keys. They are no content. */
const HOST_XATTRS: ReadonlySet<string> = new Set(['security.selinux', 'security.ima', 'security.evm'])

/**
 * Writes the tar, in chunks of 1 MiB, each with memory of its own.
 *
 * @param onSocket called with the path of each socket: tars have none
 * @throws {ImageError} `entry-refused` for a name that would mean a whiteout in a layer, and at mount points
 * @throws {IntegrityError} `source-changed` when a file is changed meanwhile
 * @throws {SystemError} naming what cannot be read
 */
export async function* directoryTar(
  path: string,
  signal: AbortSignal,
  onSocket: (path: ByteString) => void,
): AsyncGenerator<Uint8Array, void, undefined> {
  const breather = new Breather(signal)
  try {
    for (const chunk of tarChunks(path, onSocket)) {
      yield chunk
      await breather.after(chunk.length)
    }
  } catch (error) {
    throw isErrno(error) ? unreadable(path, error) : error
  }
}

function* tarChunks(
  path: string,
  onSocket: (path: ByteString) => void,
): Generator<Uint8Array, void, undefined> {
  const root = openDirectory(pathString(path))
  const chunk = new Chunk()
  try {
    for (const scanned of scanDirectory(path)) {
      const entry = tarEntry(scanned, path)
      if (entry === null) {
        onSocket(scanned.path)
        continue
      }
      yield* chunk.add(tarHeader(entry))
      if (entry.size === 0) continue
      yield* contentOf(root, scanned, chunk)
      yield* chunk.add(tarPadding(entry.size))
    }
    yield* chunk.add(TAR_END)
    if (chunk.rest().length > 0) yield chunk.rest()
  } finally {
    close(root)
  }
}

/** What is gathered until it is worth handing on. */
class Chunk {
  #buffer = Buffer.allocUnsafeSlow(CHUNK_BYTES)
  #filled = 0

  /** What has not been handed on. */
  rest(): Uint8Array {
    return this.#buffer.subarray(0, this.#filled)
  }

  *add(bytes: Uint8Array): Generator<Uint8Array, void, undefined> {
    for (let at = 0; at < bytes.length; ) {
      const part = bytes.subarray(at, at + CHUNK_BYTES - this.#filled)
      this.#buffer.set(part, this.#filled)
      at += part.length
      yield* this.#grow(part.length)
    }
  }

  /** Reads into the chunk until it is full, at most. @returns bytes read; 0 at the end of the file */
  *fill(fd: number, length: number): Generator<Uint8Array, number, undefined> {
    const count = readSync(fd, this.#buffer, this.#filled, Math.min(length, CHUNK_BYTES - this.#filled), null)
    yield* this.#grow(count)
    return count
  }

  *#grow(count: number): Generator<Uint8Array, void, undefined> {
    this.#filled += count
    if (this.#filled < CHUNK_BYTES) return
    const full = this.#buffer
    // A new one each time: a chunk may be handed to another thread, memory and all.
    this.#buffer = Buffer.allocUnsafeSlow(CHUNK_BYTES)
    this.#filled = 0
    yield full
  }
}

/** The content of a file, as many bytes as its header says. */
function* contentOf(root: number, entry: ScannedEntry, chunk: Chunk): Generator<Uint8Array, void, undefined> {
  const fd = openScanned(root, entry)
  try {
    let left = entry.size
    while (left > 0) {
      const count = yield* chunk.fill(fd, left)
      if (count === 0) throw changed(entry, entry.size - left)
      left -= count
    }
    const more = readSync(fd, Buffer.allocUnsafe(1), 0, 1, null)
    if (more > 0) throw changed(entry, entry.size + more)
  } catch (error) {
    throw isErrno(error) ? Object.assign(error, { path: printable(entry.path) }) : error
  } finally {
    close(fd)
  }
}

/** The member for what was scanned; null for a socket. */
function tarEntry(scanned: ScannedEntry, directory: string): Omit<TarEntry, 'offset' | 'sparse'> | null {
  if (scanned.kind === 'socket') return null
  refuseWhiteout(scanned, directory)
  const { mode, uid, gid, mtimeSeconds, mtimeNanoseconds, major, minor } = scanned
  const metadata = { mode, uid, gid, mtimeSeconds, mtimeNanoseconds, major, minor }
  if (scanned.linkTo !== null) {
    // The file itself has the metadata and the content.
    return {
      ...metadata,
      kind: 'hardlink',
      path: scanned.path,
      linkPath: scanned.linkTo,
      size: 0,
      xattrs: NO_XATTRS,
    }
  }
  const kind: TarKind = scanned.kind
  return {
    ...metadata,
    kind,
    path: kind === 'directory' ? directoryName(scanned.path) : scanned.path,
    linkPath: scanned.target,
    size: scanned.size,
    xattrs: withoutHosts(scanned.xattrs),
  }
}

function directoryName(path: ByteString): ByteString {
  return byteString(path === EMPTY ? './' : `${path}/`)
}

function withoutHosts(xattrs: Xattrs): Xattrs {
  if (![...xattrs.keys()].some((name) => HOST_XATTRS.has(name))) return xattrs
  return new Map([...xattrs].filter(([name]) => !HOST_XATTRS.has(name)))
}

// A layer cannot hold such a file: there the name removes another.
function refuseWhiteout({ path }: ScannedEntry, directory: string): void {
  const name = path.slice(path.lastIndexOf('/') + 1)
  if (!name.startsWith(WHITEOUT_PREFIX)) return
  const entry = printable(path)
  throw new ImageError(
    'entry-refused',
    `Cannot use directory ${shown(directory)} as an image: the name of "${entry}" begins with "${WHITEOUT_PREFIX}", which removes files in layers`,
    { facts: { directory, entry, cause: 'whiteout' } },
  )
}

function changed({ path, size }: ScannedEntry, found: number): IntegrityError {
  const entry = printable(path)
  return new IntegrityError(
    'source-changed',
    `Cannot read "${entry}": it had ${size} bytes, ${found < size ? `now there are ${found}` : 'now there are more'}`,
    { facts: { path: entry, expected: size, found }, temporary: true },
  )
}

function unreadable(directory: string, error: ErrnoError): SystemError {
  const entry = error.path ?? ''
  return new SystemError('system-call', `Cannot read directory ${shown(directory)}: ${error.message}`, {
    facts: { path: directory, entry, errno: error.code, syscall: error.syscall ?? null },
    cause: error,
  })
}
