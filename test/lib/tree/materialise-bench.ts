/**
 * What the tests of materialise share: trees of a few words, and a look at what became of them.
 */
import { createHash } from 'node:crypto'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { beforeEach, expect } from 'vitest'
import type { ByteString } from '../../../lib/bytes.js'
import type { VerityDigest } from '../../../lib/digest.js'
import { type ObjectReader, objectReader } from '../../../lib/store/objects.js'
import { linesOfTree } from '../../../lib/testkit/lines-of-tree.js'
import { treeLines } from '../../../lib/testkit/tree-lines.js'
import { materialise } from '../../../lib/tree/materialise.js'
import type { Directory, Inode, Metadata, RegularFile, Tree } from '../../../lib/tree/model.js'
import { openBelow, useScratch } from '../linux/scratch.js'

/** Where a test works: its scratch directory, the objects in it, and the directory that is to be written. */
interface Bench {
  path: string
  objects: ObjectReader
  rootfs: string
}

const bench: Bench = { path: '', objects: objectReader(''), rootfs: '' }

/** A fresh bench for each test. */
export function useBench(): Bench {
  const scratch = useScratch()
  beforeEach(() => {
    bench.path = scratch.path
    bench.objects = objectReader(`${scratch.path}/objects`)
    bench.rootfs = `${scratch.path}/rootfs`
  })
  return bench
}

const never: AbortSignal = new AbortController().signal
export const me = { uid: process.geteuid!(), gid: process.getegid!() }

/** Puts an object under a name of the right form; the names of objects are not looked into here. */
export function put(bytes: Uint8Array): VerityDigest {
  const digest = createHash('sha256').update(bytes).digest('hex') as VerityDigest
  mkdirSync(`${bench.objects.directory}/${digest.slice(0, 2)}`, { recursive: true })
  rmSync(bench.objects.path(digest), { force: true })
  writeFileSync(bench.objects.path(digest), bytes, { mode: 0o444 })
  return digest
}

export function meta(change: Partial<Metadata> = {}): Metadata {
  return { mode: 0o644, ...me, mtimeSeconds: 1_000n, mtimeNanoseconds: 1, xattrs: new Map(), ...change }
}

export function file(bytes: Uint8Array | string, change: Partial<Metadata> = {}): RegularFile {
  const content = Buffer.from(bytes)
  if (content.length === 0) return { ...meta(change), kind: 'file', size: 0, content: { kind: 'empty' } }
  if (content.length <= 64) {
    return {
      ...meta(change),
      kind: 'file',
      size: content.length,
      content: { kind: 'inline', bytes: content },
    }
  }
  return {
    ...meta(change),
    kind: 'file',
    size: content.length,
    content: { kind: 'object', digest: put(content) },
  }
}

export function directory(entries: Record<string, Inode>, change: Partial<Metadata> = {}): Directory {
  const children = new Map(Object.entries(entries)) as Map<ByteString, Inode>
  return { ...meta({ mode: 0o755, ...change }), kind: 'directory', children }
}

export const tree = (entries: Record<string, Inode>, change: Partial<Metadata> = {}): Tree => ({
  root: directory(entries, change),
})

export const xattrs = (entries: Record<string, string>): Metadata['xattrs'] =>
  new Map(Object.entries(entries)) as unknown as Metadata['xattrs']

export async function write(what: Tree, options: { ignoreOwnership?: boolean; skipped?: string[] } = {}) {
  return await materialise(what, bench.objects, bench.rootfs, {
    ignoreOwnership: options.ignoreOwnership ?? false,
    signal: never,
    onSkipped: (kind, path, detail) => options.skipped?.push(`${kind} ${path || '/'} ${detail}`),
  })
}

/** Writes a tree and compares what is there with it, line by line. */
export async function expectExact(what: Tree): Promise<void> {
  await write(what)
  expect(treeLines(bench.rootfs)).toEqual(linesOfTree(what, bench.objects))
  expect(openBelow(bench.path)).toEqual([])
}
