/**
 * PAX extended headers: records `<length> <key>=<value>` that override the fields of the headers after them (POSIX pax,
 * "pax Extended Header"; keys of star, libarchive and GNU tar).
 *
 * Values are bytes and may hold newlines and NULs; the length alone says where they end. Keys that say nothing about
 * what groot keeps (times other than mtime, user names, comments, `hdrcharset`) are passed over.
 */
import { type ByteString, fromBytes } from '../bytes.js'
import { parseDecimal, type SparseRecords } from './sparse.js'
import { invalid, shown, TarFault } from './tar-fault.js'

/** What a header says of a field: undefined for nothing, null for "forget the override" (an empty value). */
export type Override<T> = T | null | undefined

export interface PaxTime {
  readonly seconds: bigint
  readonly nanoseconds: number
}

export interface PaxHeader {
  path: Override<ByteString>
  linkPath: Override<ByteString>
  /** Bytes stored in the archive. */
  size: Override<number>
  uid: Override<number>
  gid: Override<number>
  mtime: Override<PaxTime>
  major: Override<number>
  minor: Override<number>
  /** From SCHILY.xattr.*, and from LIBARCHIVE.xattr.* for names that the former do not have. */
  xattrs: Map<ByteString, ByteString> | null
  sparse: SparseRecords | null
}

/** A header of one member (`x`), or of all that follow (`g`). */
export type PaxScope = 'member' | 'global'

export function emptyPaxHeader(): PaxHeader {
  return {
    path: undefined,
    linkPath: undefined,
    size: undefined,
    uid: undefined,
    gid: undefined,
    mtime: undefined,
    major: undefined,
    minor: undefined,
    xattrs: null,
    sparse: null,
  }
}

/**
 * Reads the records between two offsets into a header; later ones win over earlier ones.
 *
 * @throws {TarFault}
 */
export function parsePax(bytes: Buffer, start: number, end: number, scope: PaxScope, into: PaxHeader): void {
  const reader = new RecordReader(scope, into)
  let at = start
  while (at < end) {
    let length = 0
    let i = at
    for (; i < end; i++) {
      const digit = bytes[i]! - 0x30
      if (digit < 0 || digit > 9) break
      length = length * 10 + digit
      if (length > end - at) throw invalid('a record of its PAX header is longer than the header')
    }
    const keyAt = i + 1
    const newline = at + length - 1
    if (i === at || bytes[i] !== 0x20 || newline <= keyAt) {
      throw invalid('its PAX header has a record without a usable length')
    }
    if (bytes[newline] !== 0x0a) throw invalid('a record of its PAX header does not end with a newline')
    const equals = bytes.indexOf(0x3d, keyAt)
    if (equals === -1 || equals >= newline) throw invalid('its PAX header has a record without "="')
    if (equals === keyAt) throw invalid('its PAX header has a record without a key')
    reader.record(fromBytes(bytes, keyAt, equals), bytes, equals + 1, newline)
    at = newline + 1
  }
  reader.finish()
}

const SCHILY_XATTR = 'SCHILY.xattr.'
const LIBARCHIVE_XATTR = 'LIBARCHIVE.xattr.'
const GNU_SPARSE = 'GNU.sparse.'

// Records that change what the data of a member mean. Passed over, they would leave a wrong file without a word.
const REFUSED_KEYS: ReadonlyMap<string, string> = new Map([
  ['SUN.holesdata', 'a sparse file as Solaris stores it'],
  ['SCHILY.realsize', 'a sparse or split file as star stores it'],
  ['SCHILY.offset', 'a part of a file from several volumes'],
  ['GNU.volume.filename', 'a part of a file from several volumes'],
  ['GNU.volume.offset', 'a part of a file from several volumes'],
  ['GNU.volume.size', 'a part of a file from several volumes'],
])

/** Puts records into a header, one by one. */
class RecordReader {
  readonly #scope: PaxScope
  readonly #into: PaxHeader
  #libarchive: Map<ByteString, ByteString> | null = null

