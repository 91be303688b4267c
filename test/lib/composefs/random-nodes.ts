/**
 * Trees of nodes for property tests: everything that an image can hold, and often what stands at a border: names that sort before
 * `.`, contents and targets about the size of a block, numbers that need an extended inode, marks of overlayfs.
 */
import fc from 'fast-check'
import { type ByteString, byteString } from '../../../lib/bytes.js'
import type { ComposefsEntry, ComposefsKind, ComposefsNode } from '../../../lib/composefs/node.js'
import type { Verity512Digest } from '../../../lib/composefs/verity.js'
import type { VerityDigest } from '../../../lib/digest.js'

type Writable<T> = { -readonly [K in keyof T]: T[K] }
type Children = Map<ByteString, ComposefsEntry>

export function bytesOf(...values: readonly number[]): ByteString {
  return String.fromCharCode(...values) as ByteString
}

/** An empty file of root, but for what is given. */
export function node(changes: Partial<ComposefsNode> = {}): ComposefsNode {
  return {
    kind: 'file',
    mode: 0o644,
    nlink: 1,
    uid: 0,
    gid: 0,
    rdev: 0,
    size: 0,
    mtimeSeconds: 0n,
    mtimeNanoseconds: 0,
    xattrs: new Map(),
    payload: null,
    content: null,
    digest: null,
    children: null,
    ...changes,
  }
}

export function directory(
  entries: Readonly<Record<string, ComposefsEntry>> = {},
  changes: Partial<ComposefsNode> = {},
): ComposefsNode {
  const children = new Map(Object.entries(entries).map(([name, entry]) => [byteString(name), entry]))
  return node({ kind: 'directory', mode: 0o755, children, ...changes })
}

/** A file of an object under the name of its digest. */
export function backed(
  size: number | bigint,
  digits: string,
  changes: Partial<ComposefsNode> = {},
): ComposefsNode {
  const payload = `${digits.slice(0, 2)}/${digits.slice(2)}` as ByteString
  return node({ size, digest: digits as VerityDigest | Verity512Digest, payload, ...changes })
}

export function inline(length: number, fill = 0x61): ComposefsNode {
  return node({ size: length, content: new Uint8Array(length).fill(fill) })
}

export function symlink(target: string): ComposefsNode {
  return node({ kind: 'symlink', mode: 0o777, size: target.length, payload: byteString(target) })
}

export function whiteout(): ComposefsNode {
  return node({ kind: 'char', mode: 0, rdev: 0 })
}

const oddByte = fc.constantFrom(...bytesOf(1, 9, 10, 32, 33, 45, 46, 47 - 1, 48, 61, 92, 97, 127, 128, 255))
const nameChar = fc.oneof(
  oddByte,
  fc.integer({ min: 1, max: 255 }).map((code) => bytesOf(code === 47 ? 46 : code)),
)
const name = fc
  .oneof(
    { weight: 6, arbitrary: fc.string({ unit: nameChar, minLength: 1, maxLength: 12 }) },
    { weight: 3, arbitrary: fc.integer({ min: 0, max: 255 }).map((i) => i.toString(16).padStart(2, '0')) },
    { weight: 1, arbitrary: nameChar.map((char) => char.repeat(255)) },
  )
  .filter((text) => text !== '.' && text !== '..') as fc.Arbitrary<ByteString>

const xattrName = fc.oneof(
  fc.constantFrom(
    'user.a',
    'user.overlay.whiteout',
    'user.overlay.opaque',
    'trusted.overlay.opaque',
    'trusted.overlay.overlay.whiteout',
    'trusted.overlay.',
    'trusted.overlay.metacopy',
    'trusted.x',
    'security.selinux',
    'security.capability',
    'system.posix_acl_access',
    'system.posix_acl_default',
    'system.posix_acl_accessfoo',
    'lustre.lov',
    'x',
  ),
  fc.string({ unit: nameChar, minLength: 1, maxLength: 40 }),
  nameChar.map((char) => char.repeat(255)),
) as fc.Arbitrary<ByteString>
const anyByte = fc.integer({ min: 0, max: 255 }).map((code) => bytesOf(code))
const xattrValue = fc.oneof(
  { weight: 5, arbitrary: fc.string({ unit: anyByte, maxLength: 20 }) },
  { weight: 3, arbitrary: fc.constantFrom('', 'x', 'y', 'label:a', 'label:b') },
  { weight: 1, arbitrary: fc.integer({ min: 1000, max: 5000 }).map((length) => 'v'.repeat(length)) },
) as fc.Arbitrary<ByteString>
const xattrs = fc.oneof(
  { weight: 3, arbitrary: fc.constant(new Map<ByteString, ByteString>()) },
  {
    weight: 2,
    arbitrary: fc
      .array(fc.tuple(xattrName, xattrValue), { maxLength: 5 })
      .map((pairs) => new Map<ByteString, ByteString>(pairs)),
  },
)

