import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type ByteString, byteString, fromBytes } from '../../../lib/bytes.js'
import { BugError } from '../../../lib/errors.js'
import type { TarEntry } from '../../../lib/layer/entry.js'
import { DEFAULT_LIMITS, type LayerLimits } from '../../../lib/layer/limits.js'
import { applyPolicy, cleanPath, type DroppedXattr, entryInode } from '../../../lib/layer/policy.js'
import { layer } from '../../../lib/testkit/layer.js'
import { NO_CONTENT, NO_XATTRS } from '../../../lib/tree/model.js'
import { entriesOf, refusal } from './collect.js'

const b = byteString

function entry(fields: Partial<TarEntry>): TarEntry {
  return {
    kind: 'file',
    path: b('a'),
    linkPath: b(''),
    mode: 0o644,
    uid: 1,
    gid: 2,
    mtimeSeconds: -3n,
    mtimeNanoseconds: 4,
    size: 0,
    major: 0,
    minor: 0,
    xattrs: NO_XATTRS,
    sparse: null,
    offset: 1536,
    ...fields,
  }
}

const METADATA = { mode: 0o644, uid: 1, gid: 2, mtimeSeconds: -3n, mtimeNanoseconds: 4, xattrs: NO_XATTRS }

function apply(fields: Partial<TarEntry>, limits: Partial<LayerLimits> = {}) {
  return applyPolicy(entry(fields), NO_CONTENT, { ...DEFAULT_LIMITS, ...limits })
}

function refused(fields: Partial<TarEntry>, limits: Partial<LayerLimits> = {}) {
  return refusal(() => apply(fields, limits))
}

function xattrs(...pairs: [string, string][]) {
  return new Map(pairs.map(([name, value]) => [b(name), b(value)]))
}

describe('cleanPath', () => {
  it.each<[string, string[]]>([
    ['a/b', ['a', 'b']],
    ['/a//b/', ['a', 'b']],
    ['./a/./b/.', ['a', 'b']],
    ['a/../b', ['b']],
    ['../../etc/passwd', ['etc', 'passwd']],
    ['/..', []],
    ['a/b/../../../c', ['c']],
    ['.', []],
    ['/', []],
    ['', []],
    ['...', ['...']],
    ['a\\..\\b', ['a\\..\\b']],
    ['a\nb/ c ', ['a\nb', ' c ']],
  ])('makes %j to %j', (path, clean) => {
    expect(cleanPath(b(path))).toEqual(clean)
  })

  it('never leaves the root, whatever it is given', () => {
    const parts = fc.array(fc.constantFrom('..', '.', '', 'a', 'b', '...', '..\xff', ' '), { maxLength: 12 })
    fc.assert(
      fc.property(parts, (components) => {
        const clean = cleanPath(components.join('/') as ByteString)
        expect(
          clean.every((part) => part !== '' && part !== '.' && part !== '..' && !part.includes('/')),
        ).toBe(true)
        expect(cleanPath(clean.join('/') as ByteString)).toEqual(clean)
      }),
    )
  })

  it('keeps names apart that differ in one byte', () => {
    const names = [Buffer.from('é'), Buffer.from('e\u0301'), Buffer.from([0xe9]), Buffer.from('\ufffd')]
    expect(new Set(names.map((name) => cleanPath(fromBytes(name))[0])).size).toBe(4)
  })

  it.each([
    ['a\0b', 'its name has a NUL'],
    [`a/${'n'.repeat(256)}`, 'a part of its name has 256 bytes, the limit is 255'],
    [`${'é'.repeat(128)}`, 'a part of its name has 256 bytes, the limit is 255'],
    [`${'a/'.repeat(2048)}b`, 'its name has 4097 bytes, the limit is 4095'],
  ])('refuses what no filesystem holds (%#)', (path, cause) => {
    expect(refusal(() => cleanPath(b(path)))).toMatchObject({ code: 'entry-refused', facts: { cause } })
  })

  it('counts only what is left', () => {
    expect(cleanPath(b(`${'x/../'.repeat(5000)}${'./'.repeat(5000)}a`))).toEqual(['a'])
  })

  it('does not clean names that take long', () => {
    expect(cleanPath(b(`${'x/../'.repeat(13_107)}a`))).toEqual(['a'])
    expect(refusal(() => cleanPath(b(`${'x/../'.repeat(13_107)}ab`)))).toMatchObject({
      code: 'entry-refused',
      facts: { cause: 'its name has 65537 bytes before it is cleaned, the limit is 65536' },
    })
  })

  it('keeps nothing of a long name in memory but what is left', () => {
    setFlagsFromString('--expose-gc')
    const collect = runInNewContext('gc') as () => void
    const used = () => {
      collect()
      return process.memoryUsage().heapUsed
    }
    const before = used()
    const kept = Array.from({ length: 1000 }, (_, i) =>
      cleanPath(fromBytes(Buffer.from(`${'x/../'.repeat(13_000)}a name of some length ${i}`))),
    )
    expect(used() - before).toBeLessThan(10_000_000)
    expect(kept[999]).toEqual(['a name of some length 999'])
  })

  it('takes the longest names there are', () => {
    expect(cleanPath(b('n'.repeat(255)))).toEqual(['n'.repeat(255)])
    expect(cleanPath(b(`./${'a/'.repeat(2047)}b`))).toHaveLength(2048)
    expect(refusal(() => cleanPath(b(`${'a/'.repeat(2047)}bc`))).facts.cause).toBe(
      'its name has 4096 bytes, the limit is 4095',
    )
  })
})

