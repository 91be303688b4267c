import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { byteString } from '../../../lib/bytes.js'
import type { CleanPath, LayerChange } from '../../../lib/tree/change.js'
import { type MergeLimits, Merger, mergeLayers } from '../../../lib/tree/merge.js'
import {
  type Directory,
  type Inode,
  type Metadata,
  NO_CONTENT,
  NO_XATTRS,
  type Tree,
} from '../../../lib/tree/model.js'

const LIMITS: MergeLimits = {
  maxEntries: 1000,
  maxTotalBytes: 1_000_000,
  maxMetadataBytes: 1_000_000,
  maxDepth: 2048,
}
const META: Metadata = {
  mode: 0o644,
  uid: 1,
  gid: 2,
  mtimeSeconds: 5n,
  mtimeNanoseconds: 6,
  xattrs: NO_XATTRS,
}

describe('merging layers', () => {
  it('puts later layers over earlier ones and keeps what they do not name', () => {
    const tree = merge([dir('etc'), file('etc/a', 1), file('etc/b', 2)], [file('etc/b', 3), file('etc/c', 4)])
    expect(lines(tree)).toEqual(['/etc/ 755', '/etc/a 1', '/etc/b 3', '/etc/c 4'])
  })

  it('makes missing parents as root-owned 0755 at the epoch', () => {
    const tree = merge([file('a/b/c', 1)])
    const made = tree.root.children.get(byteString('a'))
    expect(made).toMatchObject({
      kind: 'directory',
      mode: 0o755,
      uid: 0,
      gid: 0,
      mtimeSeconds: 0n,
      mtimeNanoseconds: 0,
    })
    expect(lines(tree)).toEqual(['/a/ 755', '/a/b/ 755', '/a/b/c 1'])
  })

  it('gives the root the metadata of its entry', () => {
    const tree = merge([
      { kind: 'inode', path: [], inode: { ...META, kind: 'directory', mode: 0o700, children: new Map() } },
    ])
    expect(tree.root).toMatchObject({ mode: 0o700, uid: 1, mtimeSeconds: 5n })
  })

  it('refuses a root that is no directory', () => {
    expect(() => merge([{ kind: 'inode', path: [], inode: { ...META, kind: 'fifo' } }])).toThrow(
      expect.objectContaining({ code: 'layer-invalid' }),
    )
  })

  it('keeps children when a directory comes over a directory, and drops them otherwise', () => {
    const lower = [dir('d'), file('d/x', 1)]
    expect(lines(merge(lower, [dir('d', 0o700)]))).toEqual(['/d/ 700', '/d/x 1'])
    expect(lines(merge(lower, [file('d', 2)]))).toEqual(['/d 2'])
    expect(lines(merge(lower, [link('d', 'elsewhere')]))).toEqual(['/d -> elsewhere'])
    expect(lines(merge([link('d', 'e'), dir('e')], [dir('d')]))).toEqual(['/d/ 755', '/e/ 755'])
  })

  it('does not change the layers it was given', () => {
    const lower = [dir('d'), file('d/x', 1)]
    merge(lower, [whiteout('d/x')])
    expect(lines(merge(lower))).toEqual(['/d/ 755', '/d/x 1'])
  })

  describe('whiteouts', () => {
    const lower = [dir('d'), file('d/x', 1), dir('d/sub'), file('d/sub/y', 2), file('z', 3)]

    it('remove what lower layers had', () => {
      expect(lines(merge(lower, [whiteout('d/x')]))).toEqual(['/d/ 755', '/d/sub/ 755', '/d/sub/y 2', '/z 3'])
      expect(lines(merge(lower, [whiteout('d')]))).toEqual(['/z 3'])
    })

    it('keep what their own layer wrote, wherever they stand in it', () => {
      const changes = [dir('d', 0o711), file('d/x', 9), whiteout('d'), whiteout('d/x'), whiteout('z')]
      const expected = ['/d/ 711', '/d/x 9']
      expect(lines(merge(lower, changes))).toEqual(expected)
      expect(lines(merge(lower, [...changes].reverse().sort(markersFirst)))).toEqual(expected)
    })

    it('of something that is not there do nothing, also without a directory to stand in', () => {
      expect(lines(merge(lower, [whiteout('nothing'), whiteout('no/where'), whiteout('z/x')]))).toEqual(
        lines(merge(lower)),
      )
    })

    it('in the first layer do nothing', () => {
      expect(lines(merge([file('a', 1), whiteout('a')]))).toEqual(['/a 1'])
    })

    it('act through a symlink inside the root, and never above it', () => {
      const linked = [dir('real'), file('real/x', 1), link('way', '../../real'), file('x', 2)]
      expect(lines(merge(linked, [whiteout('way/x')]))).toEqual(['/real/ 755', '/way -> ../../real', '/x 2'])
    })

    it('do not act through a symlink that their own layer replaces', () => {
      const linked = [dir('real'), file('real/x', 1), link('way', 'real')]
      const tree = merge(linked, [dir('way'), opaque('way'), whiteout('way/x')])
      expect(lines(tree)).toEqual(['/real/ 755', '/real/x 1', '/way/ 755'])
    })
  })

  it('are looked up before any of them acts', () => {
    const lower = [dir('real'), file('real/x', 1), dir('c'), link('c/way', '/real')]
    const markers = [opaque('c'), opaque('c/way')]
    const expected = ['/c/ 755', '/real/ 755']
    expect(lines(merge(lower, markers))).toEqual(expected)
    expect(lines(merge(lower, [...markers].reverse()))).toEqual(expected)
  })

  describe('opaque markers', () => {
    const lower = [dir('d'), file('d/x', 1), dir('d/sub'), file('d/sub/y', 2)]

    it('hide all lower children and keep those of their own layer', () => {
      const expected = ['/d/ 755', '/d/new 7']
      expect(lines(merge(lower, [opaque('d'), file('d/new', 7)]))).toEqual(expected)
      expect(lines(merge(lower, [file('d/new', 7), opaque('d')]))).toEqual(expected)
    })

    it('work at the root', () => {
      expect(lines(merge(lower, [opaque(''), file('n', 1)]))).toEqual(['/n 1'])
    })
  })

  describe('hard links', () => {
    it('are one inode under two names, over layers too', () => {
      const tree = merge([file('a', 1)], [hard('b', 'a')], [hard('d/c', 'b')])
      const inode = tree.root.children.get(byteString('a'))
      expect(tree.root.children.get(byteString('b'))).toBe(inode)
      expect((tree.root.children.get(byteString('d')) as Directory).children.get(byteString('c'))).toBe(inode)
    })

    it('find a lower target that the same layer whites out, in either order', () => {
      expect(lines(merge([file('old', 1)], [hard('new', 'old'), whiteout('old')]))).toEqual(['/new 1'])
      expect(lines(merge([file('old', 1)], [whiteout('old'), hard('new', 'old')]))).toEqual(['/new 1'])
    })

    it('take the target of their own layer before the lower one', () => {
      expect(lines(merge([file('t', 1)], [file('t', 2), hard('n', 't')]))).toEqual(['/n 2', '/t 2'])
    })

    it('take the lower target where their own layer puts another in its place after them', () => {
      const lower = [file('d/t', 1)]
      const expected = ['/d/ 755', '/d/t 2', '/n 1']
      expect(lines(merge(lower, [hard('n', 'd/t'), whiteout('d/t'), file('d/t', 2)]))).toEqual(expected)
      expect(lines(merge(lower, [opaque('d'), hard('n', 'd/t'), file('d/t', 2)]))).toEqual(expected)
      expect(lines(merge(lower, [hard('n', 'd/t'), file('d/t', 2)]))).toEqual(expected)
    })

    it('resolve parents inside the root and do not follow the last component', () => {
      const tree = merge([
        dir('real'),
        file('real/f', 1),
        link('way', '/../real'),
        link('s', 'real/f'),
        hard('n', 'way/f'),
        hard('m', 's'),
      ])
      expect(lines(tree)).toEqual([
        '/m -> real/f',
        '/n 1',
        '/real/ 755',
        '/real/f 1',
        '/s -> real/f',
        '/way -> /../real',
      ])
    })

    it.each([
      ['nothing', 'a target that does not exist'],
      ['d', 'a directory'],
      ['loop/x', 'a target behind links in a circle'],
    ])('to %j are refused: %s', (target) => {
      expect(() => merge([dir('d'), link('loop', 'loop'), hard('n', target)])).toThrow(
        expect.objectContaining({
          code: 'layer-invalid',
          facts: expect.objectContaining({ entry: 'n', layer: 0 }),
        }),
      )
    })
  })

  describe('symlinks in parents', () => {
    it('are followed as if the root were /', () => {
      const tree = merge([dir('run'), dir('var'), link('var/run', '/run')], [file('var/run/pid', 1)])
      expect(lines(tree)).toEqual(['/run/ 755', '/run/pid 1', '/var/ 755', '/var/run -> /run'])
    })

    it('that point nowhere lead to a directory that is made', () => {
      expect(lines(merge([link('a', 'x/y'), file('a/f', 1)]))).toEqual([
        '/a -> x/y',
        '/x/ 755',
        '/x/y/ 755',
        '/x/y/f 1',
      ])
    })

    it.each([
      [[file('a', 1), file('a/b', 2)], 'a file'],
      [[link('a', 'a'), file('a/b', 2)], 'a circle'],
      [[link('a', 'b'), link('b', 'a'), file('a/b', 2)], 'a circle of two'],
    ])('are refused when they end at no directory (%#: %s)', (changes) => {
      expect(() => merge(changes)).toThrow(expect.objectContaining({ code: 'layer-invalid' }))
    })
  })

  it('refuses more entries or bytes than the limits allow', () => {
    const limits = { ...LIMITS, maxEntries: 2, maxTotalBytes: 10 }
    expect(() => mergeLayers([[file('a', 1), file('b', 1)], [file('c', 1)]], limits)).toThrow(
      expect.objectContaining({ code: 'limit-exceeded' }),
    )
    expect(() => mergeLayers([[file('a', 6)], [file('a', 6)]], limits)).toThrow(
      expect.objectContaining({ code: 'limit-exceeded' }),
    )
  })

  it('refuses too many directories that no layer describes', () => {
    const deep = (top: string) => file(`${top}${'/d'.repeat(30)}/f`, 1)
    expect(() => merge([deep('a'), deep('b'), deep('c'), deep('d')])).not.toThrow()
    expect(() => merge([deep('a'), deep('b')], [deep('c'), deep('d'), dir('e'), deep('f')])).toThrow(
      expect.objectContaining({ code: 'limit-exceeded', message: expect.stringMatching(/125 .* layer 1$/) }),
    )
  })

  it('counts names, link targets and attributes', () => {
    const xattrs = new Map([[byteString('user.a'), byteString('v'.repeat(5000))]])
    const attributed: LayerChange = {
      kind: 'inode',
      path: parts('a'),
      inode: { ...META, xattrs, kind: 'directory', children: new Map() },
    }
    const limits = { ...LIMITS, maxMetadataBytes: 6000 }
    expect(() => mergeLayers([[attributed]], limits)).not.toThrow()
    for (const more of [
      attributed,
      link('l', 'x'.repeat(1000)),
      dir('d'.repeat(900)),
      hard('n', 'a/'.repeat(30)),
    ]) {
      expect(() => mergeLayers([[attributed], [more]], limits)).toThrow(
        expect.objectContaining({ code: 'limit-exceeded' }),
      )
    }
  })

  it('refuses what symlinks in parents would put deeper than the limit, wherever they lead', () => {
    const limits = { ...LIMITS, maxDepth: 6 }
    const tree = [dir('a/b/c/d'), link('l', 'a/b/c/d')]
    expect(lines(mergeLayers([[...tree, file('l/e/f', 1)]], limits).tree)).toContain('/a/b/c/d/e/f 1')
    for (const change of [file('l/e/f/g', 1), dir('l/e/f/g'), hard('l/e/f/g', 'l')]) {
      expect(() => mergeLayers([tree, [change]], limits)).toThrow(
        expect.objectContaining({ code: 'limit-exceeded', facts: expect.objectContaining({ layer: 1 }) }),
      )
    }
  })

  it('refuses names that lead through long ways again and again', () => {
    // Each of them through some 70,000 directories.
    const way = link('l0', `/${'d/../'.repeat(800)}d`)
    const links = Array.from({ length: 38 }, (_, i) => link(`l${i + 1}`, `/l${i}/..${'/d/..'.repeat(799)}/d`))
    const base = [dir('d'), way, ...links]
    expect(() => merge(base, [file('l38/x', 1), whiteout('l38/y')])).not.toThrow()
    for (const change of [file('l38/x', 1), whiteout('l38/x'), opaque('l38/x')]) {
      expect(() =>
        merge(
          base,
          Array.from({ length: 900 }, () => change),
        ),
      ).toThrow(expect.objectContaining({ code: 'limit-exceeded' }))
    }
  })

  it('may be interrupted', () => {
    const changes = Array.from({ length: 900 }, (_, i) => file(`f${i}`, 1))
    const merger = new Merger({ ...LIMITS, maxEntries: 5000 })
    for (const number of [0, 1]) expect([...merger.applyInSteps(changes, number)].length).toBeGreaterThan(3)
    expect(merger.root.children.size).toBe(900)
  })

  it('gives the same tree wherever a layer puts its markers', () => {
    const name = fc.constantFrom('a', 'b', 'c')
    const path = fc.array(name, { minLength: 1, maxLength: 3 }).map((parts) => parts.join('/'))
    const entry = fc.oneof(
      path.map((p) => dir(p)),
      path.map((p) => file(p, 1)),
      fc.tuple(path, path).map(([p, t]) => link(p, `/${t}`)),
    )
    const marker = fc.oneof(path.map(whiteout), path.map(opaque))
    const layers = fc.tuple(
      fc.array(entry, { maxLength: 8 }),
      fc.array(entry, { maxLength: 8 }),
      fc.array(marker, { maxLength: 4 }),
    )
    fc.assert(
      fc.property(layers, fc.infiniteStream(fc.nat({ max: 20 })), ([lower, upper, markers], places) => {
        const first = attempt(lower, [...markers, ...upper])
        const mixed = [...upper]
        for (const each of markers) mixed.splice(places.next().value % (mixed.length + 1), 0, each)
        expect(attempt(lower, mixed)).toEqual(first)
      }),
      { numRuns: 3000 },
    )
  })
})