const BORDERS = [1, 2, 63, 64, 65, 2000, 2047, 2048, 2049, 3900, 4000, 4063, 4064, 4065, 4094, 4095]
const length = fc.oneof(fc.constantFrom(...BORDERS), fc.integer({ min: 1, max: 4095 }))
const contentLength = fc.oneof(length, fc.constantFrom(4096, 4097, 4160, 4999, 5000))
const size = fc.oneof(
  fc.constantFrom(1, 4096, 4097, 2 ** 32 - 1, 2 ** 32, 2 ** 43, 2 ** 43 + 1, 2 ** 53 - 1),
  fc.integer({ min: 1, max: 10 ** 9 }),
)
const seconds = fc.oneof(
  fc.constantFrom(0n, -1n, 1n, 1_700_000_000n, 2n ** 31n, -(2n ** 31n) - 1n, 2n ** 63n - 1n, -(2n ** 63n)),
  fc.bigInt({ min: -5n, max: 5n }),
)
const id = fc.oneof(
  fc.constantFrom(0, 1000, 65_535, 65_536, 2 ** 32 - 1),
  fc.integer({ min: 0, max: 70_000 }),
)

const step = fc.record({
  parent: fc.nat({ max: 30 }),
  name,
  what: fc.constantFrom(
    ...(['directory', 'directory', 'backed', 'backed', 'backed', 'inline', 'empty', 'symlink'] as const),
    ...(['link', 'link', 'whiteout', 'char', 'block', 'fifo', 'socket', 'many'] as const),
  ),
  target: fc.nat({ max: 60 }),
  mode: fc.integer({ min: 0, max: 0o7777 }),
  nlink: fc.constantFrom(1, 1, 1, 2, 65_535, 65_536, 2 ** 32 - 1),
  uid: id,
  gid: id,
  seconds,
  nanoseconds: fc.constantFrom(0, 0, 1, 999_999_999, 2 ** 32 - 1),
  xattrs,
  size,
  length,
  contentLength,
  digest: fc.constantFrom('none', 'same', 'own', 'other'),
  rdev: fc.constantFrom(0, 1, 0x0501, 2 ** 32 - 1),
})
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never

/** @param digits length of the digests: 64 or 128 hex digits */
export function randomTree(digits: 64 | 128 = 64, maxSteps = 40): fc.Arbitrary<ComposefsNode> {
  return fc
    .tuple(step, fc.array(step, { maxLength: maxSteps }))
    .map(([root, steps]) => grow(root, steps, digits))
}

function grow(top: Step, steps: readonly Step[], digits: number): ComposefsNode {
  const root = made(top, 'directory', {})
  const directories = [root]
  const leaves: Writable<ComposefsNode>[] = []
  steps.forEach((each, number) => {
    const into = directories[each.parent % directories.length]!.children as Children
    if (into.has(each.name)) return
    const target = leaves[each.target % Math.max(leaves.length, 1)]
    if (each.what === 'link' && target !== undefined) {
      into.set(each.name, { kind: 'link', target })
      return
    }
    const entry = entryOf(each, number, digits)
    into.set(each.name, entry)
    if (entry.kind === 'directory') directories.push(entry)
    else leaves.push(entry)
  })
  return root
}

function entryOf(each: Step, number: number, digits: number): Writable<ComposefsNode> {
  switch (each.what) {
    case 'directory':
      return made(each, 'directory', {})
    case 'many':
      return manyNames(each)
    case 'inline':
      return made(each, 'file', {
        size: each.contentLength,
        content: new Uint8Array(each.contentLength).fill(number),
      })
    case 'symlink':
      return made(each, 'symlink', { size: each.length, payload: 't'.repeat(each.length) as ByteString })
    case 'backed': {
      const digest = digestOf(each, number, digits)
      const payload = digest === null ? null : (`${digest.slice(0, 2)}/${digest.slice(2)}` as ByteString)
      return made(each, 'file', { size: each.size, digest, payload })
    }
    case 'whiteout':
      return made(each, 'char', { rdev: 0 })
    case 'char':
    case 'block':
      return made(each, each.what, { rdev: each.rdev })
    case 'fifo':
    case 'socket':
      return made(each, each.what, {})
    default:
      return made(each, 'file', {})
  }
}

function digestOf(each: Step, number: number, digits: number): VerityDigest | null {
  if (each.digest === 'none') return null
  const seed =
    each.digest === 'same' ? 'ab' : number.toString(16).padStart(8, each.digest === 'own' ? '0' : 'f')
  return seed.padStart(digits, '1') as VerityDigest
}

/** A directory of about as many empty files as fill some blocks. */
function manyNames(each: Step): Writable<ComposefsNode> {
  const children: Children = new Map()
  const count = (each.length % 400) + 1
  for (let i = 0; i < count; i++) children.set(byteString(`${'n'.repeat(each.target)}${i}`), node())
  return made(each, 'directory', { children })
}

function made(each: Step, kind: ComposefsKind, changes: Partial<ComposefsNode>): Writable<ComposefsNode> {
  return {
    ...node(),
    kind,
    mode: each.mode,
    nlink: each.nlink,
    uid: each.uid,
    gid: each.gid,
    mtimeSeconds: each.seconds,
    mtimeNanoseconds: each.nanoseconds,
    xattrs: each.xattrs,
    children: kind === 'directory' ? new Map() : null,
    ...changes,
  }
}
