/**
 * Writes tars for sources that have files and no tar: headers, padding, end. The same entry gives the same bytes, always.
 *
 * Plain ustar where the fields hold it, else a PAX header in front; nothing is rounded, cut or recoded, and read-tar.ts gives
 * back what went in. Contents are the caller's to write in between.
 */
import { type ByteString, compareBytes } from '../bytes.js'
import { BugError } from '../errors.js'
import type { TarEntry, TarKind } from './entry.js'
import { BLOCK_BYTES, FIELD, type Field } from './tar-header.js'

const ZEROS = new Uint8Array(2 * BLOCK_BYTES)

/** Ends an archive: two blocks of zeros. Shared: not to be written to. */
export const TAR_END: Uint8Array = ZEROS

/** The zeros that follow a content of `size` bytes. Shared: not to be written to. */
export function tarPadding(size: number): Uint8Array {
  return ZEROS.subarray(0, (BLOCK_BYTES - (size % BLOCK_BYTES)) % BLOCK_BYTES)
}

const TYPES: Readonly<Record<TarKind, string>> = {
  file: '0',
  hardlink: '1',
  symlink: '2',
  char: '3',
  block: '4',
  directory: '5',
  fifo: '6',
}

const MAX_ID = 0o7777777
const MAX_OCTAL_12 = 0o77777777777
// Goes into the header block that a PAX header overrides. Readers without PAX make a file of this name of it.
const PAX_NAME = 'PaxHeader' as ByteString

/**
 * The header blocks of a member: all that stands in front of its content.
 *
 * @throws {BugError} for what no tar can hold: an empty name, NUL in names, a file whose name ends with a slash
 */
export function tarHeader(entry: Omit<TarEntry, 'offset' | 'sparse'>): Uint8Array {
  checkNames(entry)
  const records = paxRecords(entry)
  const time = entry.mtimeNanoseconds === 0 && inOctal(entry.mtimeSeconds) ? Number(entry.mtimeSeconds) : 0
  const block = headerBlock({
    path: fits(entry.path) ? entry.path : asciiStub(entry.path),
    linkPath: fits(entry.linkPath) ? entry.linkPath : asciiStub(entry.linkPath),
    type: TYPES[entry.kind],
    mode: entry.mode,
    uid: entry.uid <= MAX_ID ? entry.uid : 0,
    gid: entry.gid <= MAX_ID ? entry.gid : 0,
    size: entry.size <= MAX_OCTAL_12 ? entry.size : 0,
    time,
    major: entry.major,
    minor: entry.minor,
  })
  if (records.length === 0) return block
  const body = Buffer.from(records.join(''), 'latin1')
  const pax = headerBlock({
    path: PAX_NAME,
    linkPath: '' as ByteString,
    type: 'x',
    mode: 0o644,
    uid: 0,
    gid: 0,
    size: body.length,
    time: 0,
    major: 0,
    minor: 0,
  })
  return Buffer.concat([pax, body, tarPadding(body.length), block])
}

function checkNames(entry: Omit<TarEntry, 'offset' | 'sparse'>): void {
  const names = [entry.path, entry.linkPath, ...entry.xattrs.keys()]
  const isFine =
    entry.path !== '' && !entry.xattrs.has('' as ByteString) && !names.some((name) => name.includes('\0'))
  if (!isFine) throw new BugError('Cannot write a tar header: a name is empty or has a NUL')
  if (entry.kind === 'file' && entry.path.endsWith('/')) {
    throw new BugError('Cannot write a tar header: the name of a file ends with a slash')
  }
}