function attempt(...layers: LayerChange[][]): string[] | string {
  try {
    return lines(merge(...layers))
  } catch (error) {
    return (error as { code: string }).code
  }
}

function markersFirst(a: LayerChange, b: LayerChange): number {
  const order = (change: LayerChange) =>
    change.kind === 'whiteout' || change.kind === 'opaque' ? 0 : change.path.length
  return order(a) - order(b)
}

function merge(...layers: LayerChange[][]): Tree {
  return mergeLayers(layers, LIMITS).tree
}

function parts(path: string): CleanPath {
  return path === '' ? [] : path.split('/').map(byteString)
}
function dir(path: string, mode = 0o755): LayerChange {
  return {
    kind: 'inode',
    path: parts(path),
    inode: { ...META, kind: 'directory', mode, children: new Map() },
  }
}
function file(path: string, size: number): LayerChange {
  return { kind: 'inode', path: parts(path), inode: { ...META, kind: 'file', size, content: NO_CONTENT } }
}
function link(path: string, to: string): LayerChange {
  return { kind: 'inode', path: parts(path), inode: { ...META, kind: 'symlink', target: byteString(to) } }
}
function hard(path: string, to: string): LayerChange {
  return { kind: 'hardlink', path: parts(path), target: parts(to) }
}
function whiteout(path: string): LayerChange {
  const all = parts(path)
  return { kind: 'whiteout', parent: all.slice(0, -1), name: all.at(-1)! }
}
function opaque(path: string): LayerChange {
  return { kind: 'opaque', path: parts(path) }
}

function lines(tree: Tree): string[] {
  const found: string[] = []
  const visit = (path: string, inode: Inode): void => {
    if (inode.kind === 'directory') {
      if (path !== '') found.push(`${path}/ ${inode.mode.toString(8)}`)
      for (const name of [...inode.children.keys()].sort())
        visit(`${path}/${name}`, inode.children.get(name)!)
    } else if (inode.kind === 'symlink') {
      found.push(`${path} -> ${inode.target}`)
    } else {
      found.push(`${path} ${inode.kind === 'file' ? inode.size : inode.kind}`)
    }
  }
  visit('', tree.root)
  return found
}
