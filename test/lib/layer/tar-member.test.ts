import { describe, expect, it } from 'vitest'
import { EMPTY } from '../../../lib/bytes.js'
import type { TarEntry } from '../../../lib/layer/entry.js'
import { type LayerBuilder, layer, type RawMember } from '../../../lib/testkit/layer.js'
import { NO_XATTRS } from '../../../lib/tree/model.js'
import { collect, entriesOf, refusal } from './collect.js'

const PLAIN = {
  kind: 'file',
  linkPath: EMPTY,
  mode: 0o644,
  uid: 0,
  gid: 0,
  mtimeSeconds: 0n,
  mtimeNanoseconds: 0,
  size: 0,
  major: 0,
  minor: 0,
  xattrs: NO_XATTRS,
  sparse: null,
  offset: 0,
} satisfies Omit<TarEntry, 'path'>

function read(builder: LayerBuilder): TarEntry[] {
  return entriesOf(builder.build())
}

function refused(builder: LayerBuilder) {
  return refusal(() => collect(builder.build()))
}

describe('types', () => {
  it.each([
    ['0', 'file'],
    ['\0', 'file'],
    ['7', 'file'],
    ['5', 'directory'],
    ['6', 'fifo'],
  ] as const)('reads %j as %s', (type, kind) => {
    expect(read(layer().member({ name: 'a', type }))).toEqual([{ ...PLAIN, path: 'a', kind }])
  })

  it('reads links with their target', () => {
    const tar = layer()
      .member({ name: 'a', type: '1', link: 'b' })
      .member({ name: 'c', type: '2', link: '/d' })
    expect(read(tar)).toEqual([
      { ...PLAIN, path: 'a', kind: 'hardlink', linkPath: 'b' },
      { ...PLAIN, path: 'c', kind: 'symlink', linkPath: '/d', offset: 512 },
    ])
  })

  it('has no link target for what is no link', () => {
    expect(read(layer().member({ name: 'a', link: 'left over' }))).toEqual([{ ...PLAIN, path: 'a' }])
  })

  it.each(['1', '2', '3', '4', '5', '6'])('takes no data for type %s, whatever its size says', (type) => {
    const tar = layer()
      .member({ name: 'a', type, link: 'x', major: 1, minor: 3, size: 4096 })
      .file('next', 'data')
    const { members } = collect(tar.build())
    expect(members.map(({ entry, content }) => [entry.path, entry.size, content.toString()])).toEqual([
      ['a', 0, ''],
      ['next', 4, 'data'],
    ])
  })

  it.each(['1', '2', '3', '4', '5', '6'])('still wants a size that can be read for type %s', (type) => {
    const tar = layer().member({ name: 'a', type, link: 'x', major: 1, minor: 3, size: 'garbage' })
    expect(refused(tar)).toMatchObject({ code: 'tar-invalid', facts: { entry: 'a' } })
  })

  it.each([
    ['V', 'its type "V" is a volume label, which no layer needs'],
    ['M', 'its type "M" is a file continued from another volume, which no layer needs'],
    ['D', 'its type "D" is a directory listing of an incremental GNU archive, which no layer needs'],
    ['N', 'its type "N" is old GNU long names, which no layer needs'],
    ['8', 'its type "8" is not known'],
    ['s', 'its type "s" is not known'],
    ['\xff', 'its type "\\xff" is not known'],
  ])('refuses type %j by name', (type, cause) => {
    expect(refused(layer().file('first').member({ name: 'a', type }))).toEqual({
      code: 'entry-refused',
      facts: { entry: 'a', cause, offset: 512 },
    })
  })

  it.each(['0', '\0', '7'])(
    'takes type %j for a directory when the name ends with a slash, as before type 5',
    (type) => {
      expect(read(layer().member({ name: 'a/', type, magic: 'v7' }))).toEqual([
        { ...PLAIN, path: 'a/', kind: 'directory' },
      ])
      expect(refused(layer().member({ name: 'a/', type, magic: 'v7', data: 'x' }))).toEqual({
        code: 'tar-invalid',
        facts: {
          entry: 'a/',
          cause: 'its name ends with a slash, as of a directory, and it has data',
          offset: 0,
        },
      })
    },
  )
})