/** Records for all that does not fit, in the order of their keys. */
function paxRecords(entry: Omit<TarEntry, 'offset' | 'sparse'>): string[] {
  const records: [key: ByteString, value: string][] = []
  const add = (key: string, value: string | number): void => {
    records.push([key as ByteString, String(value)])
  }
  if (!fits(entry.path)) add('path', entry.path)
  if (!fits(entry.linkPath)) add('linkpath', entry.linkPath)
  if (entry.size > MAX_OCTAL_12) add('size', entry.size)
  if (entry.uid > MAX_ID) add('uid', entry.uid)
  if (entry.gid > MAX_ID) add('gid', entry.gid)
  if (entry.mtimeNanoseconds !== 0 || !inOctal(entry.mtimeSeconds)) add('mtime', decimalTime(entry))
  for (const [name, value] of entry.xattrs) {
    if (name.includes('=')) {
      // SCHILY keys end at the first "=", and not all readers of them know an escape.
      add(`LIBARCHIVE.xattr.${percentEncoded(name)}`, Buffer.from(value, 'latin1').toString('base64'))
    } else {
      add(`SCHILY.xattr.${name}`, value)
    }
  }
  records.sort(([a], [b]) => compareBytes(a, b))
  return records.map(([key, value]) => record(key, value))
}

/** `<length> <key>=<value>` and a newline, the length counting itself. */
function record(key: string, value: string): string {
  const rest = ` ${key}=${value}\n`
  let length = rest.length
  while (String(length).length + rest.length !== length) length = String(length).length + rest.length
  return `${length}${rest}`
}

/** Whether a name can stand in a header field that readers may take for text. */
function fits(name: ByteString): boolean {
  return name.length <= FIELD.name.length && /^[\x01-\x7f]*$/.test(name)
}

function inOctal(seconds: bigint): boolean {
  return seconds >= 0n && seconds <= BigInt(MAX_OCTAL_12)
}

/** Seconds with a fraction as short as it can be; negative times count back from zero. */
function decimalTime(entry: Pick<TarEntry, 'mtimeSeconds' | 'mtimeNanoseconds'>): string {
  const total = entry.mtimeSeconds * 1_000_000_000n + BigInt(entry.mtimeNanoseconds)
  const magnitude = total < 0n ? -total : total
  const digits = magnitude.toString().padStart(10, '0')
  const fraction = digits.slice(-9).replace(/0+$/, '')
  return `${total < 0n ? '-' : ''}${digits.slice(0, -9)}${fraction === '' ? '' : `.${fraction}`}`
}

/** What readers without PAX get to see of a name. */
function asciiStub(name: ByteString): ByteString {
  return name.replace(/[^\x21-\x7e]/g, '_').slice(0, FIELD.name.length) as ByteString
}

function percentEncoded(name: ByteString): string {
  return name.replace(
    /[^A-Za-z0-9._-]/g,
    (char) => `%${char.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`,
  )
}

interface HeaderFields {
  readonly path: ByteString
  readonly linkPath: ByteString
  readonly type: string
  readonly mode: number
  readonly uid: number
  readonly gid: number
  readonly size: number
  readonly time: number
  readonly major: number
  readonly minor: number
}

function headerBlock(fields: HeaderFields): Buffer {
  const block = Buffer.alloc(BLOCK_BYTES)
  const write = (field: Field, text: string): void => {
    block.write(text, field.at, field.length, 'latin1')
  }
  // One byte of each field is left for the NUL that ends it.
  const octal = (field: Field, value: number): void => {
    write(field, value.toString(8).padStart(field.length - 1, '0'))
  }
  write(FIELD.name, fields.path)
  octal(FIELD.mode, fields.mode)
  octal(FIELD.uid, fields.uid)
  octal(FIELD.gid, fields.gid)
  octal(FIELD.size, fields.size)
  octal(FIELD.mtime, fields.time)
  write(FIELD.type, fields.type)
  write(FIELD.linkName, fields.linkPath)
  write(FIELD.magic, 'ustar\x0000')
  octal(FIELD.major, fields.major)
  octal(FIELD.minor, fields.minor)
  write(FIELD.checksum, ' '.repeat(FIELD.checksum.length))
  const sum = block.reduce((total, byte) => total + byte, 0)
  write(FIELD.checksum, `${sum.toString(8).padStart(6, '0')}\0 `)
  return block
}