  constructor(scope: PaxScope, into: PaxHeader) {
    this.#scope = scope
    this.#into = into
  }

  /** A record, its value between two offsets. */
  record(key: ByteString, bytes: Buffer, start: number, end: number): void {
    const into = this.#into
    switch (key as string) {
      case 'path':
        into.path = nameOf(key, bytes, start, end)
        return
      case 'linkpath':
        into.linkPath = nameOf(key, bytes, start, end)
        return
      case 'size':
        into.size = numberOf(key, bytes, start, end)
        return
      case 'uid':
        into.uid = numberOf(key, bytes, start, end)
        return
      case 'gid':
        into.gid = numberOf(key, bytes, start, end)
        return
      case 'mtime':
        into.mtime = start === end ? null : parsePaxTime(fromBytes(bytes, start, end))
        return
      case 'SCHILY.devmajor':
        into.major = numberOf(key, bytes, start, end)
        return
      case 'SCHILY.devminor':
        into.minor = numberOf(key, bytes, start, end)
        return
      default:
        this.#other(key, bytes, start, end)
    }
  }

  finish(): void {
    if (this.#libarchive === null) return
    this.#into.xattrs ??= new Map()
    const { xattrs } = this.#into
    for (const [name, value] of this.#libarchive) if (!xattrs.has(name)) xattrs.set(name, value)
  }

  #other(key: ByteString, bytes: Buffer, start: number, end: number): void {
    if (key.includes('\0')) throw invalid(`its PAX header has a NUL in the key "${shown(key)}"`)
    const what = REFUSED_KEYS.get(key)
    if (what !== undefined) throw new TarFault('entry-refused', `it is ${what} (${key})`)
    const isXattr = key.startsWith(SCHILY_XATTR) || key.startsWith(LIBARCHIVE_XATTR)
    const isSparse = key.startsWith(GNU_SPARSE)
    if (!isXattr && !isSparse) return
    if (this.#scope === 'global') {
      // Both are about one file. A megabyte of attributes, applied to each of a million members, would be an attack.
      throw invalid(`a global PAX header has the record ${shown(key)}, which can only be about one member`)
    }
    const value = fromBytes(bytes, start, end)
    if (isXattr) this.#xattr(key, value)
    else this.#sparse(key, value)
  }

  #xattr(key: ByteString, value: ByteString): void {
    // An empty value is an attribute without content here, not a deletion: nothing global could be deleted.
    if (key.startsWith(SCHILY_XATTR)) {
      const name = xattrName(key, key.slice(SCHILY_XATTR.length))
      this.#into.xattrs ??= new Map()
      this.#into.xattrs.set(name, value)
    } else {
      const name = xattrName(key, decodePercent(key, key.slice(LIBARCHIVE_XATTR.length)))
      this.#libarchive ??= new Map()
      this.#libarchive.set(name, decodeBase64(key, value))
    }
  }

  #sparse(key: ByteString, value: ByteString): void {
    this.#into.sparse ??= emptySparse()
    const { sparse } = this.#into
    switch (key.slice(GNU_SPARSE.length)) {
      case 'major':
        sparse.major = value
        return
      case 'minor':
        sparse.minor = value
        return
      case 'name':
        if (value === '' || value.includes('\0')) {
          throw invalid('its name in GNU.sparse.name is empty or has a NUL')
        }
        sparse.name = value
        return
      case 'size':
        sparse.size = parseDecimal(value, key)
        return
      case 'realsize':
        sparse.realSize = parseDecimal(value, key)
        return
      case 'numblocks':
        sparse.numBlocks = parseDecimal(value, key)
        return
      case 'map':
        sparse.map = value
        return
      case 'offset':
      case 'numbytes': {
        sparse.pairs ??= []
        const { pairs } = sparse
        const isOffset = key.endsWith('offset')
        if (isOffset !== (pairs.length % 2 === 0)) throw invalid('its sparse map has half a run')
        pairs.push(parseDecimal(value, key))
        return
      }
      default:
        throw new TarFault('entry-refused', `it is sparse with the record ${shown(key)}, which is not known`)
    }
  }
}

