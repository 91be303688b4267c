/**
 * The escapes of composefs-dump(5): bytes that would end a field or a line, or that are not printable ASCII.
 */
import type { ByteString } from '../bytes.js'

/** Escaped fields are ASCII. */
export function escapeField(value: ByteString): string {
  // A lone dash means that a field is absent.
  if (value === '-') return '\\x2d'
  return /^[!-[\]-~]*$/.test(value) ? value : value.replace(/[^!-[\]-~]/g, escapeByte)
}

/** Names and values of xattrs, where `=` stands between the two, and a dash means nothing. */
export function escapeXattrPart(value: ByteString): string {
  return /^[!-<>-[\]-~]*$/.test(value) ? value : value.replace(/[^!-<>-[\]-~]/g, escapeByte)
}

const SHORT: Readonly<Record<string, string>> = { '\\': '\\\\', '\n': '\\n', '\r': '\\r', '\t': '\\t' }
const BYTES: Readonly<Record<string, string>> = {
  '\\\\': '\\',
  '\\n': '\n',
  '\\r': '\r',
  '\\t': '\t',
}

function escapeByte(char: string): string {
  return SHORT[char] ?? `\\x${char.charCodeAt(0).toString(16).padStart(2, '0')}`
}

/** The bytes of a field; undefined for a backslash that begins no escape. */
export function unescapeField(field: ByteString): ByteString | undefined {
  if (!field.includes('\\')) return field
  let isWrong = false
  const value = field.replace(/\\(?:x[0-9a-fA-F]{2}|[\s\S]?)/g, (found) => {
    if (found.length === 4) return String.fromCharCode(Number.parseInt(found.slice(2), 16))
    const byte = BYTES[found]
    isWrong ||= byte === undefined
    return byte ?? ''
  })
  return isWrong ? undefined : (value as ByteString)
}

/** What C takes a string for: all up to the first NUL. */
export function untilNul(value: ByteString): ByteString {
  const end = value.indexOf('\0')
  return end === -1 ? value : (value.slice(0, end) as ByteString)
}
