import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type Bytes, layer, type SparseForm } from '../../../lib/testkit/layer.js'
import { collect, expand, refusal } from './collect.js'

const FORMS: readonly SparseForm[] = ['old', '0.0', '0.1', '1.0']

type Records = readonly (readonly [Bytes, Bytes])[]

function readOne(tar: Uint8Array) {
  const { members } = collect(tar)
  expect(members).toHaveLength(1)
  return members[0]!
}

function causeOf(tar: Uint8Array) {
  const { code, facts } = refusal(() => collect(tar))
  expect(code).toBe('tar-invalid')
  return facts.cause
}

/** A regular member with these records and this much data. */
function paxSparse(records: Records, data = ''): Uint8Array {
  return layer().pax(records).member({ name: 'stub', data }).build()
}

/** A member of form 1.0 with this text for a map. */
function withMap(map: string, size: number, data = ''): Uint8Array {
  const records: Records = [
    ['GNU.sparse.major', '1'],
    ['GNU.sparse.minor', '0'],
    ['GNU.sparse.name', 'real'],
    ['GNU.sparse.realsize', String(size)],
  ]
  return paxSparse(records, map.padEnd(Math.ceil(map.length / 512) * 512, '\0') + data)
}

describe.each(FORMS)('form %s', (form) => {
  it('gives the runs, the real name and the expanded size', () => {
    const tar = layer()
      .sparse(
        'dir/real',
        {
          size: 10_000,
          runs: [
            [100, 'abc'],
            [4096, 'defg'],
          ],
        },
        form,
      )
      .build()
    const member = readOne(tar)
    expect(member.entry).toMatchObject({
      kind: 'file',
      path: 'dir/real',
      size: 10_000,
      sparse: [
        { offset: 100, length: 3 },
        { offset: 4096, length: 4 },
      ],
    })
    expect(member.content.toString()).toBe('abcdefg')
  })

  it('expands files of any shape exactly', () => {
    const runs = fc.array(fc.tuple(fc.nat(2000), fc.uint8Array({ maxLength: 40 })), { maxLength: 60 })
    fc.assert(
      fc.property(runs, fc.nat(1000), (gaps, tail) => {
        let at = 0
        const placed = gaps.map(([gap, data]) => {
          const offset = at + gap
          at = offset + data.length
          return [offset, data] as const
        })
        const file = Buffer.alloc(at + tail)
        for (const [offset, data] of placed) file.set(data, offset)
        const member = readOne(layer().sparse('s', { size: file.length, runs: placed }, form).build())
        expect(member.entry.size).toBe(file.length)
        expect(expand(member).equals(file)).toBe(true)
      }),
      { numRuns: 40 },
    )
  })

  it('lets runs touch, and drops the empty one that marks the end', () => {
    const runs = [
      [0, 'ab'],
      [2, 'cd'],
      [100, ''],
    ] as const
    expect(readOne(layer().sparse('s', { size: 100, runs }, form).build()).entry.sparse).toEqual([
      { offset: 0, length: 2 },
      { offset: 2, length: 2 },
    ])
  })

  it('knows files that are one hole, and empty ones', () => {
    expect(readOne(layer().sparse('s', { size: 5000, runs: [] }, form).build()).entry).toMatchObject({
      size: 5000,
      sparse: [],
    })
    expect(readOne(layer().sparse('s', { size: 0, runs: [] }, form).build()).entry).toMatchObject({
      size: 0,
      sparse: [],
    })
  })

  it.each([
    [
      [
        [10, 'abc'],
        [12, 'd'],
      ],
      'its sparse map goes back from 13 to 12',
    ],
    [
      [
        [10, 'abc'],
        [5, 'd'],
      ],
      'its sparse map goes back from 13 to 5',
    ],
    [[[98, 'abc']], 'its sparse map has a run of 3 bytes at 98, and the file ends at 100'],
    [[[101, '']], 'its sparse map has a run of 0 bytes at 101, and the file ends at 100'],
  ] as const)('refuses the runs %j', (runs, cause) => {
    expect(
      causeOf(
        layer()
          .sparse('s', { size: 100, runs: [...runs] }, form)
          .build(),
      ),
    ).toBe(cause)
  })
})

