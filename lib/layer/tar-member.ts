/**
 * What the headers of one member say together: its own block, and the PAX headers and GNU long names in front of it.
 *
 * Decides which word counts where several speak: a PAX header of the member, then GNU long names, then global PAX headers,
 * then the block. Extensions are about the member and never about another extension between them (hardening rule 13).
 * Reading blocks from the stream, and content, is the work of read-tar.ts.
 */
import { type ByteString, EMPTY, fromBytes } from '../bytes.js'
import { NO_XATTRS } from '../tree/model.js'
import type { TarEntry, TarKind } from './entry.js'
import { emptyPaxHeader, type Override, type PaxHeader, parsePax } from './pax.js'
import { type FlatRuns, oldSparseSize, planPaxSparse } from './sparse.js'
import { invalid, shown, TarFault } from './tar-fault.js'
import { FIELD, type HeaderFormat, headerFormat, nameField, numberField, timeField } from './tar-header.js'

/** An entry that is still being put together. */
export type EntryDraft = { -readonly [K in keyof TarEntry]: TarEntry[K] }

export interface Member {
  /** Complete but for `sparse`. */
  readonly entry: EntryDraft
  /** Bytes that follow the header block; 0 for all but regular files, whatever their size field says (hardening rule 14). */
  readonly stored: number
  /** Where the sparse map is: `header` for old GNU, `data` for one in front of the data; runs when it is known; or null. */
  readonly sparse: 'header' | 'data' | FlatRuns | null
}

/** Types of header that are about the member after them; `X` is how old Solaris wrote `x`. */
export type ExtensionType = 'x' | 'X' | 'g' | 'L' | 'K'

export function isExtension(type: string): type is ExtensionType {
  return type === 'x' || type === 'X' || type === 'g' || type === 'L' || type === 'K'
}

const MAX_ID = 2 ** 32 - 2 // the next one is -1, which system calls take for "leave as it is"
const MAX_MAJOR = 2 ** 12 - 1
const MAX_MINOR = 2 ** 20 - 1

const KINDS: ReadonlyMap<string, TarKind> = new Map([
  ['\0', 'file'],
  ['0', 'file'],
  ['7', 'file'], // contiguous: on disks of another age
  ['S', 'file'],
  ['1', 'hardlink'],
  ['2', 'symlink'],
  ['3', 'char'],
  ['4', 'block'],
  ['5', 'directory'],
  ['6', 'fifo'],
])

const REFUSED_TYPES: ReadonlyMap<string, string> = new Map([
  ['A', 'a Solaris access control list'],
  ['D', 'a directory listing of an incremental GNU archive'],
  ['E', 'a Solaris attribute file'],
  ['I', 'an inode of star without its data'],
  ['M', 'a file continued from another volume'],
  ['N', 'old GNU long names'],
  ['V', 'a volume label'],
])

const SAID_NOTHING: Readonly<PaxHeader> = Object.freeze(emptyPaxHeader())

export class MemberHeaders {
  readonly #maxBytes: number
  readonly #global = emptyPaxHeader()
  #globalBytes = 0
  #pax: PaxHeader | null = null
  #longName: ByteString | null = null
  #longLink: ByteString | null = null