function emptySparse(): SparseRecords {
  return {
    major: undefined,
    minor: undefined,
    name: undefined,
    size: undefined,
    realSize: undefined,
    numBlocks: undefined,
    map: undefined,
    pairs: undefined,
  }
}

function nameOf(key: ByteString, bytes: Buffer, start: number, end: number): ByteString | null {
  if (start === end) return null
  const name = fromBytes(bytes, start, end)
  if (name.includes('\0')) throw invalid(`its PAX ${key} "${shown(name)}" has a NUL`)
  return name
}

function numberOf(key: ByteString, bytes: Buffer, start: number, end: number): number | null {
  return start === end ? null : parseDecimal(fromBytes(bytes, start, end), `its PAX ${key}`)
}

const INT64_MAX = 2n ** 63n - 1n
const INT64_MIN = -(2n ** 63n)
const INT64_DIGITS = 19
const NANOSECOND_DIGITS = 9

/**
 * A time in seconds with a decimal fraction, rounded down (towards the past) to nanoseconds: `-1.5` is 2 seconds before the
 * epoch and half a second forward.
 *
 * @throws {TarFault} for anything else, and for seconds beyond 64 bits
 */
export function parsePaxTime(text: ByteString): PaxTime {
  const match = /^(-?)([0-9]+)(?:\.([0-9]*))?$/.exec(text)
  if (match === null) throw invalid(`its PAX mtime "${shown(text)}" is not a decimal number`)
  const [, sign, digits = '', fraction = ''] = match
  // Apart from the match above: with zeros in it, it would try each way to share them out, a megabyte of them for hours.
  const whole = digits.replace(/^0+(?=[0-9])/, '')
  if (whole.length > INT64_DIGITS) throw invalid(`its PAX mtime "${shown(text)}" does not fit into 64 bits`)
  let seconds = BigInt(whole)
  let nanoseconds = Number(fraction.slice(0, NANOSECOND_DIGITS).padEnd(NANOSECOND_DIGITS, '0'))
  if (sign === '-') {
    if (/[1-9]/.test(fraction.slice(NANOSECOND_DIGITS))) nanoseconds++
    seconds = -seconds
    if (nanoseconds > 0) {
      seconds -= 1n
      nanoseconds = 1_000_000_000 - nanoseconds
    }
  }
  if (seconds > INT64_MAX || seconds < INT64_MIN) {
    throw invalid(`its PAX mtime "${shown(text)}" does not fit into 64 bits`)
  }
  return { seconds, nanoseconds }
}

function xattrName(key: ByteString, name: string): ByteString {
  if (name === '' || name.includes('\0')) {
    throw invalid(`its PAX record ${shown(key)} has no usable attribute name`)
  }
  return name as ByteString
}

/** Libarchive writes bytes that are not plain in a name as `%` and two hex digits. */
function decodePercent(key: ByteString, name: string): string {
  if (/%(?![0-9a-fA-F]{2})/.test(name)) throw invalid(`its PAX record ${shown(key)} has a broken escape`)
  return name.replace(/%([0-9a-fA-F]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
}

/** Libarchive leaves out the padding; others write it. */
function decodeBase64(key: ByteString, value: ByteString): ByteString {
  const digits = value.replace(/={0,2}$/, '')
  const padded = digits.length < value.length
  const whole = padded ? value.length % 4 === 0 : digits.length % 4 !== 1
  if (!whole || !/^[A-Za-z0-9+/]*$/.test(digits)) {
    throw invalid(`its PAX record ${shown(key)} has a value that is not base64`)
  }
  return Buffer.from(digits, 'base64').toString('latin1') as ByteString
}
