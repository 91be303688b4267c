import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type ByteString, byteString, fromBytes } from '../../../lib/bytes.js'
import { sha256 } from '../../../lib/digest.js'
import { BugError } from '../../../lib/errors.js'
import type { TarEntry, TarKind } from '../../../lib/layer/entry.js'
import { DEFAULT_LIMITS } from '../../../lib/layer/limits.js'
import { TarReader } from '../../../lib/layer/read-tar.js'
import { TAR_END, tarHeader, tarPadding } from '../../../lib/layer/write-tar.js'
import { NO_XATTRS } from '../../../lib/tree/model.js'
import { entriesOf } from './collect.js'

type Plain = Omit<TarEntry, 'offset' | 'sparse'>

const FILE: Plain = {
  kind: 'file',
  path: byteString('a'),
  linkPath: byteString(''),
  mode: 0o644,
  uid: 0,
  gid: 0,
  mtimeSeconds: 0n,
  mtimeNanoseconds: 0,
  size: 0,
  major: 0,
  minor: 0,
  xattrs: NO_XATTRS,
}

/** The entry that a header reads as; stops before the content. */
function readBack(header: Uint8Array): TarEntry {
  let found: TarEntry | null = null
  const sink = {
    raw: () => {},
    content: () => {},
    entryEnd: () => {},
    entry: (entry: TarEntry) => {
      found = entry
    },
  }
  const limits = {
    ...DEFAULT_LIMITS,
    maxFileBytes: Number.MAX_SAFE_INTEGER,
    maxTotalBytes: Number.MAX_SAFE_INTEGER,
  }
  new TarReader(sink, limits).write(header)
  return found!
}

/** The records of the PAX header in front, as text. */
function records(fields: Partial<Plain>): string[] {
  const header = Buffer.from(tarHeader({ ...FILE, ...fields }))
  if (header.length === 512) return []
  expect(header.toString('latin1', 156, 157)).toBe('x')
  const size = Number.parseInt(header.toString('latin1', 124, 135), 8)
  return header
    .toString('latin1', 512, 512 + size)
    .split('\n')
    .slice(0, -1)
}

