import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type ByteString, byteString, fromBytes } from '../../../lib/bytes.js'
import { checkMapping, type IdMapping, parseIdRange } from '../../../lib/ids/mapping.js'
import { mapOwners } from '../../../lib/tree/map-owners.js'
import {
  type Directory,
  IMPLICIT_DIRECTORY,
  type Inode,
  type NonDirectory,
  type Tree,
} from '../../../lib/tree/model.js'
import { inverseRanges } from '../ids/inverse.js'

const ranges = (text: string) => text.split(',').map((each) => parseIdRange(each, 'uid-mapping'))
const PLAIN = checkMapping({ uid: ranges('0:100000:65536'), gid: ranges('0:100000:65536') })
const SQUASH = checkMapping({ ...PLAIN, unmapped: 'squash' })
/** Users and groups apart, in two ranges that turn the order round, with a gap on either side. */
const TWO = checkMapping({
  uid: ranges('0:500000:1000,1000:200000:64536'),
  gid: ranges('0:300000:100,200:100000:70000'),
})

const directory = (children: Record<string, Inode> = {}, uid = 0, gid = 0): Directory => ({
  ...IMPLICIT_DIRECTORY,
  kind: 'directory',
  uid,
  gid,
  children: new Map(Object.entries(children).map(([name, inode]) => [byteString(name), inode])),
})
const fifo = (uid = 0, gid = 0, xattrs: Record<string, ByteString> = {}): Inode => ({
  ...IMPLICIT_DIRECTORY,
  kind: 'fifo',
  uid,
  gid,
  xattrs: new Map(Object.entries(xattrs) as [ByteString, ByteString][]),
})
const at = (tree: Tree, path: string): Inode =>
  path
    .split('/')
    .reduce<Inode>((inode, name) => (inode as Directory).children.get(byteString(name))!, tree.root)
const error = (work: () => unknown): unknown => {
  try {
    return work()
  } catch (thrown) {
    return thrown
  }
}

describe('owners of a tree', () => {
  it('become those of the host, of all that has any', () => {
    const tree = { root: directory({ a: directory({ b: fifo(999, 99) }, 1000, 200), c: fifo(65_535, 0) }) }
    const mapped = mapOwners(tree, TWO)
    const owners = [mapped.root, ...['a', 'a/b', 'c'].map((path) => at(mapped, path))]
    expect(owners.map(({ uid, gid }) => [uid, gid])).toEqual([
      [500_000, 300_000],
      [200_000, 100_000],
      [500_999, 300_099],
      [264_535, 300_000],
    ])
  })

  it('are another tree’s: the given one stays as it is', () => {
    const tree = { root: directory({ a: fifo(1, 2) }) }
    const mapped = mapOwners(tree, PLAIN)
    expect(at(tree, 'a')).toMatchObject({ uid: 1, gid: 2 })
    expect(mapped.root.children).not.toBe(tree.root.children)
  })

  it('of a file of many names are one file’s', () => {
    const linked = fifo(5, 6)
    const mapped = mapOwners(
      { root: directory({ a: linked, d: directory({ b: linked }), e: fifo(5, 6) }) },
      PLAIN,
    )
    expect(at(mapped, 'a')).toBe(at(mapped, 'd/b'))
    expect(at(mapped, 'a')).not.toBe(at(mapped, 'e'))
  })

  it.each([
    [fifo(70_000, 0), 'uid', 70_000],
    [fifo(0, 65_536), 'gid', 65_536],
    [fifo(4_294_967_294, 0), 'uid', 4_294_967_294],
  ])('that have no id are refused by name: %#', (inode, kind, id) => {
    expect(error(() => mapOwners({ root: directory({ d: directory({ x: inode }) }) }, PLAIN))).toMatchObject({
      code: 'id-unmapped',
      exitStatus: 17,
      facts: { entry: 'd/x', kind, id, ranges: '0:100000:65536' },
    })
  })

  it('of the top are refused as well', () => {
    expect(error(() => mapOwners({ root: directory({}, 70_000) }, PLAIN))).toMatchObject({
      code: 'id-unmapped',
      facts: { entry: '/', kind: 'uid', id: 70_000 },
    })
  })

  it('that have no id become the overflow id of the container when asked, and never one of the host', () => {
    const mapped = mapOwners({ root: directory({ x: fifo(70_000, 1), y: fifo(2, 4_294_967_294) }) }, SQUASH)
    expect(at(mapped, 'x')).toMatchObject({ uid: 165_534, gid: 100_001 })
    expect(at(mapped, 'y')).toMatchObject({ uid: 100_002, gid: 165_534 })
  })
})

