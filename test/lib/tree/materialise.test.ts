import { execFileSync, spawnSync } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
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
  rmSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { beforeEach, describe, expect, it } from 'vitest'
import { type ByteString, byteString } from '../../../lib/bytes.js'
import type { VerityDigest } from '../../../lib/digest.js'
import { type ObjectReader, objectReader } from '../../../lib/store/objects.js'
import { linesOfTree } from '../../../lib/testkit/lines-of-tree.js'
import { sampleTree } from '../../../lib/testkit/sample-tree.js'
import { treeLines } from '../../../lib/testkit/tree-lines.js'
import { materialise } from '../../../lib/tree/materialise.js'
import type { Directory, Inode, Metadata, RegularFile, Tree } from '../../../lib/tree/model.js'
import { isRoot, openBelow, rejectionOf, useScratch, withoutPrivileges } from '../linux/scratch.js'

const scratch = useScratch()
let objects: ObjectReader
let rootfs: string

beforeEach(() => {
  objects = objectReader(`${scratch.path}/objects`)
  rootfs = `${scratch.path}/rootfs`
})

const never = new AbortController().signal
const me = { uid: process.geteuid!(), gid: process.getegid!() }

/** Puts an object under a name of the right form; the names of objects are not looked into here. */
function put(bytes: Uint8Array): VerityDigest {
  const digest = createHash('sha256').update(bytes).digest('hex') as VerityDigest
  mkdirSync(`${objects.directory}/${digest.slice(0, 2)}`, { recursive: true })
  rmSync(objects.path(digest), { force: true })
  writeFileSync(objects.path(digest), bytes, { mode: 0o444 })
  return digest
}

function meta(change: Partial<Metadata> = {}): Metadata {
  return { mode: 0o644, ...me, mtimeSeconds: 1_000n, mtimeNanoseconds: 1, xattrs: new Map(), ...change }
}

function file(bytes: Uint8Array | string, change: Partial<Metadata> = {}): RegularFile {
  const content = Buffer.from(bytes)
  if (content.length === 0) return { ...meta(change), kind: 'file', size: 0, content: { kind: 'empty' } }
  if (content.length <= 64) {
    return {
      ...meta(change),
      kind: 'file',
      size: content.length,
      content: { kind: 'inline', bytes: content },
    }
  }
  return {
    ...meta(change),
    kind: 'file',
    size: content.length,
    content: { kind: 'object', digest: put(content) },
  }
}

function directory(entries: Record<string, Inode>, change: Partial<Metadata> = {}): Directory {
  const children = new Map(Object.entries(entries)) as Map<ByteString, Inode>
  return { ...meta({ mode: 0o755, ...change }), kind: 'directory', children }
}

const tree = (entries: Record<string, Inode>, change: Partial<Metadata> = {}): Tree => ({
  root: directory(entries, change),
})

const xattrs = (entries: Record<string, string>): Metadata['xattrs'] =>
  new Map(Object.entries(entries)) as unknown as Metadata['xattrs']

async function write(what: Tree, options: { ignoreOwnership?: boolean; skipped?: string[] } = {}) {
  return await materialise(what, objects, rootfs, {
    ignoreOwnership: options.ignoreOwnership ?? false,
    signal: never,
    onSkipped: (kind, path, detail) => options.skipped?.push(`${kind} ${path || '/'} ${detail}`),
  })
}

/** Writes a tree and compares what is there with it, line by line. */
async function expectExact(what: Tree): Promise<void> {
  await write(what)
  expect(treeLines(rootfs)).toEqual(linesOfTree(what, objects))
  expect(openBelow(scratch.path)).toEqual([])
}