describe('GNU long names', () => {
  const name = `${'d/'.repeat(300)}name`
  const target = `${'../'.repeat(200)}target`

  it('replace the fields, in either order', () => {
    const link: RawMember = { name: 'cut', type: '2', link: 'cut', magic: 'gnu' }
    const expected = { ...PLAIN, kind: 'symlink', path: name, linkPath: target }
    expect(read(layer().long('L', name).long('K', target).member(link))).toEqual([expected])
    expect(read(layer().long('K', target).long('L', name).member(link))).toEqual([expected])
  })

  it('count once, for the next member, and the last of several wins', () => {
    const tar = layer().long('L', 'first').long('L', name).member({ name: 'cut' }).member({ name: 'plain' })
    expect(read(tar).map((entry) => entry.path)).toEqual([name, 'plain'])
  })

  it('are bytes', () => {
    const bytes = Buffer.from(Array.from({ length: 255 }, (_, i) => i + 1))
    expect(read(layer().long('L', bytes).member({}))[0]!.path).toBe(bytes.toString('latin1'))
  })

  it('may come without the closing NUL', () => {
    const tar = layer().member({ type: 'L', data: 'abc' }).member({ name: 'x' })
    expect(read(tar).map((entry) => entry.path)).toEqual(['abc'])
  })

  it.each([
    ['', 'its GNU long name is empty'],
    ['\0\0', 'its GNU long name is empty'],
    ['a\0b', 'its GNU long name "a\\x00b" has a NUL inside'],
  ])('refuses %j', (data, cause) => {
    expect(refused(layer().member({ type: 'L', data }).member({ name: 'x' })).facts.cause).toBe(cause)
  })

  it("put the member's offset where the long name begins", () => {
    const tar = layer().file('a').long('L', 'x').member({ name: 'y' })
    expect(read(tar).map((entry) => entry.offset)).toEqual([0, 512])
  })
})

describe('PAX headers', () => {
  it('override the fields of the next member and of no other', () => {
    const records = [
      ['path', 'long/path'],
      ['size', '3'],
      ['uid', '3000000'],
      ['gid', '3000001'],
      ['mtime', '12.5'],
    ] as const
    const tar = layer()
      .pax(records)
      .member({ name: 'cut', size: 0, data: 'abc', uid: 1, gid: 2, mtime: 3, prefix: 'unused' })
      .member({ name: 'plain' })
    expect(read(tar)).toEqual([
      {
        ...PLAIN,
        path: 'long/path',
        size: 3,
        uid: 3000000,
        gid: 3000001,
        mtimeSeconds: 12n,
        mtimeNanoseconds: 500_000_000,
      },
      { ...PLAIN, path: 'plain', offset: 2048 },
    ])
  })

  it('apply to the member and not to a long name between', () => {
    const tar = layer()
      .pax([
        ['size', '5'],
        ['uid', '7'],
      ])
      .long('L', 'the name')
      .member({ name: 'cut', size: 0, data: 'hello' })
    const { members } = collect(tar.build())
    expect(members.map(({ entry, content }) => [entry.path, entry.uid, content.toString()])).toEqual([
      ['the name', 7, 'hello'],
    ])
  })

  it('override link targets and device numbers', () => {
    const tar = layer()
      .pax([['linkpath', 'a\ntarget']])
      .member({ name: 'link', type: '2', link: 'other' })
      .pax([
        ['SCHILY.devmajor', '200'],
        ['SCHILY.devminor', '70000'],
      ])
      .member({ name: 'device', type: '3', magic: 'v7' })
    expect(read(tar)).toMatchObject([{ linkPath: 'a\ntarget' }, { kind: 'char', major: 200, minor: 70000 }])
  })

  it('make unreadable fields readable, which they replace', () => {
    const tar = layer()
      .pax([
        ['uid', '1'],
        ['mtime', '2'],
      ])
      .member({ name: 'a', uid: 'x', mtime: 'y' })
    expect(read(tar)).toMatchObject([{ uid: 1, mtimeSeconds: 2n }])
  })

  it('are also read as old Solaris wrote them', () => {
    const tar = layer().member({ type: 'X', data: '10 path=b\n' }).member({ name: 'a' })
    expect(read(tar).map((entry) => entry.path)).toEqual(['b'])
  })

  it('check ranges as the fields do', () => {
    expect(
      refused(
        layer()
          .pax([['uid', '4294967295']])
          .member({ name: 'a' }),
      ),
    ).toEqual({
      code: 'tar-invalid',
      facts: { entry: 'a', cause: 'its uid is 4294967295, and ids end at 4294967294', offset: 0 },
    })
    expect(
      refused(
        layer()
          .pax([['size', '9007199254740992']])
          .member({ name: 'a' }),
      ).facts.cause,
    ).toBe('its PAX size "9007199254740992" is beyond 2^53 - 1')
  })

  it('never give data to what has none', () => {
    const tar = layer()
      .pax([['size', '512']])
      .member({ name: 'a', type: '5' })
      .member({ name: 'b' })
    expect(read(tar)).toMatchObject([{ path: 'a', size: 0 }, { path: 'b' }])
  })

  it('are refused when a member has two', () => {
    const tar = layer()
      .pax([['path', 'a']])
      .pax([['path', 'b']])
      .member({ name: 'c' })
    expect(refused(tar)).toEqual({
      code: 'tar-invalid',
      facts: { entry: 'a', cause: 'it has two PAX headers', offset: 0 },
    })
  })

  it('are refused when a GNU long name says something else', () => {
    expect(
      refused(
        layer()
          .pax([['path', 'a']])
          .long('L', 'b')
          .member({ name: 'c' }),
      ).facts.cause,
    ).toBe('its name is "a" in a PAX header and "b" in a GNU header')
    expect(
      refused(
        layer()
          .long('K', 'b')
          .pax([['linkpath', 'a']])
          .member({ name: 'c', type: '1' }),
      ).facts.cause,
    ).toBe('its link target is "a" in a PAX header and "b" in a GNU header')
    expect(
      read(
        layer()
          .pax([['path', 'a']])
          .long('L', 'a')
          .member({ name: 'c' }),
      ),
    ).toMatchObject([{ path: 'a' }])
  })
})

