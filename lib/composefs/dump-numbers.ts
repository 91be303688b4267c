/**
 * Numbers in dumps, as C's strtoull reads them, which the format's first reader uses: blanks and a sign before them, what
 * is too large becomes the largest, and a minus turns a number into its complement.
 */
const MAX_U64 = 0xffff_ffff_ffff_ffffn
const MAX_DIGITS = 22 // of 64 bits, octal

/**
 * Reads a part of a text, cut off from it only if it must be.
 *
 * @returns 64 bits, unsigned; a bigint only where a number would not be exact; undefined for what is no number
 */
export function parseUint64(
  text: string,
  start: number,
  end: number,
  base: 8 | 10 = 10,
): number | bigint | undefined {
  const small = parseSmall(text, start, end, base)
  if (small !== undefined) return small
  const digits = base === 8 ? /^[ \t-\r]*([+-]?)([0-7]+)$/ : /^[ \t-\r]*([+-]?)([0-9]+)$/
  const match = digits.exec(text.slice(start, end))
  if (match === null) return undefined
  const significant = match[2]!.replace(/^0+/, '')
  const magnitude = significant.length > MAX_DIGITS ? MAX_U64 + 1n : bigIntOf(significant, base)
  if (magnitude > MAX_U64) return MAX_U64
  const value = match[1] === '-' ? BigInt.asUintN(64, -magnitude) : magnitude
  return value <= Number.MAX_SAFE_INTEGER ? Number(value) : value
}

/** The low 32 bits of a number, which is what fields of 32 bits get. */
export function lowUint32(value: number | bigint): number {
  if (typeof value === 'bigint') return Number(BigInt.asUintN(32, value))
  return value % 2 ** 32
}

export function toInt64(value: number | bigint): bigint {
  return BigInt.asIntN(64, BigInt(value))
}

function bigIntOf(digits: string, base: 8 | 10): bigint {
  return BigInt(base === 8 ? `0o0${digits}` : `0${digits}`)
}

/** Nearly every number: a few digits and nothing else. */
function parseSmall(text: string, start: number, end: number, base: number): number | undefined {
  if (end <= start || end - start > 15) return undefined
  let value = 0
  for (let i = start; i < end; i++) {
    const digit = text.charCodeAt(i) - 0x30
    if (digit < 0 || digit >= base) return undefined
    value = value * base + digit
  }
  return value
}
