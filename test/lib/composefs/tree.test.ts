import { describe, expect, it } from 'vitest'
import { type ByteString, byteString } from '../../../lib/bytes.js'
import { writeDump } from '../../../lib/composefs/dump-write.js'
import { type ComposefsNode, rdevOf } from '../../../lib/composefs/node.js'
import { composefsFromTree, treeFromComposefs } from '../../../lib/composefs/tree.js'
import type { Verity512Digest } from '../../../lib/composefs/verity.js'
import type { VerityDigest } from '../../../lib/digest.js'
import type { Directory, Inode, Tree } from '../../../lib/tree/model.js'
import { backed, directory, inline, node, symlink } from './random-nodes.js'

const DIGEST = 'ab'.padStart(64, '0') as VerityDigest
const META = { mode: 0o644, uid: 1, gid: 2, mtimeSeconds: 7n, mtimeNanoseconds: 8, xattrs: new Map() }
const FILE: Inode = { ...META, kind: 'file', size: 100, content: { kind: 'object', digest: DIGEST } }

function treeOf(entries: Readonly<Record<string, Inode>>): Tree {
  return { root: directoryOf(entries) }
}

function directoryOf(entries: Readonly<Record<string, Inode>>): Directory {
  const children = new Map(Object.entries(entries).map(([name, inode]) => [byteString(name), inode]))
  return { ...META, kind: 'directory', mode: 0o755, children }
}

function linesOf(tree: Tree, options = {}): string[] {
  return [...writeDump(composefsFromTree(tree, options))].join('').trimEnd().split('\n').slice(1)
}

describe('nodes of a tree', () => {
  it('say all that the tree says', () => {
    const nodes = composefsFromTree(
      treeOf({
        f: FILE,
        t: { ...META, kind: 'file', size: 4, content: { kind: 'inline', bytes: Buffer.from('text') } },
        e: { ...META, kind: 'file', size: 0, content: { kind: 'empty' } },
        l: { ...META, kind: 'symlink', target: byteString('f') },
        c: { ...META, kind: 'char', major: 5, minor: 300 },
        p: { ...META, kind: 'fifo' },
      }),
    )
    const own = { mode: 0o644, uid: 1, gid: 2, mtimeSeconds: 7n, mtimeNanoseconds: 8 }
    expect(Object.fromEntries(nodes.children!)).toEqual({
      f: backed(100, DIGEST, own),
      t: node({ ...own, size: 4, content: Buffer.from('text') }),
      e: node(own),
      l: node({ ...own, kind: 'symlink', size: 1, payload: byteString('f') }),
      c: node({ ...own, kind: 'char', rdev: rdevOf(5, 300) }),
      p: node({ ...own, kind: 'fifo' }),
    })
  })

  it('count the names of a file, of which the first in depth is its own', () => {
    const tree = treeOf({ z: FILE, a: directoryOf({ inner: FILE }), b: FILE })
    expect(linesOf(tree).map((line) => line.split(' ').slice(0, 4).join(' '))).toEqual([
      expect.stringMatching(/^\/a .* 40755 2$/),
      '/a/inner 100 100644 3',
      '/b 100 @100644 3',
      '/z 100 @100644 3',
    ])
  })

  it('are of one name each when links are split, as the first scanner makes them', () => {
    expect(linesOf(treeOf({ a: FILE, b: FILE }), { hardLinks: 'split' })).toEqual([
      `/a 100 100644 1 1 2 0 7.8 00/${DIGEST.slice(2)} - ${DIGEST}`,
      `/b 100 100644 1 1 2 0 7.8 00/${DIGEST.slice(2)} - ${DIGEST}`,
    ])
  })

  it('leave out devices, times and xattrs as they are told', () => {
    const xattrs = new Map([
      [byteString('user.a'), byteString('1')],
      [byteString('security.b'), byteString('2')],
    ])
    const tree = treeOf({
      a: { ...META, kind: 'fifo', xattrs },
      c: { ...META, kind: 'char', major: 0, minor: 0 },
    })
    const line = (times: string, rest: string) => `/a 0 10644 1 1 2 0 ${times} - - -${rest}`
    expect(linesOf(tree, { skipDevices: true })).toEqual([line('7.8', ' security.b=2 user.a=1')])
    expect(linesOf(tree, { skipDevices: true, xattrs: 'user' })).toEqual([line('7.8', ' user.a=1')])
    expect(linesOf(tree, { skipDevices: true, xattrs: 'none', useEpoch: true })).toEqual([line('0.0', '')])
    expect(linesOf(tree)).toHaveLength(2)
  })

  it('demand the digests that they are given for objects', () => {
    const long = 'cd'.padStart(128, '0') as Verity512Digest
    const nodes = composefsFromTree(treeOf({ f: FILE }), { digestOf: () => long })
    expect(nodes.children!.get(byteString('f'))).toEqual(
      expect.objectContaining({ digest: long, payload: `00/${long.slice(2)}` }),
    )
  })

  it('are in order of name, whatever the order of the tree', () => {
    const names = ['b', 'a', '~', '!', '0', 'é']
    const tree = treeOf(Object.fromEntries(names.map((name) => [name, FILE])))
    const sorted = names.map(byteString).sort()
    expect([...composefsFromTree(tree).children!.keys()]).toEqual(sorted)
  })
})

describe('the tree of nodes', () => {
  it('has one inode where links say so, and two where one node has two names', () => {
    const file = backed(100, DIGEST)
    const twin = inline(5)
    const { root } = treeFromComposefs(
      directory({ a: { kind: 'link', target: file }, b: file, c: twin, d: twin }),
    )
    const [a, b, c, d] = ['a', 'b', 'c', 'd'].map((name) => root.children.get(byteString(name)))
    expect(a).toBe(b)
    expect(c).toEqual(d)
    expect(c).not.toBe(d)
  })

  it.each<[string, ComposefsNode]>([
    ['an object without a digest', node({ size: 5, payload: byteString('ab/cd') })],
    ['an object under another name than its digest', { ...backed(5, DIGEST), payload: byteString('x') }],
    ['a SHA-512 digest', backed(5, DIGEST.padStart(128, '0'))],
    ['the owner that means none', node({ uid: 2 ** 32 - 1 })],
    ['nanoseconds of more than a second', node({ mtimeNanoseconds: 1_000_000_000 })],
    ['more bytes than an exact number', backed(2n ** 53n, DIGEST)],
  ])('is refused for %s, and the path is told', (_, file) => {
    expect(() => treeFromComposefs(directory({ d: directory({ f: file }) }))).toThrow(
      expect.objectContaining({
        code: 'composefs-refused',
        facts: expect.objectContaining({ path: '/d/f' }),
      }),
    )
  })

  it('is refused where a directory is in itself, or the top is none', () => {
    const inner = directory()
    ;(inner.children as Map<ByteString, ComposefsNode>).set(byteString('again'), inner)
    for (const top of [directory({ inner }), symlink('x')]) {
      expect(() => treeFromComposefs(top)).toThrow(expect.objectContaining({ code: 'composefs-refused' }))
    }
  })
})