describe('tarHeader', () => {
  it('is plain ustar as long as the fields hold everything', () => {
    const fields: Partial<Plain> = {
      path: byteString('n'.repeat(100)),
      uid: 0o7777777,
      gid: 0o7777777,
      size: 8 ** 11 - 1,
      mtimeSeconds: 8n ** 11n - 1n,
    }
    expect(records(fields)).toEqual([])
    expect(readBack(tarHeader({ ...FILE, ...fields }))).toEqual({
      ...FILE,
      ...fields,
      sparse: null,
      offset: 0,
    })
  })

  it.each<[string, Partial<Plain>, string[]]>([
    ['a long name', { path: byteString('n'.repeat(101)) }, [`111 path=${'n'.repeat(101)}`]],
    ['a name that is not ASCII', { path: byteString('é') }, ['11 path=\xc3\xa9']],
    ['a name that is not UTF-8', { path: '\xff' as ByteString }, ['9 path=\xff']],
    [
      'a long link',
      { kind: 'symlink', linkPath: byteString('l'.repeat(101)) },
      [`115 linkpath=${'l'.repeat(101)}`],
    ],
    ['large ids', { uid: 2 ** 21, gid: 2 ** 32 - 2 }, ['18 gid=4294967294', '15 uid=2097152']],
    ['a large size', { size: 8 ** 11 }, ['19 size=8589934592']],
    ['a late time', { mtimeSeconds: 8n ** 11n }, ['20 mtime=8589934592']],
    ['nanoseconds', { mtimeSeconds: 1n, mtimeNanoseconds: 500_000_000 }, ['13 mtime=1.5']],
    ['one nanosecond', { mtimeNanoseconds: 1 }, ['21 mtime=0.000000001']],
    ['a time before 1970', { mtimeSeconds: -2n, mtimeNanoseconds: 500_000_000 }, ['14 mtime=-1.5']],
    [
      'the time just before 1970',
      { mtimeSeconds: -1n, mtimeNanoseconds: 999_999_999 },
      ['22 mtime=-0.000000001'],
    ],
    ['a whole time before 1970', { mtimeSeconds: -1000n }, ['15 mtime=-1000']],
    [
      'attributes, sorted by bytes',
      {
        xattrs: new Map([
          [byteString('user.b'), byteString('2')],
          [byteString('user.B'), byteString('1')],
          [byteString('user.=é'), byteString('3')],
        ]),
      },
      ['40 LIBARCHIVE.xattr.user.%3D%C3%A9=Mw==', '25 SCHILY.xattr.user.B=1', '25 SCHILY.xattr.user.b=2'],
    ],
  ])('puts %s into a PAX header', (_, fields, expected) => {
    expect(records(fields)).toEqual(expected)
  })

  it('counts the digits of a length that counts itself', () => {
    for (const length of [86, 87, 88, 89, 90, 984, 985, 986, 987, 988, 989, 990]) {
      const path = byteString(`${'n'.repeat(length)}é`)
      expect(readBack(tarHeader({ ...FILE, path })).path).toBe(path)
    }
  })

  it('gives the same bytes for ever', () => {
    const xattrs = new Map([[byteString('user.a'), byteString('b')]])
    const header = tarHeader({
      ...FILE,
      path: byteString('dir/späße'),
      mtimeSeconds: 5n,
      mtimeNanoseconds: 6,
      xattrs,
    })
    expect(sha256(header)).toBe('sha256:fa6b2d66236dcd880b9a0b9949b5a8592ced0da2f7297fd7102f940446d04ba9')
  })

  it('reads back as the entry that was written', () => {
    const bytes = (min: number, max: number) =>
      fc.uint8Array({ min: 1, minLength: min, maxLength: max }).map((value) => fromBytes(value))
    const name = fc.oneof(bytes(1, 300), fc.constantFrom('a', 'dir/file').map(byteString))
    const kinds: TarKind[] = ['file', 'directory', 'symlink', 'hardlink', 'char', 'block', 'fifo']
    const value = fc.uint8Array({ maxLength: 100 }).map((found) => fromBytes(found))
    const arbitrary = fc.record({
      kind: fc.constantFrom(...kinds),
      path: name,
      linkPath: name,
      mode: fc.nat(0o7777),
      uid: fc.integer({ min: 0, max: 2 ** 32 - 2 }),
      gid: fc.integer({ min: 0, max: 2 ** 32 - 2 }),
      mtimeSeconds: fc.oneof(
        fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
        fc.bigInt({ min: -2n, max: 9n }),
      ),
      mtimeNanoseconds: fc.oneof(fc.constant(0), fc.nat(999_999_999)),
      size: fc.maxSafeNat(),
      major: fc.nat(4095),
      minor: fc.nat(1048575),
      xattrs: fc.array(fc.tuple(bytes(1, 40), value), { maxLength: 4 }).map((pairs) => new Map(pairs)),
    })
    fc.assert(
      fc.property(arbitrary, (any) => {
        const { kind } = any
        const isLink = kind === 'symlink' || kind === 'hardlink'
        const isDevice = kind === 'char' || kind === 'block'
        const entry: Plain = {
          ...any,
          path: kind === 'file' ? (any.path.replace(/\/+$/, 'x') as ByteString) : any.path,
          linkPath: isLink ? any.linkPath : byteString(''),
          size: kind === 'file' ? any.size : 0,
          major: isDevice ? any.major : 0,
          minor: isDevice ? any.minor : 0,
        }
        expect(readBack(tarHeader(entry))).toEqual({ ...entry, sparse: null, offset: 0 })
      }),
      { numRuns: 500 },
    )
  })

  it.each<[string, Partial<Plain>]>([
    ['no name', { path: byteString('') }],
    ['a NUL in its name', { path: byteString('a\0') }],
    ['a NUL in its link', { linkPath: byteString('a\0') }],
    ['a file whose name ends with a slash', { path: byteString('a/') }],
    ['an attribute without a name', { xattrs: new Map([[byteString(''), byteString('x')]]) }],
    ['an attribute with a NUL in its name', { xattrs: new Map([[byteString('user.\0'), byteString('x')]]) }],
  ])('will not write %s', (_, fields) => {
    expect(() => tarHeader({ ...FILE, ...fields })).toThrow(BugError)
  })
})

describe('an archive', () => {
  it('is headers, contents, padding and end', () => {
    const content = Buffer.from('content')
    const tar = Buffer.concat([
      tarHeader({ ...FILE, size: content.length }),
      content,
      tarPadding(content.length),
      tarHeader({ ...FILE, kind: 'directory', path: byteString('d') }),
      TAR_END,
    ])
    expect(entriesOf(tar).map(({ path, size }) => [path, size])).toEqual([
      ['a', 7],
      ['d', 0],
    ])
  })

  it.each([
    [0, 0],
    [1, 511],
    [511, 1],
    [512, 0],
    [513, 511],
    [2 ** 40 + 1, 511],
  ])('has after %i bytes %i of padding', (size, padding) => {
    expect(tarPadding(size)).toEqual(new Uint8Array(padding))
  })
})
