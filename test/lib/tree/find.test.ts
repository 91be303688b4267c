import { describe, expect, it } from 'vitest'
import { byteString } from '../../../lib/bytes.js'
import { findInode } from '../../../lib/tree/find.js'
import { type Directory, IMPLICIT_DIRECTORY, type Inode, NO_CONTENT } from '../../../lib/tree/model.js'

const file: Inode = { ...IMPLICIT_DIRECTORY, kind: 'file', size: 0, content: NO_CONTENT }
const link = (target: string): Inode => ({
  ...IMPLICIT_DIRECTORY,
  kind: 'symlink',
  target: byteString(target),
})
const directory = (children: Record<string, Inode>): Directory => ({
  ...IMPLICIT_DIRECTORY,
  kind: 'directory',
  children: new Map(Object.entries(children).map(([name, inode]) => [byteString(name), inode])),
})

const chain = Object.fromEntries(Array.from({ length: 41 }, (_, n) => [`l${n}`, link(`l${n + 1}`)]))
const deep = directory({ passwd: file, up: link('../..'), over: link('../../../../usr/etc') })
const usr = directory({ etc: deep, file: link('etc/passwd'), slash: link('etc/passwd/') })
const root = directory({
  usr,
  etc: link('/usr/etc'),
  loop: link('loop'),
  empty: link(''),
  ...chain,
  l41: file,
})
const find = (path: string) => findInode({ root }, byteString(path))

describe('finding a path in a tree', () => {
  it.each<[string, Inode | null]>([
    ['/', root],
    ['', root],
    ['/usr/etc/passwd', file],
    ['usr//./etc/passwd', file],
    ['/etc/passwd', file],
    ['/usr/file', file],
    ['/etc/up', root],
    ['/etc/..', usr],
    ['/usr/etc/../../..', root],
    ['/../../usr', usr],
    ['/etc/over/passwd', file],
    ['/l1', file],
    ['/nothing', null],
    ['/usr/etc/passwd/', null],
    ['/usr/etc/passwd/..', null],
    ['/usr/slash', null],
    ['/nothing/..', null],
    ['/loop', null],
    ['/l0', null],
  ])('%j', (path, expected) => {
    expect(find(path)).toBe(expected)
  })
})
