/**
 * One line of composefs-dump(5): its fields, unescaped and checked. The tree that lines make is in dump-parse.ts.
 */
import { asBuffer, type ByteString, EMPTY, fromBytes, toBytes } from '../bytes.js'
import type { VerityDigest } from '../digest.js'
import { NO_XATTRS } from '../tree/model.js'
import {
  checkNode,
  checkXattr,
  MAX_CONTENT_BYTES,
  MAX_PAYLOAD_BYTES,
  MAX_XATTR_COST,
  XATTR_BASE_COST,
  xattrCost,
  xattrsTooLarge,
} from './check-node.js'
import { unescapeField, untilNul } from './dump-escape.js'
import { lowUint32, parseUint64, toInt64 } from './dump-numbers.js'
import { NodeFault, shown } from './faults.js'
import { type ComposefsKind, type ComposefsNode, kindOfStMode } from './node.js'
import type { Verity512Digest, VerityAlgorithm } from './verity.js'

export interface DumpRules {
  /** Also refuse what is only untidy: device numbers of what is no device, sizes and contents that symlinks cannot have. */
  readonly strict: boolean
  /** Of the digests: 64 digits or 128. */
  readonly algorithm: VerityAlgorithm
}

/** A link names its target by path, which may come later. */
export interface DumpedLink {
  readonly kind: 'link'
  readonly targetPath: ByteString
}

const FIELDS = [
  'PATH',
  'SIZE',
  'MODE',
  'NLINK',
  'UID',
  'GID',
  'RDEV',
  'MTIME',
  'PAYLOAD',
  'CONTENT',
  'DIGEST',
]
const PATH = 0
const SIZE = 1
const MODE = 2
const NLINK = 3
const UID = 4
const GID = 5
const RDEV = 6
const MTIME = 7
const PAYLOAD = 8
const CONTENT = 9
const DIGEST = 10
const MAX_XATTR_TEXT_BYTES = 65_535
const DIGEST_DIGITS: Readonly<Record<VerityAlgorithm, number>> = { sha256: 64, sha512: 128 }

/**
 * Path of the directory, '' for what stands in the root, and name; the root itself is '/' in ''. Slashes are as they stand.
 *
 * @throws {NodeFault} when there is no path
 */
export function pathOfLine(line: DumpLine): [directory: ByteString, name: ByteString] {
  if (line.text.length === 0) throw new NodeFault('EINVAL', 'it is empty, and a line describes an entry')
  if (line.text.includes('\0')) throw new NodeFault('EINVAL', 'it holds a raw NUL, which is written \\x00')
  const field = line.field(PATH)
  if (field === '/') return [EMPTY, field]
  if (!field.includes('\\')) {
    const slash = field.lastIndexOf('/')
    // The name stays in memory, and a part of a string would keep the whole.
    return [field.slice(0, Math.max(slash, 0)) as ByteString, line.bytes(slash + 1, field.length)]
  }
  const path = untilNul(line.unescaped(PATH))
  if (path === '/') return [EMPTY, path]
  const slash = path.lastIndexOf('/')
  return [path.slice(0, Math.max(slash, 0)) as ByteString, path.slice(slash + 1) as ByteString]
}

/** @throws {NodeFault} when a field is malformed, or says what no image can hold */
export function entryOfLine(line: DumpLine, rules: DumpRules): ComposefsNode | DumpedLink {
  const isLink = line.text[line.start(MODE)] === '@'
  const mode = lowUint32(number(line, MODE, line.start(MODE) + (isLink ? 1 : 0), line.end(MODE), 8))
  const kind = kindOfStMode(mode)
  if (kind === undefined) throw new NodeFault('EINVAL', `its MODE ${mode.toString(8)} is of no type of file`)
  if (!isLink) return nodeOf(line, kind, mode & 0o7777, rules)
  if (kind === 'directory') throw new NodeFault('EINVAL', 'it is a link of type directory')
  const targetPath = line.optional(PAYLOAD)
  if (targetPath === null) throw new NodeFault('EINVAL', 'it is a link whose PAYLOAD names no target')
  return { kind: 'link', targetPath: untilNul(targetPath) }
}

