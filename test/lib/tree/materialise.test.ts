import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import {
  chmodSync,
  chownSync,
  closeSync,
  existsSync,
  ftruncateSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { describe, expect, it } from 'vitest'
import { byteString } from '../../../lib/bytes.js'
import type { VerityDigest } from '../../../lib/digest.js'
import { linesOfTree } from '../../../lib/testkit/lines-of-tree.js'
import { sampleTree } from '../../../lib/testkit/sample-tree.js'
import { treeLines } from '../../../lib/testkit/tree-lines.js'
import { materialise } from '../../../lib/tree/materialise.js'
import type { Inode } from '../../../lib/tree/model.js'
import { isRoot, openBelow, rejectionOf } from '../linux/scratch.js'
import {
  directory,
  expectExact,
  file,
  meta,
  put,
  tree,
  useBench,
  write,
  xattrs,
} from './materialise-bench.js'

const bench = useBench()

describe('materialise', () => {
  it.skipIf(!isRoot)('writes everything that a layer can hold, exactly (needs root)', async () => {
    await expectExact(sampleTree(put))
  })

  it('counts names and bytes, contents of several names once', async () => {
    const large = file('x'.repeat(1000))
    const what = tree({ a: large, b: directory({ c: large, d: file('four') }), e: file('') })
    expect(await write(what)).toEqual({ entries: 6, bytes: 1004 })
    expect(treeLines(bench.rootfs)).toEqual(linesOfTree(what, bench.objects))
  })

  it('writes an empty tree, with the metadata of its top', async () => {
    await expectExact(tree({}, { mode: 0o1711, mtimeSeconds: 2n ** 31n, mtimeNanoseconds: 999_999_999 }))
  })

  it('keeps names of 255 bytes and of any bytes', async () => {
    const all = Array.from({ length: 255 }, (_, i) => String.fromCharCode(i + 1)).filter(
      (char) => char !== '/',
    )
    await expectExact(
      tree({
        [all.slice(0, 127).join('')]: file('a'),
        [all.slice(127).join('')]: directory({ ['\xff'.repeat(255)]: file('b') }),
        '...': file('c'),
        ' ': file('d'),
      }),
    )
  })

  it('does not care about the umask', async () => {
    const before = process.umask(0o777)
    try {
      await expectExact(
        tree({ d: directory({ f: file('x', { mode: 0o666 }) }, { mode: 0o777 }) }, { mode: 0o777 }),
      )
    } finally {
      process.umask(before)
    }
  })

  it('keeps holes of objects', async () => {
    const digest = 'e'.repeat(64) as VerityDigest
    mkdirSync(`${bench.objects.directory}/ee`, { recursive: true })
    const fd = openSync(bench.objects.path(digest), 'w')
    writeSync(fd, randomBytes(100), 0, 100, 2_000_000)
    ftruncateSync(fd, 5_000_000)
    closeSync(fd)
    await expectExact(
      tree({ f: { ...meta(), kind: 'file', size: 5_000_000, content: { kind: 'object', digest } } }),
    )
    expect(lstatSync(`${bench.rootfs}/f`).blocks).toBeLessThan(100)
  })

  it('gives every kind of file its further names', async () => {
    const plain = file('x'.repeat(100))
    const link: Inode = { ...meta({ mode: 0o777 }), kind: 'symlink', target: byteString('nowhere') }
    const fifo: Inode = { ...meta(), kind: 'fifo' }
    await expectExact(
      tree({ a: directory({ plain, link, fifo }), b: directory({ plain, link, fifo }), plain, link }),
    )
    expect(lstatSync(`${bench.rootfs}/a/plain`).nlink).toBe(3)
  })

  it('goes deeper than a path can name, with further names from there', async () => {
    const linked = file('linked')
    let deep = directory({ linked })
    for (let i = 0; i < 1200; i++) deep = directory({ [`d${i % 7}`.repeat(4)]: deep })
    await expectExact(tree({ deep, zz: linked }))
  })

  it('leaves times of directories as they are in the tree, after all that is made in them', async () => {
    const shared = file('x', { mtimeSeconds: 3n })
    await expectExact(
      tree({
        a: directory({ b: directory({ shared }, { mtimeSeconds: 1n }) }, { mtimeSeconds: 2n }),
        c: directory({ shared }, { mtimeSeconds: 4n }),
      }),
    )
  })

  it('sets attributes of files and directories, any bytes', async () => {
    const attributes = xattrs({ 'user.a': '\0\xff\n', 'user.\xfe': '', 'user.z': 'v'.repeat(900) })
    await expectExact(
      tree({ f: file('x', { xattrs: attributes }), d: directory({}, { xattrs: attributes }) }),
    )
  })

  it.skipIf(!isRoot)(
    'sets thousands of attributes where there is room for them (needs root, for a tmpfs)',
    async () => {
      const mount = `${bench.path}/mount`
      mkdirSync(mount)
      execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', mount])
      try {
        bench.rootfs = `${mount}/rootfs`
        const many = Object.fromEntries(
          Array.from({ length: 3000 }, (_, i) => [`trusted.${i}`, `value ${i}`]),
        )
        await expectExact(tree({ f: file('x', { xattrs: xattrs(many) }) }))
      } finally {
        execFileSync('umount', [mount])
      }
    },
  )

  it.skipIf(!isRoot)('sets capabilities after the owner, who would take them away (needs root)', async () => {
    const capability = '\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00'
    const what = { uid: 12, gid: 34, mode: 0o6755, xattrs: xattrs({ 'security.capability': capability }) }
    await expectExact(tree({ ping: file('x'.repeat(100), what) }))
  })

  it.skipIf(!isRoot)('takes nothing from the directory above: group, access lists (needs root)', async () => {
    const [above, what] = [`${bench.path}/above`, tree({ d: directory({ f: file('x') }) })]
    mkdirSync(above)
    chownSync(above, 0, 77)
    chmodSync(above, 0o2755)
    execFileSync('setfacl', ['-d', '-m', 'u:99:rwx', above])
    bench.rootfs = `${above}/rootfs`
    await expectExact(what)
  })

  it.skipIf(!isRoot)(
    'keeps access lists that fit the mode, and refuses what the kernel changes (needs root)',
    async () => {
      // version 2; user::rw-, user 99 r--, group::r--, mask::r--, other::---
      const entry = (tag: number, permission: number, id = 0xffffffff): Buffer => {
        const bytes = Buffer.alloc(8)
        bytes.writeUInt16LE(tag, 0)
        bytes.writeUInt16LE(permission, 2)
        bytes.writeUInt32LE(id, 4)
        return bytes
      }
      const list = Buffer.concat([
        Buffer.from([2, 0, 0, 0]),
        ...[entry(1, 6), entry(2, 4, 99), entry(4, 4), entry(16, 4), entry(32, 0)],
      ]).toString('latin1')
      const acl = { xattrs: xattrs({ 'system.posix_acl_access': list }) }
      await expectExact(
        tree({ f: file('x', { ...acl, mode: 0o640 }), d: directory({}, { ...acl, mode: 0o640 }) }),
      )
      bench.rootfs += '-2'
      expect(await rejectionOf(write(tree({ f: file('x', { ...acl, mode: 0o600 }) })))).toMatchObject({
        code: 'value-unrepresentable',
        facts: { entry: 'f', value: 'xattr', wanted: 'system.posix_acl_access' },
      })
    },
  )

  it('refuses a directory that is there already, also a symlink to nothing', async () => {
    mkdirSync(bench.rootfs)
    writeFileSync(`${bench.rootfs}/theirs`, 'kept')
    expect(await rejectionOf(write(tree({ theirs: file('mine') })))).toMatchObject({
      kind: 'system',
      code: 'system-call',
      facts: { errno: 'EEXIST', syscall: 'mkdirat', path: bench.rootfs },
    })
    expect(readFileSync(`${bench.rootfs}/theirs`, 'utf8')).toBe('kept')
    bench.rootfs = `${bench.path}/link`
    symlinkSync('nowhere', bench.rootfs)
    expect(await rejectionOf(write(tree({})))).toMatchObject({ facts: { errno: 'EEXIST' } })
    expect(existsSync(`${bench.path}/nowhere`)).toBe(false)
  })

  it.each(['', '.', '..', 'a/b', '/etc', 'nul\0'])(
    'refuses the name %j, which no merge gives',
    async (name) => {
      expect(await rejectionOf(write(tree({ d: directory({ [name]: file('x') }) })))).toMatchObject({
        code: 'bug',
        facts: { parent: 'd' },
      })
      expect(readdirSync(bench.path)).toEqual(['rootfs'])
      expect(openBelow(bench.path)).toEqual([])
    },
  )

  it('ends soon after an abort and leaves nothing open', async () => {
    const entries = Object.fromEntries(Array.from({ length: 5000 }, (_, i) => [`f${i}`, file('x')]))
    const abort = new AbortController()
    const work = materialise(tree(entries), bench.objects, bench.rootfs, {
      ignoreOwnership: false,
      signal: abort.signal,
    })
    setImmediate(() => abort.abort())
    expect(await rejectionOf(work)).toMatchObject({ kind: 'aborted', code: 'aborted' })
    expect(readdirSync(bench.rootfs).length).toBeLessThan(5000)
    expect(openBelow(bench.path)).toEqual([])
  })
})