describe('members', () => {
  it('become inodes with their metadata', () => {
    const content = { kind: 'inline', bytes: Buffer.from('hi') } as const
    expect(applyPolicy(entry({ path: b('/a/b'), size: 2 }), content, DEFAULT_LIMITS)).toEqual({
      kind: 'inode',
      path: ['a', 'b'],
      inode: { kind: 'file', ...METADATA, size: 2, content },
    })
    expect(apply({ kind: 'directory', path: b('d/') })).toEqual({
      kind: 'inode',
      path: ['d'],
      inode: { kind: 'directory', ...METADATA, children: new Map() },
    })
    expect(apply({ kind: 'block', major: 7, minor: 200 })).toEqual({
      kind: 'inode',
      path: ['a'],
      inode: { kind: 'block', ...METADATA, major: 7, minor: 200 },
    })
    expect(apply({ kind: 'fifo' })).toEqual({
      kind: 'inode',
      path: ['a'],
      inode: { kind: 'fifo', ...METADATA },
    })
  })

  it('may be character devices 0:0, which drivers have to keep from being whiteouts', () => {
    expect(apply({ kind: 'char', major: 0, minor: 0 })).toEqual({
      kind: 'inode',
      path: ['a'],
      inode: { kind: 'char', ...METADATA, major: 0, minor: 0 },
    })
  })

  it('may be symlinks to anywhere, their text untouched and their mode that of all symlinks', () => {
    for (const target of [
      '/etc/passwd',
      '../../../../etc',
      'a//b/./..',
      '\xff\n',
      '.wh.x',
      't'.repeat(4095),
    ]) {
      expect(apply({ kind: 'symlink', linkPath: target as ByteString })).toEqual({
        kind: 'inode',
        path: ['a'],
        inode: { kind: 'symlink', ...METADATA, mode: 0o777, target },
      })
    }
  })

  it.each([
    ['', 'its link target is empty'],
    ['a\0b', 'its link target has a NUL'],
    ['t'.repeat(4096), 'its link target has 4096 bytes, the limit is 4095'],
  ])('are refused as symlinks with a target that no filesystem holds (%#)', (target, cause) => {
    expect(refused({ kind: 'symlink', linkPath: b(target) })).toEqual({
      code: 'entry-refused',
      facts: { entry: 'a', cause, offset: 1536 },
    })
  })

  it('may be hard links, their target cleaned like a name', () => {
    expect(apply({ kind: 'hardlink', path: b('x/../y'), linkPath: b('/../a/./b') })).toEqual({
      kind: 'hardlink',
      path: ['y'],
      target: ['a', 'b'],
    })
  })

  it.each([
    ['', 'its link target is empty or the root'],
    ['/', 'its link target is empty or the root'],
    ['a/..', 'its link target is empty or the root'],
    ['a\0', 'its link target has a NUL'],
    ['n'.repeat(256), 'a part of its link target has 256 bytes, the limit is 255'],
    ['.wh.x', 'its link target has ".wh.x", which is a marker and no file'],
    ['.wh..wh.plnk/1.2', 'its link target has ".wh..wh.plnk", which is a marker and no file'],
  ])('are refused as hard links to %j', (target, cause) => {
    expect(refused({ kind: 'hardlink', linkPath: b(target) })).toEqual({
      code: 'entry-refused',
      facts: { entry: 'a', cause, offset: 1536 },
    })
  })

  it('are the root only as a directory', () => {
    expect(apply({ kind: 'directory', path: b('./') })).toMatchObject({ kind: 'inode', path: [] })
    for (const kind of ['file', 'symlink', 'hardlink', 'char', 'block', 'fifo'] as const) {
      expect(refused({ kind, path: b('a/..'), linkPath: b('b') })).toEqual({
        code: 'entry-refused',
        facts: { entry: 'a/..', cause: 'it names the root, which can only be a directory', offset: 1536 },
      })
    }
  })

  it('are refused when they are too deep', () => {
    expect(apply({ path: b('a/b/c') }, { maxDepth: 3 })).not.toBeNull()
    expect(refused({ path: b('a/b/c/d') }, { maxDepth: 3 })).toEqual({
      code: 'limit-exceeded',
      facts: { entry: 'a/b/c/d', cause: 'it is 4 levels deep, the limit is 3', offset: 1536 },
    })
  })

  it('say their name in messages as people read it', () => {
    expect(refused({ path: 'caf\xc3\xa9\n/\xff\0' as ByteString }).facts.entry).toBe(
      'caf\\xc3\\xa9\\x0a/\\xff\\x00',
    )
  })

  it('have no inode of their own as hard links', () => {
    expect(() => entryInode(entry({ kind: 'hardlink' }), NO_CONTENT)).toThrow(BugError)
  })
})

