/**
 * Archives that hold images: a tar of a few big members, read without unpacking it.
 *
 * The members are listed once, by their headers; contents are passed over and read later where they are. A compressed
 * archive is first written out plain. What the members mean is the business of oci-archive.ts and docker-archive.ts.
 */
import { randomUUID } from 'node:crypto'
import { open, rm } from 'node:fs/promises'
import { printable } from '../bytes.js'
import { type ErrorFacts, ImageError, isErrno, isGrootError, toGrootError } from '../errors.js'
import { quote } from '../image/json.js'
import {
  type Compression,
  decompress,
  detectCompression,
  COMPRESSION_HEAD_BYTES as HEAD,
} from '../layer/decompress.js'
import type { TarEntry } from '../layer/entry.js'
import { DEFAULT_LIMITS } from '../layer/limits.js'
import { TarReader, type TarSink } from '../layer/read-tar.js'
import {
  Breather,
  chunksOf,
  type OpenedFile,
  openNamed,
  type Region,
  readAt,
  readRegion,
  shown,
  writeAll,
} from './local-file.js'
import type { SourceContext } from './source.js'

type Member =
  | { readonly kind: 'file'; readonly offset: number; readonly length: number }
  /** Target is null when it leads out of the archive. */
  | { readonly kind: 'link'; readonly target: string | null }
  | { readonly kind: 'other' }

// An image has a member per layer and a few more; an archive of old form has six per layer and may hold many images.
const LIMITS = { ...DEFAULT_LIMITS, maxEntries: 262_144 }
/** What an archive may have in all for each byte that the files of an image may have, and beside that: headers, and other images. */
const PLAIN_FACTOR = 2
const PLAIN_BYTES = 64 * 1024 * 1024
const MAX_LINKS = 8
/** Of one name as it stands in the archive, and of a link's target (PATH_MAX); and of all of them, which are kept in memory. */
const MAX_NAME_BYTES = 4096
const MAX_NAMES_BYTES = 64 * 1024 * 1024
const BLOCK_BYTES = 512
const WINDOW_BYTES = 64 * 1024

/** An archive that was listed. Holds the file open; a plain copy of it is removed when it is disposed of. */
export class Archive implements AsyncDisposable {
  /** As it was named, for messages. */
  readonly path: string
  readonly #file: OpenedFile
  readonly #members: ReadonlyMap<string, Member>

  constructor(path: string, file: OpenedFile, members: ReadonlyMap<string, Member>) {
    this.path = path
    this.#file = file
    this.#members = members
  }

