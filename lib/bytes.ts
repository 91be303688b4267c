/**
 * Byte strings: names and values as they stand in layers and on disk.
 *
 * A ByteString holds one char (U+0000 to U+00FF) per byte. It works as a Map key, compares by `<` as unsigned bytes,
 * and is never text: decoding happens only where people read it.
 */

export type ByteString = string & { readonly __brand: 'ByteString' }

export const EMPTY: ByteString = '' as ByteString

/** The bytes of UTF-8 text. */
export function byteString(text: string): ByteString {
  // Pure ASCII is the same in both forms, and nearly every name is ASCII.
  if (/^[\x00-\x7f]*$/.test(text)) return text as ByteString
  return Buffer.from(text, 'utf8').toString('latin1') as ByteString
}

export function fromBytes(bytes: Uint8Array, start = 0, end = bytes.length): ByteString {
  return asBuffer(bytes).toString('latin1', start, end) as ByteString
}

export function toBytes(value: ByteString): Buffer {
  return Buffer.from(value, 'latin1')
}

/** The same bytes in memory of their own: what was cut out of a string may be no more than a view of that. */
export function ownBytes(value: ByteString): ByteString {
  return fromBytes(toBytes(value))
}

/** Text for people: UTF-8 where the bytes are UTF-8, `\xHH` for what is not and for control characters. */
export function printable(value: ByteString): string {
  const bytes = toBytes(value)
  const text = bytes.toString('utf8')
  const wellFormed = Buffer.from(text, 'utf8').equals(bytes)
  if (wellFormed) {
    // Line separators and direction marks could forge lines of a log, as control characters could.
    return text.replace(/[\u0000-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]/g, escapeChar)
  }
  return value.replace(/[^\x20-\x7e]/g, escapeChar)
}

function escapeChar(char: string): string {
  const code = char.charCodeAt(0)
  return code < 256 ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u${code.toString(16).padStart(4, '0')}`
}

/** A Buffer over the same memory. */
export function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

/** Bytewise order: less than 0, 0, more than 0. Byte strings hold chars below 256, so code unit order is byte order. */
export function compareBytes(a: ByteString, b: ByteString): number {
  return a < b ? -1 : a > b ? 1 : 0
}