describe('whiteouts', () => {
  it.each<[string, string[], string]>([
    ['etc/.wh.motd', ['etc'], 'motd'],
    ['.wh.top', [], 'top'],
    ['a/../b/.wh.x', ['b'], 'x'],
    ['.wh.wh.x', [], 'wh.x'],
    ['.wh..hidden', [], '.hidden'],
    ['.wh....', [], '...'],
    ['.wh.\xff', [], '\xff'],
  ])('read %j from the name', (path, parent, name) => {
    expect(apply({ path: path as ByteString })).toEqual({ kind: 'whiteout', parent, name })
  })

  it.each<[string, string[]]>([
    ['a/.wh..wh..opq', ['a']],
    ['.wh..wh..opq', []],
    ['/a/b/./.wh..wh..opq', ['a', 'b']],
  ])('read the opaque marker %j', (path, directory) => {
    expect(apply({ path: b(path) })).toEqual({ kind: 'opaque', path: directory })
  })

  it.each(['file', 'symlink', 'hardlink', 'char', 'block', 'fifo'] as const)(
    'go by the name also when the member is a %s, which is not made',
    (kind) => {
      const fields = { kind, linkPath: b('.wh..wh.aufs'), major: 1, minor: 3, size: kind === 'file' ? 5 : 0 }
      expect(apply({ ...fields, path: b('.wh.x') })).toEqual({ kind: 'whiteout', parent: [], name: 'x' })
      expect(apply({ ...fields, path: b('.wh..wh..opq') })).toEqual({ kind: 'opaque', path: [] })
    },
  )

  it.each(['.wh.x', '.wh..wh..opq'])('are no directories: %s', (path) => {
    expect(refused({ kind: 'directory', path: b(path) })).toEqual({
      code: 'entry-refused',
      facts: { entry: path, cause: 'it is a marker by its name and a directory by its type', offset: 1536 },
    })
  })

  it.each([
    ['.wh.', '".wh." is a whiteout without the name of a file'],
    ['a/.wh..', '".wh.." is a whiteout without the name of a file'],
    ['a/.wh...', '".wh..." is a whiteout without the name of a file'],
    ['.wh..wh.', '".wh..wh." is a whiteout without the name of a file'],
    ['a/.wh..wh..opq/b', 'it stands below ".wh..wh..opq", which is a marker and no directory'],
    ['.wh.a/b', 'it stands below ".wh.a", which is a marker and no directory'],
    ['.wh.a/.wh.b', 'it stands below ".wh.a", which is a marker and no directory'],
    ['.wh../b', '".wh.." is a whiteout without the name of a file'],
  ])('refuse %j: %s', (path, cause) => {
    expect(refused({ path: b(path) })).toEqual({
      code: 'entry-refused',
      facts: { entry: path, cause, offset: 1536 },
    })
  })

  it.each([
    '.wh..wh.plnk',
    '.wh..wh.plnk/79.1',
    '.wh..wh.orph',
    'a/.wh..wh.aufs',
    '.wh..wh.plnk/.wh.x',
    '.wh..wh.new',
  ])('leave out what aufs kept for itself: %s', (path) => {
    expect(apply({ path: b(path) })).toBeNull()
    expect(apply({ kind: 'directory', path: b(path) })).toBeNull()
  })

  it('leave names alone that only look like theirs', () => {
    for (const path of ['.wh', 'a.wh.b', 'x/.whiteout', '.WH.a', 'wh.a']) {
      expect(apply({ path: b(path) })).toMatchObject({ kind: 'inode', path: path.split('/') })
    }
    expect(apply({ path: b('.wh.x/../y') })).toMatchObject({ kind: 'inode', path: ['y'] })
  })
})