describe('PAX forms', () => {
  const size = ['GNU.sparse.size', '100'] as const
  const blocks = (n: number) => ['GNU.sparse.numblocks', String(n)] as const

  it.each<[string, Records, string, string]>([
    ['no size', [['GNU.sparse.name', 'a']], '', 'it is sparse and does not say how long the file is'],
    [
      'two sizes',
      [size, ['GNU.sparse.realsize', '99'], blocks(0)],
      '',
      'it is sparse and says two lengths, 100 and 99',
    ],
    ['no count', [size, ['GNU.sparse.map', '0,1']], 'x', 'its sparse map has 1 runs and announces none'],
    [
      'a wrong count',
      [size, blocks(2), ['GNU.sparse.map', '0,1']],
      'x',
      'its sparse map has 1 runs and announces 2',
    ],
    [
      'half a run',
      [size, blocks(1), ['GNU.sparse.map', '0,1,5']],
      'x',
      'its sparse map ends with an offset without a length',
    ],
    [
      'an offset without a length',
      [size, blocks(1), ['GNU.sparse.offset', '0']],
      '',
      'its sparse map ends with an offset without a length',
    ],
    ['a length first', [size, blocks(1), ['GNU.sparse.numbytes', '0']], '', 'its sparse map has half a run'],
    [
      'two offsets',
      [size, blocks(1), ['GNU.sparse.offset', '0'], ['GNU.sparse.offset', '0']],
      '',
      'its sparse map has half a run',
    ],
    [
      'two maps',
      [size, blocks(0), ['GNU.sparse.map', '0,0'], ['GNU.sparse.offset', '0'], ['GNU.sparse.numbytes', '0']],
      '',
      'it has two sparse maps',
    ],
    [
      'more data than runs',
      [size, blocks(1), ['GNU.sparse.map', '0,1']],
      'xy',
      'its sparse map names 1 bytes of data and the archive has 2',
    ],
    [
      'less data than runs',
      [size, blocks(1), ['GNU.sparse.map', '0,3']],
      'xy',
      'its sparse map names 3 bytes of data and the archive has 2',
    ],
    [
      'a sum that is not exact',
      [
        ['GNU.sparse.size', '9007199254740991'],
        blocks(1),
        ['GNU.sparse.map', '9007199254740991,9007199254740991'],
      ],
      '',
      'its sparse map has a run of 9007199254740991 bytes at 9007199254740991, and the file ends at 9007199254740991',
    ],
    [
      'words',
      [size, blocks(1), ['GNU.sparse.map', '0,-1']],
      '',
      'a number of its sparse map "-1" is not a decimal number',
    ],
    [
      'an empty name',
      [size, ['GNU.sparse.name', '']],
      '',
      'its name in GNU.sparse.name is empty or has a NUL',
    ],
    [
      'a map of two forms',
      [size, ['GNU.sparse.major', '1'], ['GNU.sparse.minor', '0'], ['GNU.sparse.map', '0,1']],
      'x',
      'it is sparse in the form 1.0 and has a map of an older form',
    ],
  ])('refuses %s', (_, records, data, cause) => {
    const limits = { maxFileBytes: Number.MAX_SAFE_INTEGER, maxTotalBytes: Number.MAX_SAFE_INTEGER }
    const found = refusal(() => collect(paxSparse(records, data), limits))
    expect(found).toMatchObject({ code: 'tar-invalid', facts: { cause } })
  })

  it.each([
    [
      [
        ['GNU.sparse.major', '2'],
        ['GNU.sparse.minor', '0'],
      ],
      'it is sparse in the form 2.0, and 0.0, 0.1 and 1.0 are known',
    ],
    [[['GNU.sparse.major', '1']], 'it is sparse in the form 1., and 0.0, 0.1 and 1.0 are known'],
    [[['GNU.sparse.hint', 'x']], 'it is sparse with the record GNU.sparse.hint, which is not known'],
  ] as const)('refuses unknown forms by name: %j', (records, cause) => {
    const found = refusal(() => collect(paxSparse([size, ...records])))
    expect(found).toMatchObject({ code: 'entry-refused', facts: { cause } })
  })

  it.each(['5', '2', 'S', '6'])('does not go with type %s', (type) => {
    const tar = layer()
      .pax([size, blocks(0)])
      .member({ name: 'a', type, link: 'b', magic: 'gnu' })
    expect(causeOf(tar.build())).toBe(
      `it is sparse by its PAX header, which does not go with its type "${type}"`,
    )
  })

  it('is no directory when its name ends with a slash', () => {
    expect(causeOf(paxSparse([size, blocks(0), ['GNU.sparse.name', 'dir/']]))).toMatch(
      /^its name ends with a slash/,
    )
  })
})

