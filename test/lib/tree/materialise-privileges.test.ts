import { chmodSync, chownSync, lstatSync, mkdirSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { linesOfTree } from '../../../lib/testkit/lines-of-tree.js'
import { treeLines } from '../../../lib/testkit/tree-lines.js'
import type { Inode, Metadata, Tree } from '../../../lib/tree/model.js'
import { isRoot, rejectionOf, withoutPrivileges } from '../linux/scratch.js'
import { directory, file, me, meta, useBench, write, xattrs } from './materialise-bench.js'

const bench = useBench()

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
    chmodSync(bench.path, 0o755)
    mkdirSync(`${bench.path}/own`)
    if (isRoot) chownSync(`${bench.path}/own`, nobody.uid, nobody.gid)
    bench.rootfs = `${bench.path}/own/rootfs`
    return await withoutPrivileges(action)
  }

  it('fills directories that forbid it, and links files out of them', async () => {
    const linked = file('linked', own({ mode: 0 }))
    const closed = directory({ linked, sub: directory({ linked }, own({ mode: 0 })) }, own({ mode: 0 }))
    const what: Tree = {
      root: directory(
        { a: closed, b: directory({ linked }, own({ mode: 0o555 })), c: linked },
        own({ mode: 0o500 }),
      ),
    }
    await asNobody(async () => await write(what))
    // Nobody else can look into it.
    if (isRoot) expect(treeLines(bench.rootfs)).toEqual(linesOfTree(what, bench.objects))
    expect(lstatSync(bench.rootfs).mode & 0o7777).toBe(0o500)
    chmodSync(bench.rootfs, 0o700)
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
    expect(treeLines(bench.rootfs)).toEqual(linesOfTree(what, bench.objects))
  })

  it('sets attributes of files that are read-only', async () => {
    const what: Tree = {
      root: directory(
        { f: file('x', own({ mode: 0o444, xattrs: xattrs({ 'user.a': 'b' }) })) },
        own({ mode: 0o755 }),
      ),
    }
    await asNobody(async () => await write(what))
    expect(treeLines(bench.rootfs)).toEqual(linesOfTree(what, bench.objects))
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
    expect(error.message).toMatch(/with --ignore-ownership it /)
  })

  it('leaves out what needs root when ownership is ignored, and reports each', async () => {
    const what: Tree = { root: directory(privileged(), { ...own({ mode: 0o755 }), gid: nobody.gid + 1 }) }
    const skipped: string[] = []
    const result = await asNobody(async () => await write(what, { ignoreOwnership: true, skipped }))
    expect(result).toEqual({ entries: 4, bytes: 2 })
    expect(skipped).toEqual([
      'device device char 1:3',
      'device again char 1:3',
      `owner theirs ${other.uid}:${other.gid}`,
      'xattr trusted trusted.a',
      `owner / ${nobody.uid}:${nobody.gid + 1}`,
    ])
    expect(treeLines(bench.rootfs).map((line) => line.split(' ').slice(0, 4).join(' '))).toEqual([
      `. directory 0755 ${nobody.uid}:${nobody.gid}`,
      `fifo fifo 0644 ${nobody.uid}:${nobody.gid}`,
      `theirs file 0644 ${nobody.uid}:${nobody.gid}`,
      `trusted file 0644 ${nobody.uid}:${nobody.gid}`,
    ])
    expect(treeLines(bench.rootfs)[3]).toContain(' user.b=y ')
  })
})