  /** @param maxBytes of one extension, and of all global ones together */
  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes
  }

  /** Whether extensions wait for their member. */
  get isPending(): boolean {
    return this.#pax !== null || this.#longName !== null || this.#longLink !== null
  }

  /** The name of the member to come, as far as extensions told it; else empty. */
  get name(): ByteString {
    return this.#pax?.sparse?.name ?? this.#pax?.path ?? this.#longName ?? EMPTY
  }

  /**
   * Looks at the header block of an extension.
   *
   * @returns bytes of its body
   * @throws {TarFault}
   */
  announce(type: ExtensionType, block: Uint8Array, at: number): number {
    const length = numberField(block, at, FIELD.size, 'size')
    if (length > this.#maxBytes) {
      throw new TarFault(
        'limit-exceeded',
        `a header of it has ${length} bytes, the limit is ${this.#maxBytes}`,
      )
    }
    if (type === 'g') {
      if (this.isPending) throw invalid('a global PAX header stands between a member and its own headers')
      this.#globalBytes += length
      if (this.#globalBytes > this.#maxBytes) {
        throw new TarFault(
          'limit-exceeded',
          `the layer has global PAX headers of more than ${this.#maxBytes} bytes`,
        )
      }
    } else if ((type === 'x' || type === 'X') && this.#pax !== null) {
      // Go and GNU tar go by the last, Python by the first.
      throw invalid('it has two PAX headers')
    }
    return length
  }

  /** Takes the body of an extension, without its padding. */
  add(type: ExtensionType, bytes: Buffer, at: number, length: number): void {
    if (type === 'g') {
      parsePax(bytes, at, at + length, 'global', this.#global)
    } else if (type === 'L') {
      this.#longName = longName(bytes, at, length)
    } else if (type === 'K') {
      this.#longLink = longName(bytes, at, length)
    } else {
      this.#pax = emptyPaxHeader()
      parsePax(bytes, at, at + length, 'member', this.#pax)
    }
  }

  /**
   * Puts a member together and forgets its extensions.
   *
   * @param offset of the member's first header in the tar
   * @throws {TarFault}
   */
  resolve(type: string, block: Buffer, at: number, offset: number): Member {
    const typeKind = KINDS.get(type)
    if (typeKind === undefined) throw refusedType(type)
    const pax = this.#pax ?? SAID_NOTHING
    const format = headerFormat(block, at)
    const plan = pax.sparse === null ? null : planPaxSparse(pax.sparse)
    if (plan !== null && (typeKind !== 'file' || type === 'S')) {
      throw invalid(`it is sparse by its PAX header, which does not go with its type "${type}"`)
    }
    if (type === 'S' && format !== 'gnu') {
      throw invalid('it is of the sparse type of GNU tar and has no GNU header')
    }
    const path = plan?.name ?? this.#pathOf(pax, block, at, format)
    const said = pick(pax.size, this.#global.size) ?? numberField(block, at, FIELD.size, 'size')
    const stored = typeKind === 'file' ? said : 0
    const isSparse = type === 'S' || plan !== null
    const kind = typeKind === 'file' ? fileOrDirectory(path, stored, isSparse) : typeKind
    const mtime = pick(pax.mtime, this.#global.mtime)
    const isDevice = kind === 'char' || kind === 'block'
    const entry: EntryDraft = {
      kind,
      path,
      linkPath: kind === 'symlink' || kind === 'hardlink' ? this.#linkPathOf(pax, block, at) : EMPTY,
      mode: numberField(block, at, FIELD.mode, 'mode') & 0o7777, // many writers put the file type above them
      uid: this.#id('uid', pax, block, at),
      gid: this.#id('gid', pax, block, at),
      mtimeSeconds: mtime === undefined ? timeField(block, at) : mtime.seconds,
      mtimeNanoseconds: mtime === undefined ? 0 : mtime.nanoseconds,
      size: type === 'S' ? oldSparseSize(block, at) : (plan?.size ?? stored),
      major: isDevice ? this.#device('major', MAX_MAJOR, pax, block, at, format) : 0,
      minor: isDevice ? this.#device('minor', MAX_MINOR, pax, block, at, format) : 0,
      xattrs: pax.xattrs ?? NO_XATTRS,
      sparse: null,
      offset,
    }
    this.#pax = null
    this.#longName = null
    this.#longLink = null
    return { entry, stored, sparse: type === 'S' ? 'header' : plan && (plan.runs ?? 'data') }
  }

  #pathOf(pax: PaxHeader, block: Buffer, at: number, format: HeaderFormat): ByteString {
    const said = pick(oneName('name', pax.path, this.#longName), this.#global.path)
    if (said !== undefined) return said
    const name = nameField(block, at, FIELD.name)
    const prefix = format === 'posix' ? nameField(block, at, FIELD.prefix) : EMPTY
    const path = prefix === '' ? name : (`${prefix}/${name}` as ByteString)
    if (path === '') throw invalid('it has no name')
    return path
  }

  #linkPathOf(pax: PaxHeader, block: Buffer, at: number): ByteString {
    const said = pick(oneName('link target', pax.linkPath, this.#longLink), this.#global.linkPath)
    return said ?? nameField(block, at, FIELD.linkName)
  }

  #id(which: 'uid' | 'gid', pax: PaxHeader, block: Buffer, at: number): number {
    const id = pick(pax[which], this.#global[which]) ?? numberField(block, at, FIELD[which], which)
    if (id > MAX_ID) throw invalid(`its ${which} is ${id}, and ids end at ${MAX_ID}`)
    return id
  }

  #device(
    which: 'major' | 'minor',
    max: number,
    pax: PaxHeader,
    block: Buffer,
    at: number,
    format: HeaderFormat,
  ): number {
    const said = pick(pax[which], this.#global[which])
    if (said === undefined && format === 'v7') {
      throw invalid('it is a device in a format without device numbers')
    }
    const number = said ?? numberField(block, at, FIELD[which], `${which} number`)
    if (number > max) throw invalid(`its ${which} number is ${number}, and Linux has them up to ${max}`)
    return number
  }
}

/** A PAX header of the member overrides a global one, also by an empty value, which brings back the block's own. */
function pick<T>(own: Override<T>, global: Override<T>): T | undefined {
  return (own === undefined ? global : own) ?? undefined
}

/**
 * The name that a member's PAX header or GNU long name says. Where they say two, GNU tar goes by the first, Go by the second.
 */
function oneName(what: string, pax: Override<ByteString>, gnu: ByteString | null): Override<ByteString> {
  if (gnu === null) return pax
  if (typeof pax === 'string' && pax !== gnu) {
    throw invalid(`its ${what} is "${shown(pax)}" in a PAX header and "${shown(gnu)}" in a GNU header`)
  }
  return gnu
}

/**
 * Tars from before the type `5` mark a directory by a slash at the end of a regular file's name. GNU tar and libarchive
 * read it so in every format. With data it is refused, because readers disagree on whether the data is there to be skipped.
 */
function fileOrDirectory(path: ByteString, stored: number, isSparse: boolean): TarKind {
  if (!path.endsWith('/')) return 'file'
  if (stored > 0 || isSparse) throw invalid('its name ends with a slash, as of a directory, and it has data')
  return 'directory'
}

function refusedType(type: string): TarFault {
  const what = REFUSED_TYPES.get(type)
  const shownType = `"${shown(type as ByteString)}"`
  if (what !== undefined)
    return new TarFault('entry-refused', `its type ${shownType} is ${what}, which no layer needs`)
  return new TarFault('entry-refused', `its type ${shownType} is not known`)
}

/** The body of a GNU long name: a name, closed by a NUL. */
function longName(bytes: Buffer, at: number, length: number): ByteString {
  let end = at + length
  while (end > at && bytes[end - 1] === 0) end--
  const name = fromBytes(bytes, at, end)
  if (name === '') throw invalid('its GNU long name is empty')
  if (name.includes('\0')) throw invalid(`its GNU long name "${shown(name)}" has a NUL inside`)
  return name
}
