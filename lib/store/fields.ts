/**
 * Reading fields of our own JSON records: each function returns the exact type or throws an Error that names the field.
 * For records only; documents from outside have their own parsers in lib/image.
 */
import { type Digest, isDigest } from '../digest.js'

export type Fields = Readonly<Record<string, unknown>>

export function object(value: unknown, name: string): Fields {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Fields
  throw wrong(name, 'an object', value)
}

export function string(value: unknown, name: string): string {
  if (typeof value === 'string') return value
  throw wrong(name, 'a string', value)
}

export function boolean(value: unknown, name: string): boolean {
  if (typeof value === 'boolean') return value
  throw wrong(name, 'true or false', value)
}

export function integer(value: unknown, name: string): number {
  if (Number.isSafeInteger(value)) return value as number
  throw wrong(name, 'a whole number', value)
}

/** Reads the number of a record's format, of which there is one so far. */
export function format(raw: Fields): 1 {
  const found = integer(raw.format, 'format')
  if (found === 1) return found
  throw wrong('format', '1', found)
}

export function digest(value: unknown, name: string): Digest {
  if (isDigest(value)) return value
  throw wrong(name, 'a digest', value)
}

export function list<T>(value: unknown, name: string, item: (value: unknown, name: string) => T): T[] {
  if (!Array.isArray(value)) throw wrong(name, 'a list', value)
  return value.map((each, i) => item(each, `${name}[${i}]`))
}

export function optional<T>(value: unknown, read: (value: unknown) => T): T | null {
  return value === null || value === undefined ? null : read(value)
}

function wrong(name: string, expected: string, found: unknown): Error {
  return new Error(`${name} should be ${expected}, found ${String(JSON.stringify(found)).slice(0, 60)}`)
}
