import { describe, expect, it } from 'vitest'
import { type ByteString, byteString } from '../../../lib/bytes.js'
import { parseDump } from '../../../lib/composefs/dump-parse.js'
import { readComposefs } from '../../../lib/composefs/erofs-read.js'
import { planComposefs, writeComposefs } from '../../../lib/composefs/erofs-write.js'
import { readHeader } from '../../../lib/composefs/format.js'
import type { ComposefsLink, ComposefsNode } from '../../../lib/composefs/node.js'
import { imageFsVerity } from '../../../lib/composefs/verity.js'
import type { VerityDigest } from '../../../lib/digest.js'
import { backed, bytesOf, directory, inline, node, symlink, whiteout } from './random-nodes.js'

const OWN = 'ab'.padStart(64, '0')
const OTHER = 'cd'.padStart(64, '0')

function imageOf(root: ComposefsNode, options = {}): Buffer {
  return Buffer.concat([...writeComposefs(root, options)])
}

function xattrs(entries: Readonly<Record<string, string>>): ReadonlyMap<ByteString, ByteString> {
  return new Map(Object.entries(entries)) as unknown as ReadonlyMap<ByteString, ByteString>
}

function linkTo(target: ComposefsNode): ComposefsLink {
  return { kind: 'link', target }
}

function inTwoPlaces(): ComposefsNode {
  const shared = directory()
  return directory({ a: directory({ x: shared }), b: shared })
}

function inACircle(): ComposefsNode {
  const inner = directory()
  ;(inner.children as Map<ByteString, ComposefsNode>).set(byteString('again'), inner)
  return directory({ inner })
}

function linkedTwin(): ComposefsNode {
  const twin = node()
  return directory({ a: twin, b: twin, c: linkTo(twin) })
}

