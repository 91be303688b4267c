/**
 * Header blocks: the 512 bytes in front of each member, their checksum, and the numbers and names in their fields
 * (POSIX pax, "ustar Interchange Format"; GNU tar manual, "Basic Tar Format").
 *
 * Reads single fields, strictly, in place and at an offset, so that nothing is copied. What the fields mean together is
 * worked out in read-tar.ts.
 */
import { asBuffer, type ByteString, fromBytes } from '../bytes.js'
import { invalid, shown, type TarFault } from './tar-fault.js'

export const BLOCK_BYTES = 512

/** Where the fields of a header stand, and how long they are. */
export const FIELD = {
  name: { at: 0, length: 100 },
  mode: { at: 100, length: 8 },
  uid: { at: 108, length: 8 },
  gid: { at: 116, length: 8 },
  size: { at: 124, length: 12 },
  mtime: { at: 136, length: 12 },
  checksum: { at: 148, length: 8 },
  type: { at: 156, length: 1 },
  linkName: { at: 157, length: 100 },
  magic: { at: 257, length: 8 },
  major: { at: 329, length: 8 },
  minor: { at: 337, length: 8 },
  prefix: { at: 345, length: 155 },
} as const

export interface Field {
  readonly at: number
  readonly length: number
}

export type HeaderFormat = 'v7' | 'posix' | 'gnu'

const USTAR = [0x75, 0x73, 0x74, 0x61, 0x72] // "ustar"

/**
 * Who wrote the header. Only the POSIX magic (`ustar` NUL) has a name prefix; GNU (`ustar`, two spaces, NUL) keeps times
 * and sparse maps in its place, and anything else is older than both.
 */
export function headerFormat(block: Uint8Array, at: number): HeaderFormat {
  const magic = at + FIELD.magic.at
  for (let i = 0; i < USTAR.length; i++) if (block[magic + i] !== USTAR[i]) return 'v7'
  if (block[magic + 5] === 0) return 'posix'
  return block[magic + 5] === 0x20 && block[magic + 6] === 0x20 && block[magic + 7] === 0 ? 'gnu' : 'v7'
}

export function isZeroBlock(block: Uint8Array, at: number): boolean {
  for (let i = at; i < at + BLOCK_BYTES; i++) if (block[i] !== 0) return false
  return true
}

/**
 * Compares the checksum field with the sum of all bytes, its own taken as spaces.
 *
 * @throws {TarFault} also when the block is no header at all
 */
export function verifyChecksum(block: Uint8Array, at: number): void {
  const wanted = numberField(block, at, FIELD.checksum, 'checksum')
  const unsigned = sumOf(block, at)
  if (wanted === unsigned) return
  // Some old writers added up signed chars.
  let signed = unsigned
  for (let i = 0; i < BLOCK_BYTES; i++) {
    const isChecksum = i >= FIELD.checksum.at && i < FIELD.checksum.at + FIELD.checksum.length
    if (!isChecksum && block[at + i]! >= 0x80) signed -= 256
  }
  if (wanted !== signed) {
    throw invalid(`its header has the checksum ${wanted} and should have ${unsigned}`)
  }
}

function sumOf(block: Uint8Array, at: number): number {
  let sum = 8 * 0x20
  for (let i = at; i < at + BLOCK_BYTES; i += 4) {
    sum += block[i]! + block[i + 1]! + block[i + 2]! + block[i + 3]!
  }
  const checksum = at + FIELD.checksum.at
  for (let i = checksum; i < checksum + FIELD.checksum.length; i++) sum -= block[i]!
  return sum
}

/** A name field: up to its first NUL, or all of it. What follows the NUL has no meaning in any format. */
export function nameField(block: Buffer, at: number, field: Field): ByteString {
  const start = at + field.at
  const end = start + field.length
  let i = start
  while (i < end && block[i] !== 0) i++
  return fromBytes(block, start, i)
}

/**
 * A number that cannot be negative: octal digits between spaces, closed by spaces or NULs, nothing at all for 0; or
 * GNU's base-256.
 *
 * @param what its name, for messages
 * @throws {TarFault} for anything else and beyond 2^53 - 1
 */
export function numberField(block: Uint8Array, at: number, field: Field, what: string): number {
  const start = at + field.at
  const end = start + field.length
  if (block[start]! >= 0x80) return base256(block, start, end, what)
  let i = start
  while (i < end && block[i] === 0x20) i++
  let value = 0
  for (; i < end; i++) {
    const digit = block[i]! - 0x30
    if (digit < 0 || digit > 7) break
    value = value * 8 + digit // at most 12 digits, 36 bits
  }
  for (; i < end; i++) {
    if (block[i] !== 0 && block[i] !== 0x20) throw notANumber(block, start, end, what)
  }
  return value
}

/** Base-256: a byte 0x80 for positive or 0xff for negative numbers, then a big-endian two's complement. */
function base256(block: Uint8Array, start: number, end: number, what: string): number {
  if (block[start] === 0xff) throw invalid(`its ${what} is negative`)
  let value = block[start]! & 0x7f
  for (let i = start + 1; i < end; i++) {
    value = value * 256 + block[i]!
    if (value > Number.MAX_SAFE_INTEGER) throw invalid(`its ${what} is beyond 2^53 - 1`)
  }
  return value
}

/**
 * The time of last modification in seconds since the epoch: octal, or base-256 in the range of 64 bits.
 *
 * @throws {TarFault}
 */
export function timeField(block: Buffer, at: number): bigint {
  const start = at + FIELD.mtime.at
  const sign = block[start]!
  if (sign < 0x80) return BigInt(numberField(block, at, FIELD.mtime, 'mtime'))
  const seconds = block.readBigInt64BE(start + 4)
  const above = seconds < 0n ? 0xff : 0
  const fits = block[start + 1] === above && block[start + 2] === above && block[start + 3] === above
  if (!fits || sign !== (above | 0x80)) throw invalid('its mtime does not fit into 64 bits')
  return seconds
}

function notANumber(block: Uint8Array, start: number, end: number, what: string): TarFault {
  return invalid(`its ${what} "${shown(fromBytes(asBuffer(block), start, end))}" is not an octal number`)
}