describe('global PAX headers', () => {
  it('hold for all members after them, until another says otherwise', () => {
    const tar = layer()
      .member({ name: 'before' })
      .globalPax([
        ['uid', '5'],
        ['mtime', '9'],
      ])
      .member({ name: 'a' })
      .globalPax([['uid', '6']])
      .member({ name: 'b' })
    expect(read(tar).map(({ path, uid, mtimeSeconds }) => [path, uid, mtimeSeconds])).toEqual([
      ['before', 0, 0n],
      ['a', 5, 9n],
      ['b', 6, 9n],
    ])
  })

  it('give way to the header of a member, whose empty value brings the field back', () => {
    const tar = layer()
      .globalPax([
        ['uid', '5'],
        ['path', 'everywhere'],
        ['linkpath', 'there'],
      ])
      .pax([
        ['uid', '7'],
        ['path', 'own'],
      ])
      .member({ name: 'field', uid: 1 })
      .pax([
        ['uid', ''],
        ['path', ''],
        ['linkpath', ''],
      ])
      .member({ name: 'field', uid: 1, type: '2', link: 'here' })
      .member({ name: 'field', uid: 1 })
      .globalPax([
        ['uid', ''],
        ['path', ''],
      ])
      .member({ name: 'field', uid: 1 })
    expect(read(tar).map(({ path, uid, linkPath }) => [path, uid, linkPath])).toEqual([
      ['own', 7, ''],
      ['field', 1, 'here'],
      ['everywhere', 5, ''],
      ['field', 1, ''],
    ])
  })

  it('give way to a GNU long name', () => {
    const tar = layer()
      .globalPax([['path', 'everywhere']])
      .long('L', 'own')
      .member({ name: 'field' })
    expect(read(tar)).toMatchObject([{ path: 'own' }])
  })

  it('do not count as the beginning of a member', () => {
    expect(
      read(
        layer()
          .globalPax([['comment', 'x']])
          .member({ name: 'a' }),
      ),
    ).toEqual([{ ...PLAIN, path: 'a', offset: 1024 }])
  })

  it('cannot be about one member', () => {
    expect(refused(layer().globalPax([['SCHILY.xattr.user.a', 'b']])).facts.cause).toBe(
      'a global PAX header has the record SCHILY.xattr.user.a, which can only be about one member',
    )
    expect(refused(layer().globalPax([['GNU.sparse.size', '1']])).code).toBe('tar-invalid')
  })

  it('cannot stand between a member and its own headers', () => {
    expect(
      refused(
        layer()
          .pax([['path', 'a']])
          .globalPax([['uid', '1']])
          .member({ name: 'b' }),
      ),
    ).toEqual({
      code: 'tar-invalid',
      facts: {
        entry: 'a',
        cause: 'a global PAX header stands between a member and its own headers',
        offset: 0,
      },
    })
  })
})