describe('writing an image', () => {
  it('moves the root where its xattrs leave too little of a block for its last entries, as mkcomposefs does', () => {
    const files = Array.from({ length: 54 }, (_, i) => `/f${i} 0 100644 1 0 0 0 1.0 - - -`)
    const dump = [`/ 4096 40755 2 0 0 0 1.0 - - - user.a0=${'v'.repeat(2740)}`, ...files, ''].join('\n')
    const image = imageOf(parseDump(Buffer.from(dump)))
    expect(imageFsVerity(image)).toBe('54514ee62faf8dbb1d5e4a8d191c3fcabcebaa58ecba4986e52f542ae184591f')
    expect(readHeader(image).rootNid).toBeGreaterThan(36)
    expect(readComposefs(image).root.children?.size).toBe(54)
  })

  it.each<[string, () => ComposefsNode, string, string]>([
    ['a top that is a file', () => node(), '/', 'ENOTDIR'],
    ['a top without entries of any kind', () => directory({}, { children: null }), '/', 'ENOTDIR'],
    ['a directory of two names', inTwoPlaces, '/a/x', 'EMLINK'],
    ['a directory in itself', inACircle, '/inner/again', 'EMLINK'],
    ['a file with entries', () => directory({ a: node({ children: new Map() }) }), '/a', 'ENOTDIR'],
    [
      'a name of 256 bytes',
      () => directory({ ['n'.repeat(256)]: node() }),
      `/${'n'.repeat(256)}`,
      'ENAMETOOLONG',
    ],
    ['a name with a slash', () => directory({ 'a/b': node() }), '/a/b', 'EINVAL'],
    ['a name with NUL', () => directory({ 'a\0': node() }), '/a\\x00', 'EINVAL'],
    ['an empty name', () => directory({ '': node() }), '/', 'EINVAL'],
    ['the name ..', () => directory({ '..': node() }), '/..', 'EINVAL'],
    ['a link to what is not there', () => directory({ a: linkTo(node()) }), '/a', 'EINVAL'],
    ['a link to the top', rootLink, '/a', 'EINVAL'],
    ['a link to one of two', linkedTwin, '/c', 'EMLINK'],
    ['a symlink without a target', () => directory({ a: node({ kind: 'symlink' }) }), '/a', 'EINVAL'],
    ['a target of 4096 bytes', () => directory({ a: symlink('t'.repeat(4096)) }), '/a', 'ENAMETOOLONG'],
    ['a target with NUL', () => directory({ a: symlink('t\0') }), '/a', 'EINVAL'],
    ['content of 5001 bytes', () => directory({ a: inline(5001) }), '/a', 'EINVAL'],
    ['content of another size', () => directory({ a: { ...inline(5), size: 6 } }), '/a', 'EINVAL'],
    ['a file of 2^53 + 1 bytes', () => directory({ a: backed(2n ** 53n + 1n, OWN) }), '/a', 'EFBIG'],
    ['a size of less than nothing', () => directory({ a: node({ size: -1 }) }), '/a', 'EINVAL'],
    ['a size of a half', () => directory({ a: node({ size: 0.5 }) }), '/a', 'EINVAL'],
    ['a mode of five digits', () => directory({ a: node({ mode: 0o10000 }) }), '/a', 'EINVAL'],
    ['a uid of 33 bits', () => directory({ a: node({ uid: 2 ** 32 }) }), '/a', 'ERANGE'],
    ['a gid of less than nothing', () => directory({ a: node({ gid: -1 }) }), '/a', 'ERANGE'],
    ['a device number of 33 bits', () => directory({ a: node({ rdev: 2 ** 32 }) }), '/a', 'ERANGE'],
    ['a link count of 33 bits', () => directory({ a: node({ nlink: 2 ** 32 }) }), '/a', 'ERANGE'],
    ['nanoseconds of 33 bits', () => directory({ a: node({ mtimeNanoseconds: 2 ** 32 }) }), '/a', 'ERANGE'],
    ['seconds of 65 bits', () => directory({ a: node({ mtimeSeconds: 2n ** 63n }) }), '/a', 'ERANGE'],
    ['a digest of 65 digits', () => directory({ a: backed(9, `${OWN}0`) }), '/a', 'EINVAL'],
    [
      'digests of two lengths',
      () => directory({ a: backed(9, OWN), b: backed(9, OWN.padStart(128, '0')) }),
      '/b',
      'EINVAL',
    ],
    [
      'an xattr without a name',
      () => directory({ a: node({ xattrs: xattrs({ '': 'x' }) }) }),
      '/a',
      'ERANGE',
    ],
    [
      'an xattr name of 256 bytes',
      () => directory({ a: node({ xattrs: xattrs({ [`user.${'n'.repeat(251)}`]: 'x' }) }) }),
      '/a',
      'ERANGE',
    ],
    [
      'xattrs that are too long',
      () => directory({ a: node({ xattrs: xattrs({ 'user.a': 'v'.repeat(32_743) }) }) }),
      '/a',
      'ERANGE',
    ],
  ])('refuses %s, and says where', (_, tree, path, errno) => {
    expect(() => planComposefs(tree())).toThrow(
      expect.objectContaining({
        code: 'composefs-refused',
        facts: expect.objectContaining({ path, errno }),
      }),
    )
  })

  it('takes xattrs up to the limit', () => {
    const longest = { 'user.a': 'v'.repeat(32_742) } // 12 + 7 + 6 + 32,742 = 32,767
    const image = imageOf(directory({ a: node({ xattrs: xattrs(longest) }) }))
    expect(readComposefs(image).root.children!.get(byteString('a'))).toEqual(
      expect.objectContaining({ xattrs: xattrs(longest) }),
    )
  })

  it('leaves a directory with the longest xattrs room for the marks of one that holds whiteouts', () => {
    const longest = xattrs({ 'user.a': 'v'.repeat(32_742) })
    for (const version of [0, 1]) {
      const options = { minVersion: version, maxVersion: version }
      const tree = directory({ d: directory({ gone: whiteout() }, { xattrs: longest }) }, { xattrs: longest })
      const image = imageOf(tree, options)
      const { root } = readComposefs(image)
      expect(imageOf(root, options).equals(image)).toBe(true)
      const held = root.children!.get(byteString('d')) as ComposefsNode
      expect(held.xattrs).toEqual(longest)
      expect(held.children!.get(byteString('gone'))).toEqual(
        expect.objectContaining({ kind: 'char', rdev: 0 }),
      )
    }
  })

  it('makes two inodes of one node under two names, and one where a link says so', () => {
    const file = backed(100, OWN)
    expect(readHeader(imageOf(directory({ a: file, b: file }))).inodes).toBe(256 + 3)
    expect(readHeader(imageOf(directory({ a: file, b: linkTo(file) }))).inodes).toBe(256 + 2)
  })

  it('finds targets of links whatever their link counts say, and before they are met', () => {
    for (const nlink of [0, 1, 2]) {
      const file = backed(100, OWN, { nlink })
      const tree = directory({ a: linkTo(file), d: directory({ z: linkTo(file) }), m: file })
      const { root } = readComposefs(imageOf(tree))
      expect((root.children!.get(byteString('d')) as ComposefsNode).children!.get(byteString('z'))).toEqual(
        linkTo(root.children!.get(byteString('m')) as ComposefsNode),
      )
    }
  })

  it('links whiteouts without marking the directory of the link', () => {
    const gone = whiteout()
    const { root } = readComposefs(
      imageOf(directory({ d: directory({ gone }), e: directory({ x: linkTo(gone) }) })),
    )
    const [d, e] = ['d', 'e'].map((name) => root.children!.get(byteString(name)) as ComposefsNode)
    expect([...d!.xattrs.keys()].sort()).toEqual(['trusted.overlay.opaque', 'user.overlay.opaque'])
    expect([...e!.xattrs.keys()]).toEqual([])
  })

  it('raises the version for whiteouts only as far as is allowed', () => {
    const plain = directory({ a: node() })
    const hiding = directory({ a: whiteout() })
    const versions = (tree: ComposefsNode) => [
      planComposefs(tree).version,
      planComposefs(tree, { minVersion: 0, maxVersion: 0 }).version,
      planComposefs(tree, { minVersion: 1, maxVersion: 0 }).version,
    ]
    expect([versions(plain), versions(hiding)]).toEqual([
      [0, 0, 1],
      [1, 0, 1],
    ])
    expect(() => planComposefs(plain, { maxVersion: 2 })).toThrow(
      expect.objectContaining({ code: 'option-invalid', facts: { option: 'maxVersion', value: 2 } }),
    )
  })

  it('shares what many inodes have, and no more than 128 of one inode', () => {
    const many = xattrs(Object.fromEntries(Array.from({ length: 130 }, (_, i) => [`user.${i}`, 'v'])))
    const image = imageOf(directory({ a: node({ xattrs: many }), b: node({ xattrs: many }) }))
    const { root } = readComposefs(image)
    for (const name of ['a', 'b']) {
      expect((root.children!.get(byteString(name)) as ComposefsNode).xattrs).toEqual(
        new Map([...many].sort(([a], [b]) => (a < b ? -1 : 1))),
      )
    }
  })

  it('does not depend on the order in which entries and xattrs come', () => {
    const entries = { b: backed(5, OWN), a: backed(5, OTHER), '!': node(), '-': symlink('x'), '0f': node() }
    const names = xattrs({ 'user.b': '1', 'security.a': '2', 'trusted.z': '3' })
    const reversed = Object.fromEntries(Object.entries(entries).reverse())
    const image = imageOf(directory(entries, { xattrs: names }))
    expect(imageOf(directory(reversed, { xattrs: new Map([...names].reverse()) })).equals(image)).toBe(true)
  })

  it('does not look at the nodes again once it is planned', () => {
    const children = new Map([[byteString('a'), backed(9, OWN) as ComposefsNode]])
    const tree = directory({}, { children })
    const plan = planComposefs(tree)
    const image = Buffer.concat([...plan.chunks()])
    children.clear()
    expect(Buffer.concat([...plan.chunks()]).equals(image)).toBe(true)
  })

  it('refuses to write a digest that is none, as a fault of its caller', () => {
    const wrong = OWN.replace('a', 'X') as VerityDigest
    expect(() => planComposefs(directory({ a: { ...backed(9, OWN), digest: wrong } }))).toThrow(
      expect.objectContaining({ code: 'bug' }),
    )
  })

  it('keeps names of any bytes', () => {
    const names = [
      bytesOf(1),
      bytesOf(0xff, 0xfe),
      bytesOf(0xc3, 0xa9),
      ' ' as ByteString,
      '...' as ByteString,
    ]
    const children = new Map(names.map((name) => [name, node()]))
    const { root } = readComposefs(imageOf(directory({}, { children })))
    expect([...root.children!.keys()]).toEqual([...names].sort())
  })
})

function rootLink(): ComposefsNode {
  const root = directory()
  ;(root.children as Map<ByteString, ComposefsLink>).set(byteString('a'), linkTo(root))
  return root
}