describe('ids in attributes', () => {
  const ACCESS = 'system.posix_acl_access'
  const CAPABILITY = 'security.capability'
  const acl = (uid: number, gid: number) => {
    const ids = Buffer.alloc(20)
    ids.writeUInt32LE(2, 0)
    ids.writeUInt16LE(2, 4)
    ids.writeUInt32LE(uid, 8)
    ids.writeUInt16LE(8, 12)
    ids.writeUInt32LE(gid, 16)
    return fromBytes(ids)
  }
  const capability = (root: number | null) => {
    const value = Buffer.alloc(root === null ? 20 : 24)
    value.writeUInt32LE(root === null ? 0x0200_0001 : 0x0300_0001, 0)
    value.writeUInt32LE(1024, 4)
    if (root !== null) value.writeUInt32LE(root, 20)
    return fromBytes(value)
  }
  const mappedValue = (mapping: IdMapping, name: string, value: ByteString) =>
    at(mapOwners({ root: directory({ x: fifo(0, 0, { [name]: value }) }) }, mapping), 'x').xattrs.get(
      byteString(name),
    )

  it('are mapped in access lists, also in those for what will be made', () => {
    for (const name of [ACCESS, 'system.posix_acl_default'])
      expect(mappedValue(TWO, name, acl(1000, 99))).toBe(acl(200_000, 300_099))
  })

  it('of access lists are refused or squashed as owners are', () => {
    expect(error(() => mappedValue(PLAIN, ACCESS, acl(70_000, 0)))).toMatchObject({
      code: 'id-unmapped',
      facts: { entry: 'x', kind: 'uid', id: 70_000 },
    })
    expect(error(() => mappedValue(PLAIN, ACCESS, acl(0, 70_000)))).toMatchObject({ facts: { kind: 'gid' } })
    expect(mappedValue(SQUASH, ACCESS, acl(70_000, 70_000))).toBe(acl(165_534, 165_534))
  })

  it('bind capabilities to the root of the container', () => {
    expect(mappedValue(TWO, CAPABILITY, capability(null))).toBe(capability(500_000))
    expect(mappedValue(TWO, CAPABILITY, capability(1000))).toBe(capability(200_000))
  })

  it('of capabilities that nobody could have are refused, or the capabilities given up', () => {
    expect(error(() => mappedValue(PLAIN, CAPABILITY, capability(70_000)))).toMatchObject({
      code: 'id-unmapped',
    })
    expect(mappedValue(SQUASH, CAPABILITY, capability(70_000))).toBeUndefined()
  })

  it.each([ACCESS, CAPABILITY])('that cannot be read in %s are refused', (name) => {
    expect(error(() => mappedValue(SQUASH, name, byteString('odd')))).toMatchObject({
      code: 'entry-refused',
      exitStatus: 17,
      facts: { entry: 'x', xattr: name },
    })
  })

  it('are looked for nowhere else', () => {
    const value = byteString('0:0')
    expect(mappedValue(PLAIN, 'user.owner', value)).toBe(value)
    expect(mappedValue(PLAIN, 'trusted.owner', value)).toBe(value)
  })
})

describe('any tree', () => {
  /** Ids that TWO has. */
  const uid = fc.integer({ min: 0, max: 65_535 })
  const gid = fc.oneof(fc.integer({ min: 0, max: 99 }), fc.integer({ min: 200, max: 70_199 }))
  const aclOf = fc.tuple(uid, gid).map(([user, group]) => {
    const value = Buffer.alloc(20)
    value.writeUInt32LE(2, 0)
    value.writeUInt16LE(2, 4)
    value.writeUInt32LE(user, 8)
    value.writeUInt16LE(8, 12)
    value.writeUInt32LE(group, 16)
    return ['system.posix_acl_access' as ByteString, fromBytes(value)] as const
  })
  const capabilityOf = fc.option(uid.filter((id) => id !== 0)).map((root) => {
    const value = Buffer.alloc(root === null ? 20 : 24, 3)
    value.writeUInt32LE(root === null ? 0x0200_0000 : 0x0300_0001, 0)
    if (root !== null) value.writeUInt32LE(root, 20)
    return ['security.capability' as ByteString, fromBytes(value)] as const
  })
  const xattrs = fc
    .array(fc.oneof(aclOf, capabilityOf, fc.constant(['user.x' as ByteString, 'y' as ByteString] as const)), {
      maxLength: 3,
    })
    .map((pairs) => new Map(pairs))
  const metadata = fc.record({ ...constants(), uid, gid, xattrs })
  const leaf = metadata.map((each): NonDirectory => ({ ...each, kind: 'socket' }))
  const tree = fc
    .tuple(fc.array(leaf, { minLength: 1, maxLength: 4 }), fc.array(metadata, { minLength: 1, maxLength: 6 }))
    .chain(([leaves, directories]) =>
      fc
        .array(fc.tuple(fc.nat(directories.length - 1), fc.nat(leaves.length - 1)), { maxLength: 12 })
        .map((places): Tree => {
          const made = directories.map(
            (each): Directory => ({ ...each, kind: 'directory', children: new Map() }),
          )
          for (const [index, each] of made.entries()) {
            if (index > 0) made[(index - 1) >> 1]!.children.set(byteString(`d${index}`), each)
          }
          for (const [index, [where, what]] of places.entries())
            made[where]!.children.set(byteString(`f${index}`), leaves[what]!)
          return { root: made[0]! }
        }),
    )

  it('comes back by the mapping turned round, with its links', () => {
    const back = { uid: inverseRanges(TWO.uid), gid: inverseRanges(TWO.gid), unmapped: 'refuse' } as const
    fc.assert(
      fc.property(tree, (given) => {
        const mapped = mapOwners(given, TWO)
        expect(mapOwners(mapped, back)).toEqual(given)
        expect(linksOf(mapped)).toEqual(linksOf(given))
      }),
    )
  })
})

function constants() {
  return {
    mode: fc.integer({ min: 0, max: 0o7777 }),
    mtimeSeconds: fc.bigInt({ min: -5n, max: 5n }),
    mtimeNanoseconds: fc.nat(9),
  }
}

/** For each path the first path of the same file. */
function linksOf({ root }: Tree): Record<string, string> {
  const first = new Map<Inode, string>()
  const links: Record<string, string> = {}
  const visit = (inode: Inode, path: string): void => {
    links[path] = first.get(inode) ?? path
    first.set(inode, links[path])
    if (inode.kind !== 'directory') return
    for (const [name, child] of inode.children) visit(child, `${path}/${name}`)
  }
  visit(root, '')
  return links
}