describe('materialise', () => {
  it.skipIf(!isRoot)('writes everything that a layer can hold, exactly (needs root)', async () => {
    await expectExact(sampleTree(put))
  })

  it('counts names and bytes, contents of several names once', async () => {
    const large = file('x'.repeat(1000))
    const what = tree({ a: large, b: directory({ c: large, d: file('four') }), e: file('') })
    expect(await write(what)).toEqual({ entries: 6, bytes: 1004 })
    expect(treeLines(rootfs)).toEqual(linesOfTree(what, objects))
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
    mkdirSync(`${objects.directory}/ee`, { recursive: true })
    const fd = openSync(objects.path(digest), 'w')
    writeSync(fd, randomBytes(100), 0, 100, 2_000_000)
    ftruncateSync(fd, 5_000_000)
    closeSync(fd)
    await expectExact(
      tree({ f: { ...meta(), kind: 'file', size: 5_000_000, content: { kind: 'object', digest } } }),
    )
    expect(lstatSync(`${rootfs}/f`).blocks).toBeLessThan(100)
  })

  it('gives every kind of file its further names', async () => {
    const plain = file('x'.repeat(100))
    const link: Inode = { ...meta({ mode: 0o777 }), kind: 'symlink', target: byteString('nowhere') }
    const fifo: Inode = { ...meta(), kind: 'fifo' }
    await expectExact(
      tree({ a: directory({ plain, link, fifo }), b: directory({ plain, link, fifo }), plain, link }),
    )
    expect(lstatSync(`${rootfs}/a/plain`).nlink).toBe(3)
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
      const mount = `${scratch.path}/mount`
      mkdirSync(mount)
      execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', mount])
      try {
        rootfs = `${mount}/rootfs`
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
    const [above, what] = [`${scratch.path}/above`, tree({ d: directory({ f: file('x') }) })]
    mkdirSync(above)
    chownSync(above, 0, 77)
    chmodSync(above, 0o2755)
    execFileSync('setfacl', ['-d', '-m', 'u:99:rwx', above])
    rootfs = `${above}/rootfs`
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
      rootfs += '-2'
      expect(await rejectionOf(write(tree({ f: file('x', { ...acl, mode: 0o600 }) })))).toMatchObject({
        code: 'value-unrepresentable',
        facts: { entry: 'f', value: 'xattr', wanted: 'system.posix_acl_access' },
      })
    },
  )

  it('refuses a directory that is there already, also a symlink to nothing', async () => {
    mkdirSync(rootfs)
    writeFileSync(`${rootfs}/theirs`, 'kept')
    expect(await rejectionOf(write(tree({ theirs: file('mine') })))).toMatchObject({
      kind: 'system',
      code: 'system-call',
      facts: { errno: 'EEXIST', syscall: 'mkdirat', path: rootfs },
    })
    expect(readFileSync(`${rootfs}/theirs`, 'utf8')).toBe('kept')
    rootfs = `${scratch.path}/link`
    symlinkSync('nowhere', rootfs)
    expect(await rejectionOf(write(tree({})))).toMatchObject({ facts: { errno: 'EEXIST' } })
    expect(existsSync(`${scratch.path}/nowhere`)).toBe(false)
  })

  it.each(['', '.', '..', 'a/b', '/etc', 'nul\0'])(
    'refuses the name %j, which no merge gives',
    async (name) => {
      expect(await rejectionOf(write(tree({ d: directory({ [name]: file('x') }) })))).toMatchObject({
        code: 'bug',
        facts: { parent: 'd' },
      })
      expect(readdirSync(scratch.path)).toEqual(['rootfs'])
      expect(openBelow(scratch.path)).toEqual([])
    },
  )

  it('ends soon after an abort and leaves nothing open', async () => {
    const entries = Object.fromEntries(Array.from({ length: 5000 }, (_, i) => [`f${i}`, file('x')]))
    const abort = new AbortController()
    const work = materialise(tree(entries), objects, rootfs, { ignoreOwnership: false, signal: abort.signal })
    setImmediate(() => abort.abort())
    expect(await rejectionOf(work)).toMatchObject({ kind: 'aborted', code: 'aborted' })
    expect(readdirSync(rootfs).length).toBeLessThan(5000)
    expect(openBelow(scratch.path)).toEqual([])
  })
})

describe('materialise from damaged objects', () => {
  const failing = async (): Promise<Record<string, unknown>> => {
    const what = tree({ d: directory({ f: file('x'.repeat(100)) }) })
    const { digest } = (
      (what.root.children.get('d' as ByteString) as Directory).children.get('f' as ByteString) as RegularFile
    ).content as { digest: VerityDigest }
    damage(objects.path(digest))
    const error = await rejectionOf(write(what))
    expect(error).toMatchObject({ facts: { entry: 'd/f', object: digest } })
    expect(openBelow(scratch.path)).toEqual([])
    return error
  }
  let damage: (path: string) => void

  it('names the one that is missing', async () => {
    damage = unlinkSync
    expect(await failing()).toMatchObject({ kind: 'not-found', code: 'object-missing' })
  })

  it.each([0, 99, 101])('names the one that has %i bytes instead of 100', async (size) => {
    damage = (path) => {
      chmodSync(path, 0o600)
      truncateSync(path, size)
    }
    expect(await failing()).toMatchObject({
      kind: 'integrity',
      code: 'object-damaged',
      facts: { expected: 100, found: size },
    })
  })

  it('follows no symlink and waits for no FIFO', async () => {
    damage = (path) => {
      unlinkSync(path)
      symlinkSync('/etc/passwd', path)
    }
    expect(await failing()).toMatchObject({ kind: 'integrity', code: 'object-damaged' })
    rootfs += '-2'
    damage = (path) => {
      unlinkSync(path)
      execFileSync('mkfifo', [path])
    }
    expect(await failing()).toMatchObject({ kind: 'integrity', code: 'object-damaged' })
  })
})

describe('materialise refuses what cannot be exact', () => {
  const refused = async (entries: Record<string, Inode>): Promise<Record<string, unknown>> => {
    const error = await rejectionOf(write(tree(entries)))
    expect(openBelow(scratch.path)).toEqual([])
    return error
  }
  const unrepresentable = (entry: string, value: string, wanted: string) => ({
    kind: 'system',
    code: 'value-unrepresentable',
    facts: { entry, value, wanted },
  })

  it('times outside of 64 bits, and those that the filesystem would clamp', async () => {
    expect(await refused({ f: file('x', { mtimeSeconds: 2n ** 63n }) })).toMatchObject(
      unrepresentable('f', 'mtime', '9223372036854775808.000000001'),
    )
    rootfs += '-2'
    const late = tree({
      l: { ...meta({ mtimeSeconds: 2n ** 62n }), kind: 'symlink', target: byteString('x') },
    })
    const outcome = await write(late).then(
      () => null,
      (error: unknown) => error,
    )
    // btrfs and tmpfs keep it, ext4 and XFS do not: exact or refused, never clamped.
    if (outcome === null) expect(treeLines(rootfs)).toEqual(linesOfTree(late, objects))
    else expect(outcome).toMatchObject(unrepresentable('l', 'mtime', '4611686018427387904.000000001'))
  })

  it('attributes with names or values that no kernel takes', async () => {
    expect(await refused({ f: file('x', { xattrs: xattrs({ 'user.': 'x' }) }) })).toMatchObject({
      code: 'value-unrepresentable',
      facts: { entry: 'f', value: 'xattr', wanted: 'user.', errno: 'EINVAL' },
    })
    rootfs += '-2'
    expect(await refused({ f: file('x', { xattrs: xattrs({ 'other.a': 'x' }) }) })).toMatchObject({
      facts: { entry: 'f', value: 'xattr', wanted: 'other.a', errno: 'ENOTSUP' },
    })
    rootfs += '-3'
    expect(
      await refused({ f: file('x', { xattrs: xattrs({ 'user.a': 'x'.repeat(65_537) }) }) }),
    ).toMatchObject({
      facts: { entry: 'f', value: 'xattr', wanted: 'user.a', errno: 'E2BIG' },
    })
    rootfs += '-4'
    expect(
      await refused({
        l: { ...meta({ xattrs: xattrs({ 'user.a': 'x' }) }), kind: 'symlink', target: byteString('x') },
      }),
    ).toMatchObject({ facts: { entry: 'l', value: 'xattr', wanted: 'user.a', errno: 'EPERM' } })
  })

  it('names and targets that are too long, and symlinks to nowhere at all', async () => {
    expect(await refused({ ['x'.repeat(256)]: file('x') })).toMatchObject({
      code: 'name-too-long',
      facts: { entry: 'x'.repeat(256), errno: 'ENAMETOOLONG' },
    })
    rootfs += '-2'
    const link = (target: string): Inode => ({ ...meta(), kind: 'symlink', target: byteString(target) })
    expect(await refused({ l: link('x'.repeat(4096)) })).toMatchObject(
      unrepresentable('l', 'target', '4096 bytes'),
    )
    rootfs += '-3'
    expect(await refused({ l: link('') })).toMatchObject(unrepresentable('l', 'target', ''))
  })

  it('ids and device numbers out of range, which would wrap', async () => {
    expect(await refused({ f: file('x', { uid: 0xffff_ffff }) })).toMatchObject(
      unrepresentable('f', 'owner', `4294967295:${me.gid}`),
    )
    rootfs += '-2'
    const device: Inode = { ...meta(), kind: 'char', major: 4096, minor: 0 }
    expect(await refused({ dev: device })).toMatchObject(unrepresentable('dev', 'device', '4096:0'))
  })

  it('contents of another length than the tree says', async () => {
    const wrong: Inode = { ...meta(), kind: 'file', size: 5, content: { kind: 'empty' } }
    expect(await refused({ f: wrong })).toMatchObject({ code: 'bug', facts: { entry: 'f' } })
  })

  const canLoop = isRoot && spawnSync('mkfs.ext4', ['-V']).status === 0
  it.skipIf(!canLoop)(
    'what a small ext4 cannot hold, and tells that from a full disk (needs root and mkfs.ext4)',
    async () => {
      const image = `${scratch.path}/image`
      execFileSync('truncate', ['-s', '16M', image])
      execFileSync('mkfs.ext4', ['-q', '-I', '256', '-O', '^ea_inode,^has_journal', image])
      const mount = `${scratch.path}/mount`
      mkdirSync(mount)
      execFileSync('mount', ['-o', 'loop', image, mount])
      try {
        rootfs = `${mount}/a`
        expect(
          await refused({ f: file('x', { xattrs: xattrs({ 'user.a': 'x'.repeat(5000) }) }) }),
        ).toMatchObject({
          code: 'value-unrepresentable',
          facts: { entry: 'f', value: 'xattr', wanted: 'user.a', errno: 'ENOSPC' },
        })
        rootfs = `${mount}/b`
        expect(await refused({ f: file('x', { mtimeSeconds: 2n ** 34n }) })).toMatchObject(
          unrepresentable('f', 'mtime', '17179869184.000000001'),
        )
        rootfs = `${mount}/c`
        expect(await refused({ f: file(randomBytes(20 * 1024 * 1024)) })).toMatchObject({
          kind: 'system',
          code: 'disk-full',
          facts: { errno: 'ENOSPC', path: `${rootfs}/f` },
        })
      } finally {
        execFileSync('umount', [mount])
      }
    },
  )

  const canXfs = isRoot && spawnSync('mkfs.xfs', ['-V']).status === 0
  it.skipIf(!canXfs)('device numbers that XFS has no bits for (needs root and mkfs.xfs)', async () => {
    const [image, mount] = [`${scratch.path}/image`, `${scratch.path}/mount`]
    execFileSync('truncate', ['-s', '512M', image])
    execFileSync('mkfs.xfs', ['-q', image])
    mkdirSync(mount)
    execFileSync('mount', ['-o', 'loop', image, mount])
    try {
      rootfs = `${mount}/a`
      const device: Inode = { ...meta(), kind: 'block', major: 4095, minor: 1_048_575 }
      expect(await refused({ dev: device })).toMatchObject(unrepresentable('dev', 'device', '4095:1048575'))
      rootfs = `${mount}/b`
      await expectExact(tree({ dev: { ...device, major: 259, minor: 262_143 }, f: file('x'.repeat(100_000)) }))
    } finally {
      execFileSync('umount', [mount])
    }
  })

  it.skipIf(!canLoop)('nanoseconds on an ext4 with small inodes (needs root and mkfs.ext4)', async () => {
    const [image, mount] = [`${scratch.path}/image`, `${scratch.path}/mount`]
    execFileSync('truncate', ['-s', '16M', image])
    execFileSync('mkfs.ext4', ['-q', '-I', '128', image], { stdio: 'ignore' })
    mkdirSync(mount)
    execFileSync('mount', ['-o', 'loop', image, mount])
    try {
      rootfs = `${mount}/a`
      expect(await refused({ f: file('x') })).toMatchObject(unrepresentable('f', 'mtime', '1000.000000001'))
      rootfs = `${mount}/b`
      await expectExact(tree({ f: file('x', { mtimeNanoseconds: 0 }) }, { mtimeNanoseconds: 0 }))
    } finally {
      execFileSync('umount', [mount])
    }
  })
})

describe('materialise without privileges', () => {
  const nobody = isRoot ? { uid: 65534, gid: 65534 } : me
  const other = { uid: nobody.uid + 1, gid: nobody.gid }
  const own = (change: Partial<Metadata> = {}): Metadata => meta({ ...nobody, ...change })

  /** All that needs root, beside what does not. */
  function privileged(): Record<string, Inode> {
    const device: Inode = { ...own(), kind: 'char', major: 1, minor: 3 }
    return {
      device,
      again: device,
      theirs: file('x', other),
      trusted: file('x', { ...own(), xattrs: xattrs({ 'trusted.a': 'x', 'user.b': 'y' }) }),
      fifo: { ...own(), kind: 'fifo' },
    }
  }

  async function asNobody<T>(action: () => Promise<T>): Promise<T> {
    chmodSync(scratch.path, 0o755)
    mkdirSync(`${scratch.path}/own`)
    if (isRoot) chownSync(`${scratch.path}/own`, nobody.uid, nobody.gid)
    rootfs = `${scratch.path}/own/rootfs`
    return await withoutPrivileges(action)
  }

  it('fills directories that forbid it, and links files out of them', async () => {
    const linked = file('linked', own({ mode: 0 }))
    const closed = directory({ linked, sub: directory({ linked }, own({ mode: 0 })) }, own({ mode: 0o111 }))
    const what: Tree = {
      root: directory(
        { a: closed, b: directory({ linked }, own({ mode: 0o555 })), c: linked },
        own({ mode: 0o500 }),
      ),
    }
    await asNobody(async () => await write(what))
    // Nobody else can look into it.
    if (isRoot) expect(treeLines(rootfs)).toEqual(linesOfTree(what, objects))
    expect(lstatSync(rootfs).mode & 0o7777).toBe(0o500)
    chmodSync(rootfs, 0o700)
  })

  it('does not care about an umask that takes its own rights', async () => {
    const what: Tree = {
      root: directory({ d: directory({ f: file('x', own()) }, own({ mode: 0o755 })) }, own({ mode: 0o755 })),
    }
    await asNobody(async () => {
      const before = process.umask(0o777)
      try {
        await write(what)
      } finally {
        process.umask(before)
      }
    })
    expect(treeLines(rootfs)).toEqual(linesOfTree(what, objects))
  })

  it('sets attributes of files that are read-only', async () => {
    const what: Tree = {
      root: directory(
        { f: file('x', own({ mode: 0o444, xattrs: xattrs({ 'user.a': 'b' }) })) },
        own({ mode: 0o755 }),
      ),
    }
    await asNobody(async () => await write(what))
    expect(treeLines(rootfs)).toEqual(linesOfTree(what, objects))
  })

  it.each<[string, object]>([
    ['theirs', { uid: other.uid, gid: other.gid }],
    ['device', { device: 'char 1:3' }],
    ['trusted', { xattr: 'trusted.a' }],
  ])('refuses %s and says that ownership may be ignored', async (name, facts) => {
    const what: Tree = { root: directory({ d: directory({ [name]: privileged()[name]! }, own()) }, own()) }
    const error = await asNobody(async () => await rejectionOf(write(what)))
    expect(error).toMatchObject({
      kind: 'unsupported',
      code: 'ownership-unsupported',
      facts: { entry: `d/${name}`, ...facts },
    })
    expect(error.message).toMatch(/with ignoreOwnership it /)
  })

  it('leaves out what needs root when ownership is ignored, and reports each', async () => {
    const what: Tree = { root: directory(privileged(), { ...own({ mode: 0o755 }), gid: other.uid }) }
    const skipped: string[] = []
    const result = await asNobody(async () => await write(what, { ignoreOwnership: true, skipped }))
    expect(result).toEqual({ entries: 4, bytes: 2 })
    expect(skipped).toEqual([
      'device device char 1:3',
      'device again char 1:3',
      `owner theirs ${other.uid}:${other.gid}`,
      'xattr trusted trusted.a',
      `owner / ${nobody.uid}:${other.uid}`,
    ])
    expect(treeLines(rootfs).map((line) => line.split(' ').slice(0, 4).join(' '))).toEqual([
      `. directory 0755 ${nobody.uid}:${nobody.gid}`,
      `fifo fifo 0644 ${nobody.uid}:${nobody.gid}`,
      `theirs file 0644 ${nobody.uid}:${nobody.gid}`,
      `trusted file 0644 ${nobody.uid}:${nobody.gid}`,
    ])
    expect(treeLines(rootfs)[3]).toContain(' user.b=y ')
  })
})