function nodeOf(line: DumpLine, kind: ComposefsKind, mode: number, rules: DumpRules): ComposefsNode {
  if (line.count < FIELDS.length) {
    throw new NodeFault('EINVAL', `it has ${line.count} fields, and a line has at least ${FIELDS.length}`)
  }
  const size = number(line, SIZE)
  const payload = payloadOf(line)
  const content = contentOf(line, size)
  const rdev = number(line, RDEV)
  const isDevice = kind === 'char' || kind === 'block'
  if (rules.strict) checkStrictly(kind, size, payload, content, isDevice ? 0 : rdev)
  const [mtimeSeconds, mtimeNanoseconds] = mtimeOf(line)
  const node: ComposefsNode = {
    kind,
    mode,
    nlink: lowUint32(number(line, NLINK)),
    uid: lowUint32(number(line, UID)),
    gid: lowUint32(number(line, GID)),
    rdev: isDevice ? lowUint32(rdev) : 0,
    size: kind === 'symlink' ? (payload?.length ?? 0) : kind === 'directory' ? 0 : size,
    mtimeSeconds,
    mtimeNanoseconds,
    xattrs: xattrsOf(line),
    payload,
    content: content === null || content.length === 0 ? null : content,
    digest: digestOf(line, rules.algorithm),
    children: kind === 'directory' ? new Map() : null,
  }
  checkNode(node)
  return node
}

function checkStrictly(
  kind: ComposefsKind,
  size: number | bigint,
  payload: ByteString | null,
  content: Uint8Array | null,
  uselessRdev: number | bigint,
): void {
  if (BigInt(uselessRdev) !== 0n)
    throw new NodeFault('EINVAL', `it is a ${kind} with the RDEV ${uselessRdev}`)
  if (kind !== 'symlink') return
  if (content !== null) throw new NodeFault('EINVAL', 'it is a symlink with a CONTENT')
  if (payload !== null && size !== payload.length) {
    throw new NodeFault('EINVAL', `its SIZE is ${size}, and its target has ${payload.length} bytes`)
  }
}

function payloadOf(line: DumpLine): ByteString | null {
  const field = line.optional(PAYLOAD)
  if (field === null) return null
  const payload = untilNul(field)
  if (payload.length > MAX_PAYLOAD_BYTES) {
    throw new NodeFault(
      'ENAMETOOLONG',
      `its PAYLOAD has ${payload.length} bytes, and they end at ${MAX_PAYLOAD_BYTES}`,
    )
  }
  return payload
}

function contentOf(line: DumpLine, size: number | bigint): Uint8Array | null {
  const content = line.optional(CONTENT)
  if (content === null) return null
  if (content.length !== size) {
    throw new NodeFault('EINVAL', `its SIZE is ${size}, and its CONTENT has ${content.length} bytes`)
  }
  if (content.length > MAX_CONTENT_BYTES) {
    throw new NodeFault(
      'EINVAL',
      `its CONTENT has ${content.length} bytes, and that ends at ${MAX_CONTENT_BYTES}`,
    )
  }
  return toBytes(content)
}

function digestOf(line: DumpLine, algorithm: VerityAlgorithm): VerityDigest | Verity512Digest | null {
  const field = line.optional(DIGEST)
  if (field === null) return null
  const digest = untilNul(field)
  if (digest.length === DIGEST_DIGITS[algorithm]) {
    if (/^[0-9a-f]*$/.test(digest)) return digest as string as VerityDigest | Verity512Digest
    if (/^[0-9a-fA-F]*$/.test(digest)) return digest.toLowerCase() as VerityDigest | Verity512Digest
  }
  const right = `${DIGEST_DIGITS[algorithm]} hex digits`
  throw new NodeFault('EINVAL', `its DIGEST is "${shown(digest)}", and a ${algorithm} digest has ${right}`)
}

