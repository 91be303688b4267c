/**
 * Any tree that a user without privileges can have is written exactly: what is on disk reads as the tree does.
 */
import { createHash } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { ByteString } from '../../../lib/bytes.js'
import type { VerityDigest } from '../../../lib/digest.js'
import { removeTree } from '../../../lib/linux/remove-tree.js'
import { objectReader } from '../../../lib/store/objects.js'
import { linesOfTree } from '../../../lib/testkit/lines-of-tree.js'
import { treeLines } from '../../../lib/testkit/tree-lines.js'
import { materialise } from '../../../lib/tree/materialise.js'
import type { Directory, Inode, Metadata, NonDirectory } from '../../../lib/tree/model.js'
import { openBelow, useScratch } from '../linux/scratch.js'

const scratch = useScratch()

const byteText = (min: number, max: number) =>
  fc
    .uint8Array({ minLength: min, maxLength: max })
    .map((bytes) => Buffer.from(bytes).toString('latin1') as ByteString)

const name = byteText(1, 255).filter((text) => text !== '.' && text !== '..' && !/[/\0]/.test(text))

const metadata: fc.Arbitrary<Metadata> = fc.record({
  // Whoever owns the files must be able to read them back.
  mode: fc.integer({ min: 0, max: 0o7777 }).map((mode) => mode | 0o400),
  uid: fc.constant(process.geteuid!()),
  gid: fc.constant(process.getegid!()),
  // The ends of ext4's range lose their nanoseconds, which materialise refuses.
  mtimeSeconds: fc.bigInt({ min: 1n - 2n ** 31n, max: 2n ** 33n }),
  mtimeNanoseconds: fc.integer({ min: 0, max: 999_999_999 }),
  xattrs: fc
    .array(fc.tuple(byteText(1, 20), byteText(0, 40)), { maxLength: 3 })
    .map(
      (all) => new Map(all.map(([key, value]) => [`user.${key.replaceAll('\0', '0')}` as ByteString, value])),
    ),
})

const content = fc.oneof(
  fc.constant(Buffer.alloc(0)),
  fc.uint8Array({ minLength: 1, maxLength: 64 }).map((bytes) => Buffer.from(bytes)),
  fc
    .tuple(fc.integer({ min: 65, max: 20_000 }), fc.integer({ min: 0, max: 255 }))
    .map(([n, byte]) => Buffer.alloc(n, byte)),
)

const leaf = fc.oneof(
  fc.tuple(metadata, content).map(([own, bytes]) => ({ ...own, kind: 'file' as const, bytes })),
  fc.tuple(metadata, byteText(1, 100)).map(
    ([own, target]): Inode => ({
      ...own,
      mode: 0o777,
      xattrs: new Map(),
      kind: 'symlink',
      target: target.replaceAll('\0', '0') as ByteString,
    }),
  ),
  fc.tuple(metadata, fc.constantFrom('fifo' as const, 'socket' as const)).map(
    ([own, kind]): Inode => ({
      ...own,
      xattrs: new Map(),
      kind,
    }),
  ),
)

type Leaf = typeof leaf extends fc.Arbitrary<infer T> ? T : never
interface Branch {
  readonly own: Metadata
  readonly entries: readonly (readonly [ByteString, Leaf | Branch | number])[]
}

/** A number is a further name for one of the files before it. */
const { branch } = fc.letrec<{ branch: Branch }>((tie) => ({
  branch: fc.record({
    own: metadata.map((own) => ({ ...own, mode: own.mode | 0o500 })),
    entries: fc.array(
      fc.tuple(name, fc.oneof({ depthSize: 'small' }, leaf, fc.nat({ max: 50 }), tie('branch'))),
      { maxLength: 6 },
    ),
  }),
}))

describe('materialise', () => {
  it('writes any tree exactly, and it can be removed again', async () => {
    const objects = objectReader(`${scratch.path}/objects`)
    const at = `${scratch.path}/rootfs`
    await fc.assert(
      fc.asyncProperty(branch, async (shape) => {
        const tree = { root: build(shape, []) }
        try {
          await materialise(tree, objects, at, {
            ignoreOwnership: false,
            signal: new AbortController().signal,
          })
          expect(treeLines(at)).toEqual(linesOfTree(tree, objects))
        } finally {
          removeTree(at)
        }
        expect(openBelow(at)).toEqual([])
      }),
      { numRuns: 60 },
    )
  })

  function build({ own, entries }: Branch, made: NonDirectory[]): Directory {
    const children = new Map<ByteString, Inode>()
    for (const [key, what] of entries) {
      const inode = typeof what === 'number' ? made[what % made.length] : finish(what, made)
      if (inode === undefined || children.has(key)) continue
      children.set(key, inode)
      if (inode.kind !== 'directory') made.push(inode)
    }
    return { ...own, kind: 'directory', children }
  }

  function finish(what: Leaf | Branch, made: NonDirectory[]): Inode {
    if ('entries' in what) return build(what, made)
    if (!('bytes' in what)) return what
    const { bytes, ...rest } = what
    const size = bytes.length
    if (size === 0) return { ...rest, size, content: { kind: 'empty' } }
    if (size <= 64) return { ...rest, size, content: { kind: 'inline', bytes } }
    return { ...rest, size, content: { kind: 'object', digest: put(bytes) } }
  }

  function put(bytes: Buffer): VerityDigest {
    const digest = createHash('sha256').update(bytes).digest('hex') as VerityDigest
    mkdirSync(`${scratch.path}/objects/${digest.slice(0, 2)}`, { recursive: true })
    writeFileSync(`${scratch.path}/objects/${digest.slice(0, 2)}/${digest.slice(2)}`, bytes)
    return digest
  }
})
