/**
 * Tar headers byte by byte, for tests: every field as the test wants it, right or wrong.
 *
 * Knows nothing of lib/layer, so that the reader is not tested against its own idea of the format. Well-formed layers are
 * easier with layer.ts.
 */

/** Text is written as UTF-8, bytes as they are. */
export type Bytes = string | Uint8Array

/** A number in octal, or in base-256 where octal does not hold it; a bigint always in base-256; text and bytes verbatim. */
export type TarNumber = number | bigint | Bytes

export interface RawMember {
  readonly name?: Bytes
  readonly mode?: TarNumber
  readonly uid?: TarNumber
  readonly gid?: TarNumber
  /** Without it, the length of `data`. */
  readonly size?: TarNumber
  readonly mtime?: TarNumber
  /** One char; `0` without it. */
  readonly type?: string
  readonly link?: Bytes
  /** `posix` without it; bytes stand for magic and version together. */
  readonly magic?: 'posix' | 'gnu' | 'v7' | Uint8Array
  readonly major?: TarNumber
  readonly minor?: TarNumber
  readonly prefix?: Bytes
  /** Bytes that are put over the header at an offset, before the checksum is taken. */
  readonly patch?: readonly (readonly [at: number, bytes: Bytes])[]
  /** `right` without it. */
  readonly checksum?: 'right' | 'signed' | TarNumber
  /** What follows the header, padded with zeros to whole blocks unless `padding` is given. */
  readonly data?: Bytes
  readonly padding?: Bytes
}

const BLOCK = 512

/** A header and its data. */
export function rawMember(member: RawMember): Uint8Array {
  const block = Buffer.alloc(BLOCK)
  const data = bytesOf(member.data ?? '')
  put(block, 0, 100, member.name ?? 'name')
  putNumber(block, 100, 8, member.mode ?? 0o644)
  putNumber(block, 108, 8, member.uid ?? 0)
  putNumber(block, 116, 8, member.gid ?? 0)
  putNumber(block, 124, 12, member.size ?? data.length)
  putNumber(block, 136, 12, member.mtime ?? 0)
  put(block, 156, 1, Buffer.from(member.type ?? '0', 'latin1'))
  put(block, 157, 100, member.link ?? '')
  put(block, 257, 8, magicOf(member.magic ?? 'posix'))
  putNumber(block, 329, 8, member.major ?? '')
  putNumber(block, 337, 8, member.minor ?? '')
  put(block, 345, 155, member.prefix ?? '')
  for (const [at, bytes] of member.patch ?? []) put(block, at, BLOCK - at, bytes)
  putNumber(block, 148, 8, checksumOf(block, member.checksum ?? 'right'))
  const padding = member.padding ?? Buffer.alloc((BLOCK - (data.length % BLOCK)) % BLOCK)
  return Buffer.concat([block, data, bytesOf(padding)])
}

/** The body of a PAX header: records in the given order, repeated keys and all. */
export function paxBody(records: readonly (readonly [key: Bytes, value: Bytes])[]): Buffer {
  return Buffer.concat(
    records.map(([key, value]) => {
      const rest = Buffer.concat([
        Buffer.from(' '),
        bytesOf(key),
        Buffer.from('='),
        bytesOf(value),
        Buffer.from('\n'),
      ])
      let length = rest.length + 1
      while (String(length).length + rest.length > length) length++
      return Buffer.concat([Buffer.from(String(length)), rest])
    }),
  )
}

/** The tar field of a number that octal digits do not hold: 0x80 or 0xff, then big-endian two's complement. */
export function base256(value: bigint, length: number): Uint8Array {
  const bytes = Buffer.alloc(length)
  let rest = BigInt.asUintN(length * 8, value)
  for (let i = length - 1; i >= 0; i--) {
    bytes[i] = Number(rest & 0xffn)
    rest >>= 8n
  }
  bytes[0]! |= 0x80
  return bytes
}

export function bytesOf(value: Bytes): Uint8Array {
  return typeof value === 'string' ? Buffer.from(value, 'utf8') : value
}

function magicOf(magic: 'posix' | 'gnu' | 'v7' | Uint8Array): Bytes {
  if (typeof magic !== 'string') return magic
  return { posix: 'ustar\x0000', gnu: 'ustar  \0', v7: '' }[magic]
}

function put(block: Buffer, at: number, length: number, value: Bytes): void {
  const bytes = bytesOf(value)
  if (bytes.length > length)
    throw new RangeError(`${bytes.length} bytes do not fit into a field of ${length}`)
  block.set(bytes, at)
}

function putNumber(block: Buffer, at: number, length: number, value: TarNumber): void {
  if (typeof value === 'string' || value instanceof Uint8Array) {
    put(block, at, length, value)
    return
  }
  const isOctal = typeof value === 'number' && value >= 0 && value < 8 ** (length - 1)
  put(
    block,
    at,
    length,
    isOctal ? `${value.toString(8).padStart(length - 1, '0')}\0` : base256(BigInt(value), length),
  )
}

function checksumOf(block: Buffer, checksum: 'right' | 'signed' | TarNumber): TarNumber {
  if (checksum !== 'right' && checksum !== 'signed') return checksum
  block.fill(' ', 148, 156)
  const bytes = checksum === 'signed' ? new Int8Array(block) : block
  let sum = 0
  for (const byte of bytes) sum += byte
  return `${sum.toString(8).padStart(6, '0')}\0 `
}