function mtimeOf(line: DumpLine): [seconds: bigint, nanoseconds: number] {
  const start = line.start(MTIME)
  const end = line.end(MTIME)
  const dot = line.text.indexOf('.', start)
  const split = dot === -1 || dot > end ? end : dot
  const seconds = number(line, MTIME, start, split)
  return [toInt64(seconds), lowUint32(number(line, MTIME, split + 1, end))]
}

function xattrsOf(line: DumpLine): ReadonlyMap<ByteString, ByteString> {
  const start = line.end(DIGEST) + 1
  if (start >= line.text.length) return NO_XATTRS
  const { length } = line.text
  if (length - start > MAX_XATTR_TEXT_BYTES) {
    throw new NodeFault(
      'ERANGE',
      `its xattrs are ${length - start} bytes of text, and ${MAX_XATTR_TEXT_BYTES} are possible`,
    )
  }
  const xattrs = new Map<ByteString, ByteString>()
  let cost = XATTR_BASE_COST
  for (let at = start; at < length; ) {
    const space = line.text.indexOf(' ', at)
    const end = space === -1 ? length : space
    const equals = line.text.indexOf('=', at)
    if (equals === -1 || equals >= end) {
      throw new NodeFault(
        'EINVAL',
        `its xattr "${shown(line.bytes(at, end))}" has no "=" between name and value`,
      )
    }
    const key = untilNul(unescaped(line.bytes(at, equals), 'name of an xattr'))
    const value = unescaped(line.bytes(equals + 1, end), 'value of an xattr')
    checkXattr(key, value.length)
    const before = xattrs.get(key)
    if (before !== undefined) cost -= xattrCost(key.length, before.length)
    cost += xattrCost(key.length, value.length)
    // At each step, as the format's first reader does it, so that the same dumps are refused.
    if (cost > MAX_XATTR_COST) throw xattrsTooLarge(cost)
    xattrs.set(key, value)
    at = end + 1
  }
  return xattrs
}

function number(
  line: DumpLine,
  index: number,
  start = line.start(index),
  end = line.end(index),
  base: 8 | 10 = 10,
): number | bigint {
  const value = parseUint64(line.text, start, end, base)
  if (value !== undefined) return value
  const what = base === 8 ? 'octal number' : 'number'
  throw new NodeFault('EINVAL', `its ${FIELDS[index]} "${shown(line.field(index))}" is no ${what}`)
}

function unescaped(field: ByteString, what: string): ByteString {
  const value = unescapeField(field)
  if (value !== undefined) return value
  throw new NodeFault('EINVAL', `the ${what}, "${shown(field)}", has a "\\" that begins no escape`)
}

/** The fields of a line, which are cut where they are asked for. */
export class DumpLine {
  /** One char per byte, for looking things up: parts of it would keep the whole line in memory. */
  readonly text: string
  readonly #bytes: Uint8Array
  readonly #ends: number[] = []

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
    this.text = asBuffer(bytes).toString('latin1')
    for (let at = 0; this.#ends.length < FIELDS.length && at <= this.text.length; ) {
      const space = this.text.indexOf(' ', at)
      const end = space === -1 ? this.text.length : space
      this.#ends.push(end)
      at = end + 1
    }
  }

  get count(): number {
    return this.#ends.length
  }

  end(index: number): number {
    return this.#ends[index] ?? this.text.length
  }

  /** A field as it stands; empty where the line has ended before. */
  field(index: number): ByteString {
    return this.text.slice(this.start(index), this.end(index)) as ByteString
  }

  /** A part in memory of its own. */
  bytes(start: number, end: number): ByteString {
    return fromBytes(this.#bytes, start, end)
  }

  unescaped(index: number): ByteString {
    return unescaped(this.bytes(this.start(index), this.end(index)), FIELDS[index]!)
  }

  /** A field that may be absent, which a dash says. */
  optional(index: number): ByteString | null {
    const start = this.start(index)
    const end = this.end(index)
    if (end - start === 1 && this.text[start] === '-') return null
    return this.unescaped(index)
  }

  start(index: number): number {
    return index === 0 ? 0 : Math.min(this.end(index - 1) + 1, this.text.length)
  }
}
