/**
 * JSON from outside, read field by field.
 *
 * A document is bytes with caps on size and depth; a Field is a value and the path that names it (`$.layers[2].digest`),
 * so that every complaint says where. `null` counts as absent, because Go's encoders write it for what is empty. Which
 * fields a document has is the business of the parsers beside this file.
 */
import { byteString, printable } from '../bytes.js'
import { type Digest, isDigest } from '../digest.js'
import { type ErrorCode, ImageError } from '../errors.js'

/** What a document is called in messages, and the code of the errors about it. */
export interface DocumentKind {
  readonly name: string
  readonly code: ErrorCode<'image'>
}

export interface Field {
  readonly document: DocumentKind
  readonly path: string
  /** Undefined when the field is absent or null. */
  readonly value: unknown
}

export const MAX_DOCUMENT_BYTES = 4 * 1024 * 1024 // the least that distribution-spec asks both sides to cope with
const MAX_JSON_DEPTH = 64

/**
 * Parses a document: UTF-8 without a byte order mark, one JSON object.
 *
 * @throws {ImageError} the document's code; `limit-exceeded` for more than 4 MiB or 64 levels
 */
export function parseDocumentJson(bytes: Uint8Array, document: DocumentKind): Field {
  const root = parseRoot(bytes, document)
  if (!isObject(root.value)) refuse(root, 'an object')
  return root
}

/** The same for a document that is one JSON list. */
export function parseListJson(bytes: Uint8Array, document: DocumentKind): Field {
  const root = parseRoot(bytes, document)
  if (!Array.isArray(root.value)) refuse(root, 'a list')
  return root
}

function parseRoot(bytes: Uint8Array, document: DocumentKind): Field {
  if (bytes.length > MAX_DOCUMENT_BYTES) {
    throw new ImageError(
      'limit-exceeded',
      `Cannot read the ${document.name}: it has ${bytes.length} bytes, at most ${MAX_DOCUMENT_BYTES} are read`,
      { facts: { document: document.name, bytes: bytes.length, limit: MAX_DOCUMENT_BYTES } },
    )
  }
  checkDepth(bytes, document)
  return { document, path: '$', value: parseJson(bytes, document) }
}

/** A field of an object; absent ones too. Looks at own properties only, so `constructor` is nobody's field. */
export function field(parent: Field, name: string): Field {
  const value = isObject(parent.value) && Object.hasOwn(parent.value, name) ? parent.value[name] : undefined
  return { document: parent.document, path: `${parent.path}${segment(name)}`, value: value ?? undefined }
}

/** The object itself, checked; for a field that must be there. */
export function requireObject(of: Field): Field {
  if (!isObject(of.value)) refuse(of, 'an object')
  return of
}

export function optionalObject(of: Field): Field | undefined {
  return of.value === undefined ? undefined : requireObject(of)
}

/** The elements of a list; none when it is absent. */
export function list(of: Field, maxItems = Number.POSITIVE_INFINITY): Field[] {
  if (of.value === undefined) return []
  if (!Array.isArray(of.value)) refuse(of, 'a list')
  if (of.value.length > maxItems) {
    throw new ImageError(
      'limit-exceeded',
      `Cannot read the ${of.document.name}: ${of.path} has ${of.value.length} items, at most ${maxItems} are read`,
      { facts: { document: of.document.name, field: of.path, items: of.value.length, limit: maxItems } },
    )
  }
  return of.value.map((value: unknown, index) => ({
    document: of.document,
    path: `${of.path}[${index}]`,
    value: value ?? undefined,
  }))
}

export function requireString(of: Field): string {
  if (typeof of.value !== 'string') refuse(of, 'a string')
  return of.value
}

/** Absent and empty strings are the same: nothing was said. */
export function optionalString(of: Field): string | undefined {
  if (of.value === undefined) return undefined
  return requireString(of) || undefined
}

export function requireDigest(of: Field): Digest {
  if (!isDigest(of.value)) refuse(of, 'a sha256 or sha512 digest')
  return of.value
}

/** A count of bytes: an integer that a double holds exactly. */
export function requireSize(of: Field): number {
  if (typeof of.value !== 'number' || !Number.isSafeInteger(of.value) || of.value < 0) {
    refuse(of, 'a whole number of bytes, 0 or more')
  }
  return of.value + 0 // -0 is 0
}

export function stringList(of: Field): string[] {
  return list(of).map(requireString)
}

/** A map of strings; own keys only, `__proto__` is a key like any other. */
export function stringMap(of: Field): Record<string, string> {
  return Object.fromEntries(keys(of).map((key) => [key, requireString(field(of, key))]))
}

/** The keys of an object; none when it is absent. */
export function keys(of: Field): string[] {
  const object = optionalObject(of)
  return object === undefined ? [] : Object.keys(object.value as object)
}

/** @throws {ImageError} always, saying which field, what was found and what would be right */
export function refuse(of: Field, wanted: string): never {
  const found = describe(of.value)
  throw new ImageError(
    of.document.code,
    `Cannot read the ${of.document.name}: ${of.path} is ${found}, not ${wanted}`,
    {
      facts: { document: of.document.name, field: of.path, found },
    },
  )
}

/** Text from outside for a message: printable, quoted, at most 100 characters. */
export function quote(text: string): string {
  const shown = text.length > 100 ? `${text.slice(0, 100)}…` : text
  return `"${printable(byteString(shown))}"`
}

function describe(value: unknown): string {
  if (value === undefined) return 'missing'
  if (value === null) return 'null'
  if (typeof value === 'string') return quote(value)
  if (typeof value === 'number' || typeof value === 'boolean') return String(value)
  return Array.isArray(value) ? 'a list' : 'an object'
}

function segment(name: string): string {
  return /^[A-Za-z_][A-Za-z0-9_]*$/.test(name) ? `.${name}` : `[${quote(name)}]`
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function parseJson(bytes: Uint8Array, document: DocumentKind): unknown {
  try {
    // A byte order mark stays in the text, where JSON does not allow it (RFC 8259, section 8.1).
    return JSON.parse(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes))
  } catch {
    // The parser's own message quotes the document and differs between versions of Node.
    throw new ImageError(document.code, `Cannot read the ${document.name}: it is not JSON in UTF-8`, {
      facts: { document: document.name, field: '$', bytes: bytes.length },
    })
  }
}

const QUOTE = 0x22
const BACKSLASH = 0x5c
const OPEN = new Set([0x5b, 0x7b]) // [ {
const CLOSE = new Set([0x5d, 0x7d]) // ] }

// Before the parser sees it: how deep a parser may go before it fails, and how, is not ours to know.
function checkDepth(bytes: Uint8Array, document: DocumentKind): void {
  let depth = 0
  let inString = false
  for (let at = 0; at < bytes.length; at++) {
    const byte = bytes[at]!
    if (inString) {
      if (byte === BACKSLASH) at++
      else if (byte === QUOTE) inString = false
    } else if (byte === QUOTE) inString = true
    else if (OPEN.has(byte)) depth++
    else if (CLOSE.has(byte)) depth--
    if (depth > MAX_JSON_DEPTH) {
      throw new ImageError(
        'limit-exceeded',
        `Cannot read the ${document.name}: it is nested more than ${MAX_JSON_DEPTH} levels deep`,
        { facts: { document: document.name, limit: MAX_JSON_DEPTH } },
      )
    }
  }
}
