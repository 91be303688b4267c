/**
 * What was written from one tree and updated to another is that other, entry by entry.
 */
import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { byteString } from '../../../lib/bytes.js'
import { verityDigest } from '../../../lib/composefs/verity.js'
import type { VerityDigest } from '../../../lib/digest.js'
import { removeTree } from '../../../lib/linux/remove-tree.js'
import { type ObjectReader, objectReader } from '../../../lib/store/objects.js'
import { linesOfTree } from '../../../lib/testkit/lines-of-tree.js'
import { sampleTree, smallTree } from '../../../lib/testkit/sample-tree.js'
import { treeLines } from '../../../lib/testkit/tree-lines.js'
import { mapOwners } from '../../../lib/tree/map-owners.js'
import { materialise } from '../../../lib/tree/materialise.js'
import type { Directory, Inode, Metadata, Tree } from '../../../lib/tree/model.js'
import { updateTree } from '../../../lib/tree/update.js'

const AS_ROOT = process.geteuid?.() === 0
const options = { ignoreOwnership: false, signal: new AbortController().signal }

let scratch: string
let objects: ObjectReader
beforeEach(() => {
  scratch = mkdtempSync(join(tmpdir(), 'groot-update-'))
  objects = objectReader(`${scratch}/objects`)
})
afterEach(() => removeTree(scratch))

function put(bytes: Uint8Array): VerityDigest {
  const digest = verityDigest(bytes)
  mkdirSync(`${objects.directory}/${digest.slice(0, 2)}`, { recursive: true })
  writeFileSync(objects.path(digest), bytes)
  return digest
}

let count = 0
async function updated(before: Tree, tree: Tree): Promise<string[]> {
  const directory = `${scratch}/tree${++count}`
  await materialise(before, objects, directory, options)
  await updateTree(before, tree, objects, directory, options)
  return treeLines(directory)
}

describe.skipIf(!AS_ROOT)('updating a directory to another tree (needs root)', () => {
  it('makes anything of anything', async () => {
    const [sample, small] = [sampleTree(put), smallTree(put)]
    const empty = { root: { ...small.root, children: new Map() } }
    for (const before of [sample, small, empty]) {
      for (const tree of [sample, small, empty]) {
        expect(await updated(before, tree)).toEqual(linesOfTree(tree, objects))
      }
    }
  })

  it('gives everything other owners', async () => {
    const range = [{ containerId: 0, hostId: 100_000, size: 65_536 }]
    for (const before of [smallTree(put), sampleTree(put)]) {
      const tree = mapOwners(before, { uid: range, gid: range, unmapped: 'squash' })
      expect(await updated(before, tree)).toEqual(linesOfTree(tree, objects))
    }
  })

  it('leaves what is the same as it is', async () => {
    const tree = sampleTree(put)
    const directory = `${scratch}/kept`
    await materialise(tree, objects, directory, options)
    writeFileSync(`${directory}/block`, 'changed by a hand that an update must not see')
    await updateTree(tree, sampleTree(put), objects, directory, options)
    expect(treeLines(directory)).not.toEqual(linesOfTree(tree, objects))
  })

  it('makes any tree of any other', { timeout: 120_000 }, async () => {
    await fc.assert(
      fc.asyncProperty(treeArbitrary, treeArbitrary, async (before, tree) => {
        expect(await updated(before(), tree())).toEqual(linesOfTree(tree(), objects))
      }),
      { numRuns: 300 },
    )
  })
})

/** Few names, owners and contents, so that two trees often have things in common. */
const metadataArbitrary: fc.Arbitrary<Metadata> = fc
  .record({
    mode: fc.constantFrom(0o644, 0o755, 0o4755, 0o2755, 0),
    uid: fc.constantFrom(0, 5),
    gid: fc.constantFrom(0, 6),
    time: fc.constantFrom(1n, 1_500_000_000n),
    xattr: fc.constantFrom(null, 'a', 'b'),
  })
  .map(({ mode, uid, gid, time, xattr }) => ({
    mode,
    uid,
    gid,
    mtimeSeconds: time,
    mtimeNanoseconds: 7,
    xattrs: new Map(xattr === null ? [] : [[byteString('trusted.x'), byteString(xattr)]]),
  }))

const fileArbitrary = fc
  .tuple(metadataArbitrary, fc.constantFrom('', 'tiny', 'x'.repeat(100), 'y'.repeat(100)))
  .map(([metadata, text]) => (): Inode => {
    const bytes = Buffer.from(text)
    const content =
      bytes.length === 0
        ? ({ kind: 'empty' } as const)
        : bytes.length <= 64
          ? ({ kind: 'inline', bytes } as const)
          : ({ kind: 'object', digest: put(bytes) } as const)
    return { ...metadata, kind: 'file', size: bytes.length, content }
  })

const otherArbitrary = fc
  .tuple(metadataArbitrary, fc.constantFrom('symlink', 'fifo', 'char'))
  .map(([metadata, kind]) => (): Inode => {
    if (kind === 'symlink') return { ...metadata, mode: 0o777, kind, target: byteString('a/b') }
    return kind === 'fifo' ? { ...metadata, kind } : { ...metadata, kind: 'char', major: 1, minor: 3 }
  })

/** A name in any of a few directories, and whether it is another name of what came before. */
const placeArbitrary = fc.record({
  directory: fc.constantFrom('', 'd', 'd/e', 'f'),
  name: fc.constantFrom('a', 'b', 'c', 'd', 'f'),
  inode: fc.oneof({ weight: 3, arbitrary: fileArbitrary }, otherArbitrary),
  isLink: fc.boolean(),
})

/** Each call gives a tree of its own, as two merges would. */
const treeArbitrary = fc
  .tuple(
    fc.array(metadataArbitrary, { minLength: 4, maxLength: 4 }),
    fc.array(placeArbitrary, { maxLength: 14 }),
  )
  .map(([metadata, places]) => (): Tree => {
    const root = directory(metadata[0]!)
    const directories = new Map([['', root]])
    for (const [i, path] of ['d', 'd/e', 'f'].entries()) {
      if (!places.some((place) => place.directory.startsWith(path))) continue
      const made = directory(metadata[i + 1]!)
      directories.set(path, made)
      directories.get(path.includes('/') ? 'd' : '')!.children.set(byteString(path.split('/').at(-1)!), made)
    }
    let last: Inode | null = null
    for (const place of places) {
      const { children } = directories.get(place.directory)!
      if (children.has(byteString(place.name))) continue
      last = place.isLink && last !== null ? last : place.inode()
      children.set(byteString(place.name), last)
    }
    return { root }
  })

function directory(metadata: Metadata): Directory {
  return { ...metadata, kind: 'directory', children: new Map() }
}