  /**
   * Where the content of a member is. Links are followed inside the archive, symlinks from the directory they are in.
   *
   * @returns null when there is no such file
   * @throws {ImageError} `archive-invalid` for a name or a link that leads out of the archive, and for links in a circle
   */
  find(name: string): Region | null {
    let path = cleanName(name)
    for (let links = 0; path !== null && links <= MAX_LINKS; links++) {
      const member = this.#members.get(path)
      if (member === undefined || member.kind === 'other') return null
      if (member.kind === 'file') {
        return { path: this.#file.path, offset: member.offset, length: member.length }
      }
      path = member.target
    }
    throw archiveInvalid(this.path, `${quote(name)} leads out of the archive, or in a circle`, {
      entry: name,
    })
  }

  /**
   * The bytes of a small member; null when there is none.
   *
   * @throws {ImageError} as find; `limit-exceeded` when it has more than `cap` bytes
   */
  async read(name: string, cap: number): Promise<Uint8Array | null> {
    const region = this.find(name)
    return region === null ? null : readRegion(this.#file, region.offset, region.length, cap, name)
  }

  /** How the content of a region is compressed. */
  async compressionOf({ offset, length }: Region): Promise<Compression> {
    const head = await readRegion(this.#file, offset, Math.min(length, HEAD), HEAD, this.path)
    return detectCompression(head)
  }

  chunks(region: Region, signal: AbortSignal): AsyncIterable<Uint8Array> {
    return chunksOf(this.#file, signal, region.offset, region.length)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file[Symbol.asyncDispose]()
  }
}

/**
 * Opens and lists an archive: plain, gzip or zstd.
 *
 * @throws {NotFoundError} `file-missing`
 * @throws {UsageError} `reference-invalid` when it is no regular file
 * @throws {ImageError} `archive-invalid` when it is no tar, cut, or has two members of one name; `compression-invalid`,
 *   `limit-exceeded`
 */
export async function openArchive(
  path: string,
  context: SourceContext,
  signal: AbortSignal,
): Promise<Archive> {
  const file = await openPlain(path, context, signal)
  try {
    return new Archive(path, file, await listMembers(path, file, signal))
  } catch (error) {
    await file[Symbol.asyncDispose]()
    throw error
  }
}

export function archiveInvalid(
  path: string,
  reason: string,
  facts: ErrorFacts = {},
  cause?: unknown,
): ImageError {
  return new ImageError('archive-invalid', `Cannot read archive ${shown(path)}: ${reason}`, {
    facts: { path, reason, ...facts },
    cause,
  })
}

/** The file itself, or a plain copy of it that is removed when it is disposed of. */
async function openPlain(path: string, context: SourceContext, signal: AbortSignal): Promise<OpenedFile> {
  const named = await openNamed(path)
  let isNamed = false
  try {
    isNamed = detectCompression(await readRegion(named, 0, Math.min(named.size, HEAD), HEAD, path)) === 'none'
    return isNamed ? named : await decompressToFile(named, context, signal)
  } finally {
    if (!isNamed) await named[Symbol.asyncDispose]()
  }
}

async function decompressToFile(
  packed: OpenedFile,
  context: SourceContext,
  signal: AbortSignal,
): Promise<OpenedFile> {
  const path = `${await context.scratch()}/archive-${randomUUID()}.tar`
  const handle = await open(path, 'wx+', 0o600)
  const remove = async () => {
    await handle.close()
    await rm(path, { force: true })
  }
  try {
    const breather = new Breather(signal)
    const limit = PLAIN_FACTOR * context.limits.maxTotalBytes + PLAIN_BYTES
    let size = 0
    for await (const chunk of decompress(chunksOf(packed, signal), null)) {
      size += chunk.length
      if (size > limit) throw tooBig(packed.path, 'decompressed it has', limit)
      await writeAll(handle, chunk)
      await breather.after(chunk.length)
    }
    return { handle, path, size, [Symbol.asyncDispose]: remove }
  } catch (error) {
    await remove()
    throw isErrno(error)
      ? toGrootError(error, `Cannot decompress archive ${shown(packed.path)} to ${shown(path)}`)
      : error
  }
}

/** @param has what it has more of: `it has a name of` */
function tooBig(path: string, has: string, limit: number): ImageError {
  return new ImageError(
    'limit-exceeded',
    `Cannot read archive ${shown(path)}: ${has} more than ${limit} bytes`,
    { facts: { path, limit } },
  )
}

/** Reads all headers, and of the contents nothing. */
async function listMembers(
  path: string,
  file: OpenedFile,
  signal: AbortSignal,
): Promise<Map<string, Member>> {
  const lister = new Lister(path)
  const reader = new TarReader(lister, LIMITS)
  const window = Buffer.allocUnsafe(WINDOW_BYTES)
  const breather = new Breather(signal)
  try {
    for (let at = 0, from = 0, until = 0; at < file.size; ) {
      if (at >= until) {
        from = at
        until = at + (await readAt(file, window, at))
        if (until === at) break
        await breather.after(until - at)
      }
      // From one block's end to the next, so that the reader never gets any content.
      const end = Math.min(at + BLOCK_BYTES - (at % BLOCK_BYTES), until)
      const block = window.subarray(at - from, end - from)
      reader.write(block)
      at += block.length
      const content = reader.contentLeft
      if (content === 0) continue
      lister.place(at, content)
      if (content > file.size - at) throw archiveInvalid(path, 'it is cut', { bytes: file.size })
      reader.skipContent(content)
      at += content
    }
    reader.end()
  } catch (error) {
    throw explain(path, error)
  }
  return lister.members
}

class Lister implements TarSink {
  readonly members = new Map<string, Member>()
  readonly #path: string
  #last = ''
  #nameBytes = 0

  constructor(path: string) {
    this.#path = path
  }

  entry(entry: TarEntry): void {
    this.#count(entry.path)
    this.#count(entry.linkPath)
    const name = cleanName(entry.path)
    const text = printable(entry.path)
    if (name === null) throw archiveInvalid(this.#path, `the name "${text}" leads out of it`, { entry: text })
    if (entry.kind === 'directory') return
    // Which of two a reader takes is its own choice, and what one tool has checked another must not replace.
    if (this.members.has(name)) throw archiveInvalid(this.#path, `it has "${text}" twice`, { entry: text })
    if (entry.sparse !== null) throw archiveInvalid(this.#path, `"${text}" is stored sparse`, { entry: text })
    this.members.set(name, memberOf(entry, name))
    this.#last = name
  }

  /** Says where the content of the last file is. */
  place(offset: number, length: number): void {
    this.members.set(this.#last, { kind: 'file', offset, length })
  }

  raw(): void {}
  content(): void {}
  entryEnd(): void {}

  #count(name: string): void {
    this.#nameBytes += name.length
    if (name.length > MAX_NAME_BYTES) throw tooBig(this.#path, 'it has a name of', MAX_NAME_BYTES)
    if (this.#nameBytes > MAX_NAMES_BYTES) throw tooBig(this.#path, 'it has names of', MAX_NAMES_BYTES)
  }
}

function memberOf({ kind, linkPath }: TarEntry, name: string): Member {
  if (kind === 'file') return { kind: 'file', offset: 0, length: 0 }
  if (kind === 'hardlink') return { kind: 'link', target: cleanName(linkPath) }
  if (kind !== 'symlink') return { kind: 'other' }
  const isAbsolute = linkPath.startsWith('/')
  return { kind: 'link', target: isAbsolute ? null : cleanName(`${name}/../${linkPath}`) }
}

/** The one spelling of a name; null when it climbs out of the archive. */
function cleanName(name: string): string | null {
  const parts: string[] = []
  for (const part of name.split('/')) {
    if (part === '' || part === '.') continue
    if (part !== '..') parts.push(part)
    else if (parts.pop() === undefined) return null
  }
  return parts.join('/')
}

/** The reader speaks of layers; this one is none. */
function explain(path: string, error: unknown): unknown {
  if (!isGrootError(error) || error.facts.cause === undefined) return error
  const { entry, cause, offset } = error.facts
  const where = entry === '' ? `at byte ${offset}` : `entry "${entry}"`
  const message = `Cannot read archive ${shown(path)}: ${where}: ${cause}`
  const code = error.code === 'limit-exceeded' ? 'limit-exceeded' : 'archive-invalid'
  return new ImageError(code, message, { facts: { path, ...error.facts }, cause: error })
}