describe('extended attributes', () => {
  it('pass when they are allowed, the others are reported', () => {
    const dropped: DroppedXattr[] = []
    const given = xattrs(
      ['user.note', 'kept'],
      ['trusted.overlay.redirect', '/objects'],
      ['security.capability', 'caps'],
      ['security.selinux', 'label'],
    )
    const change = applyPolicy(entry({ xattrs: given }), NO_CONTENT, DEFAULT_LIMITS, (what) =>
      dropped.push(what),
    )
    expect(change).toEqual({
      kind: 'inode',
      path: ['a'],
      inode: {
        kind: 'file',
        ...METADATA,
        xattrs: xattrs(
          ['user.note', 'kept'],
          ['trusted.overlay.redirect', '/objects'],
          ['security.capability', 'caps'],
        ),
        size: 0,
        content: NO_CONTENT,
      },
    })
    expect(dropped).toEqual([
      {
        reason: 'dropped-xattr',
        entry: 'a',
        name: 'security.selinux',
        why: 'labels are the choice of the host, by its own policy',
      },
    ])
  })

  it('take the longest names and values there are', () => {
    const given = xattrs([`user.${'n'.repeat(250)}`, 'v'.repeat(65_535)])
    expect(apply({ xattrs: given })).toMatchObject({ inode: { xattrs: given } })
  })

  it.each([
    [xattrs([`user.${'n'.repeat(251)}`, '']), /in its name$/],
    [xattrs(['user.a\0', '']), /in its name$/],
    [xattrs(['user.a', 'v'.repeat(65_536)]), /^its attribute "user.a" has 65536 bytes, the limit is 65535$/],
    [
      xattrs(
        ...Array.from({ length: 300 }, (_, i): [string, string] => [
          `user.${String(i).padStart(250, '0')}`,
          '',
        ]),
      ),
      /^the names of its attributes have 76800 bytes, the limit is 65536$/,
    ],
  ])('are refused when no filesystem holds them (%#)', (given, cause) => {
    const found = refused({ xattrs: given })
    expect(found.code).toBe('entry-refused')
    expect(found.facts.cause).toMatch(cause)
  })

  it('that are dropped may be anything', () => {
    const given = xattrs([`other.${'n'.repeat(1000)}`, 'v'.repeat(100_000)])
    expect(apply({ xattrs: given })).toMatchObject({ inode: { xattrs: NO_XATTRS } })
  })
})

describe('a hostile layer', () => {
  it('comes through the reader and the policy as changes inside the root, or not at all', () => {
    const tar = layer()
      .file('../../../etc/passwd', 'evil')
      .symlink('escape', '/')
      .file('escape/file', 'x')
      .hardlink('shadow', '../../etc/shadow')
      .whiteout('../../usr')
      .build()
    const changes = entriesOf(tar).map((found) => applyPolicy(found, NO_CONTENT, DEFAULT_LIMITS))
    expect(changes).toMatchObject([
      { kind: 'inode', path: ['etc', 'passwd'] },
      { kind: 'inode', path: ['escape'], inode: { target: '/' } },
      { kind: 'inode', path: ['escape', 'file'] },
      { kind: 'hardlink', path: ['shadow'], target: ['etc', 'shadow'] },
      { kind: 'whiteout', parent: [], name: 'usr' },
    ])
  })
})