describe('maps in front of the data', () => {
  it.each([
    ['', 'its sparse map is longer than its data'],
    [`01000\n${'0\n'.repeat(253)}`, 'its sparse map is longer than its data'],
    ['1\n0\n', 'its sparse map has something else than decimal numbers'],
    ['x\n', 'its sparse map has something else than decimal numbers'],
    ['1\n0\n-1\n', 'its sparse map has something else than decimal numbers'],
    ['1\n\n0\n', 'its sparse map has an empty line'],
    ['1\n0\n99999999999999999\n', 'its sparse map has a number beyond 2^53 - 1'],
    ['1\n0\n9007199254740992\n', 'its sparse map has a number beyond 2^53 - 1'],
    ['1\n0\n3\n', 'its sparse map names 3 bytes of data and the archive has 0'],
  ])('refuse %j', (map, cause) => {
    expect(causeOf(withMap(map, 100))).toBe(cause)
  })

  it('may fill their block to the last byte', () => {
    const lines = ['127', ...Array.from({ length: 254 }, () => '0')].join('\n')
    expect(`${lines}\n`.length).toBe(512)
    expect(readOne(withMap(`${lines}\n`, 0)).entry.sparse).toEqual([])
  })

  it('may go over several blocks, numbers across their borders', () => {
    const runs = Array.from({ length: 300 }, (_, i) => [i * 1000, String(i)] as const)
    const member = readOne(layer().sparse('s', { size: 300_000, runs }, '1.0').build())
    expect(member.entry.sparse).toEqual(runs.map(([offset, data]) => ({ offset, length: data.length })))
  })
})

describe('old GNU headers', () => {
  const number = (value: number) => `${value.toString(8).padStart(11, '0')}\0`
  const header = (patch: readonly (readonly [number, Bytes])[], more = {}) =>
    layer()
      .member({ name: 's', type: 'S', magic: 'gnu', patch: [[483, number(100)], ...patch], ...more })
      .build()

  it('need the magic of GNU', () => {
    expect(causeOf(header([], { magic: 'posix' }))).toBe(
      'it is of the sparse type of GNU tar and has no GNU header',
    )
  })

  it('have no gaps, half runs or extensions after their end, where readers disagree', () => {
    expect(causeOf(header([[410, number(0) + number(0)]]))).toBe('its sparse map has a gap')
    expect(causeOf(header([[386, number(0)]]))).toBe('its sparse map has half a run')
    expect(causeOf(header([[398, number(0)]]))).toBe('its sparse map has half a run')
    expect(causeOf(header([[482, '\x01']]))).toBe('its sparse map goes on after its end')
  })

  it('may have their real size in base-256', () => {
    const tar = layer()
      .member({
        name: 's',
        type: 'S',
        magic: 'gnu',
        patch: [[483, Buffer.from('8000000000000000000003e8', 'hex')]],
      })
      .build()
    expect(readOne(tar).entry).toMatchObject({ size: 1000, sparse: [] })
  })

  it('are never taken for whole files', () => {
    const tar = layer()
      .raw(
        layer()
          .pax([['path', 'other']])
          .buildWithoutEnd(),
      )
      .sparse('s', { size: 100, runs: [[50, 'abc']] }, 'old')
      .build()
    const member = readOne(tar)
    expect(member.entry).toMatchObject({ path: 'other', size: 100, sparse: [{ offset: 50, length: 3 }] })
  })
})
