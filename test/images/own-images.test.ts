/** Our own images from every source: the tree that groot makes is the tree that umoci unpacks. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { compareTrees, judge, UMOCI_FAULTS } from './compare.js'
import {
  COMPRESSIONS,
  expectSameTree,
  type PlacedImage,
  SOURCES,
  skopeoCopy,
  type Unpacked,
  umociTree,
} from './differential.js'
import { comparedImages } from './fixtures.js'
import { tagOf, writeLayout } from './layout.js'
import { type LocalRegistry, startRegistry } from './registry.js'
import { missing, type Scratch, scratchDirectory, titled } from './tools.js'

const why = missing({
  root: true,
  oddFiles: true,
  tools: ['umoci', 'skopeo', 'docker-registry', 'zstd', 'mknod', 'setfattr'],
})

/** What umoci gets wrong in each image; all else is equal. */
const FAULTS: Readonly<Record<string, readonly string[]>> = {
  odd: ['blank-xattr-lost', 'implicit-directory-time'],
  changes: ['implicit-directory-time'],
  names: [],
  many: [],
}

describe.skipIf(why !== null)(titled('the tree of our own images, against umoci, as root', why), () => {
  const images = comparedImages()
  let scratch: Scratch
  let registry: LocalRegistry
  const unpacked = new Map<string, Unpacked>()

  beforeAll(async () => {
    scratch = scratchDirectory()
    writeLayout(scratch.file('layout'), images, COMPRESSIONS)
    registry = await startRegistry(scratch.file('registry'))
    for (const { name } of images) {
      for (const compression of COMPRESSIONS) {
        const from = `oci:${scratch.file('layout')}:${tagOf(name, compression)}`
        await skopeoCopy(scratch.path, from, `docker://${registry.host}/${name}:${compression}`)
      }
    }
  })

  afterAll(async () => {
    await registry?.[Symbol.asyncDispose]()
    scratch?.[Symbol.dispose]()
  })

  for (const { name, implicit } of images) {
    const placed = (): PlacedImage => ({
      name,
      layout: scratch.file('layout'),
      registry: (compression) => `${registry.host}/${name}:${compression}`,
      implicit: implicit ?? [],
    })
    const cases = SOURCES.flatMap((source) =>
      COMPRESSIONS.map((compression) => [source, compression] as const),
    )
    it.each(cases)(`is equal for ${name} from %s in %s`, async (source, compression) => {
      const umoci = unpacked.get(name) ?? (await umociTree(placed()))
      unpacked.set(name, umoci)
      const faults = await expectSameTree(placed(), source, compression, umoci)
      expect(faults).toEqual(FAULTS[name])
    })
  }
})

describe('the comparison itself', () => {
  const line = (path: string, more: Partial<Record<'mtime' | 'xattrs' | 'mode', string>> = {}) =>
    `${path} directory ${more.mode ?? '0755'} 0:0 - ${more.mtime ?? '7.000000000'} - - - ${more.xattrs ?? '-'} -`
  const context = { implicit: new Set(['made']), umociRan: [1000, 1001] } as const

  it('finds entries that one tree lacks and every part that differs', () => {
    const differences = compareTrees(
      [line('a'), line('b', { mode: '0700' })],
      [line('b', { mtime: '8.000000000' }), line('c')],
    )
    expect(differences).toEqual([
      { path: 'a', part: 'entry', groot: 'directory', umoci: null },
      { path: 'b', part: 'mode', groot: '0700', umoci: '0755' },
      { path: 'b', part: 'mtime', groot: '7.000000000', umoci: '8.000000000' },
      { path: 'c', part: 'entry', groot: null, umoci: 'directory' },
    ])
  })

  it.each([
    ['made', '0.000000000', '1000.500000000', ['implicit-directory-time']],
    ['made', '5.000000000', '1000.500000000', []],
    ['made', '0.000000000', '900.000000000', []],
    ['named', '0.000000000', '1000.500000000', []],
  ])('excuses the time of %j being %s for umoci’s %s by %j', (path, ours, theirs, faults) => {
    const differences = compareTrees([line(path, { mtime: ours })], [line(path, { mtime: theirs })])
    const judged = judge(differences, context)
    expect(judged).toEqual({ faults, unexplained: faults.length === 0 ? differences : [] })
  })

  it.each([
    ['user.blank=', '-', ['blank-xattr-lost']],
    ['user.blank=,user.other=x', 'user.other=x', ['blank-xattr-lost']],
    ['user.blank=,user.other=x', 'user.other=y', []],
    ['user.other=x', '-', []],
    ['-', 'user.blank=', []],
  ])('excuses the attributes %j for umoci’s %j by %j', (ours, theirs, faults) => {
    const differences = compareTrees([line('a', { xattrs: ours })], [line('a', { xattrs: theirs })])
    const judged = judge(differences, context)
    expect(judged).toEqual({ faults, unexplained: faults.length === 0 ? differences : [] })
  })

  it('has a reason for every fault of umoci', () => {
    expect(UMOCI_FAULTS.filter(({ why: reason }) => reason.length < 40)).toEqual([])
  })
})
