import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { BugError } from '../../../lib/errors.js'
import { DEFAULT_LIMITS } from '../../../lib/layer/limits.js'
import { TarReader, type TarSink } from '../../../lib/layer/read-tar.js'
import { layer } from '../../../lib/testkit/layer.js'
import { collect, entriesOf, refusal } from './collect.js'

const MEGABYTE = 1024 * 1024
const ZERO_BLOCK = new Uint8Array(512)

/** One of everything that changes how bytes are taken. */
function variety(): Uint8Array {
  return layer()
    .globalPax([['mtime', '7']])
    .dir('a')
    .file('a/empty')
    .file('a/one', 'x')
    .file('a/block', 'y'.repeat(512))
    .file('a/more', 'z'.repeat(1300), { mtimeNanoseconds: 5, xattrs: { 'user.a': 'b' } })
    .long('L', 'n'.repeat(600))
    .member({ name: 'cut', magic: 'gnu', data: 'long name' })
    .sparse(
      's1',
      { size: 9000, runs: Array.from({ length: 30 }, (_, i) => [i * 300, 'data'] as const) },
      'old',
    )
    .sparse(
      's2',
      {
        size: 5000,
        runs: [
          [10, 'ten'],
          [4096, 'page'],
        ],
      },
      '1.0',
    )
    .sparse('s3', { size: 5000, runs: [[0, 'start']] }, '0.1')
    .sparse('hole', { size: 5000, runs: [] }, '1.0')
    .symlink('link', 'a')
    .hardlink('hard', 'a/one')
    .char('null', 1, 3)
    .build()
}

const QUIET: TarSink = { raw: () => {}, entry: () => {}, content: () => {}, entryEnd: () => {} }

describe('the reader', () => {
  it('gives back every byte in order, contents apart from the rest', () => {
    const tar = layer().file('a', 'content').file('b').build()
    const { all, raw, events } = collect(tar)
    expect(all.equals(tar)).toBe(true)
    expect(raw.length).toBe(tar.length - 'content'.length)
    expect(events).toEqual([
      'raw 512',
      'entry a',
      'content 7',
      'end',
      `raw ${505 + 512}`,
      'entry b',
      'end',
      'raw 1024',
    ])
  })

  it('does not mind where chunks are cut', () => {
    const tar = variety()
    const whole = collect(tar)
    expect(whole.members).toHaveLength(13)
    expect(whole.all.equals(tar)).toBe(true)
    const same = (cuts: readonly number[]): void => {
      const found = collect(tar, {}, cuts)
      expect(found.events).toEqual(whole.events)
      expect(found.members.map(({ entry }) => entry)).toEqual(whole.members.map(({ entry }) => entry))
      expect(found.members.every(({ content }, i) => content.equals(whole.members[i]!.content))).toBe(true)
      expect(found.all.equals(tar)).toBe(true)
    }
    same(Array(tar.length).fill(1))
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 1500 }), { maxLength: 60 }), (cuts) => {
        same(cuts)
      }),
      { numRuns: 60 },
    )
  })

  it('passes contents on as views of what was written', () => {
    const tar = Buffer.from(layer().file('a', 'content').build())
    const views: boolean[] = []
    const reader = new TarReader(
      {
        ...QUIET,
        content: (bytes) => views.push(bytes.buffer === tar.buffer),
        raw: (bytes) => views.push(bytes.buffer === tar.buffer),
      },
      DEFAULT_LIMITS,
    )
    reader.write(tar)
    reader.end()
    expect(views).toEqual([true, true, true])
  })

  it('tells an entry as soon as its last header byte is there, and its end with its last content byte', () => {
    const tar = layer().file('a', 'content', { mtimeNanoseconds: 1 }).build()
    const events: string[] = []
    const reader = new TarReader(
      { ...QUIET, entry: (entry) => events.push(entry.path), entryEnd: () => events.push('end') },
      DEFAULT_LIMITS,
    )
    reader.write(tar.subarray(0, 1535))
    expect([events, reader.contentLeft]).toEqual([[], 0])
    reader.write(tar.subarray(1535, 1536))
    expect([events, reader.contentLeft]).toEqual([['a'], 7])
    reader.write(tar.subarray(1536, 1540))
    expect([events, reader.contentLeft]).toEqual([['a'], 3])
    reader.write(tar.subarray(1540, 1543))
    expect([events, reader.contentLeft]).toEqual([['a', 'end'], 0])
  })

  it('takes no chunk after its end, an error, or from inside a call', () => {
    const ended = new TarReader(QUIET, DEFAULT_LIMITS)
    ended.end()
    expect(() => ended.write(ZERO_BLOCK)).toThrow(BugError)
    expect(() => ended.end()).toThrow(BugError)
    const failed = new TarReader(QUIET, DEFAULT_LIMITS)
    expect(refusal(() => failed.write(new Uint8Array(512).fill(1))).code).toBe('tar-invalid')
    expect(() => failed.write(ZERO_BLOCK)).toThrow(BugError)
    const inside: TarReader = new TarReader(
      { ...QUIET, entry: () => inside.write(ZERO_BLOCK) },
      DEFAULT_LIMITS,
    )
    expect(() => inside.write(layer().dir('a').build())).toThrow(BugError)
  })

  it('lets errors of the sink through', () => {
    const reader = new TarReader(
      {
        ...QUIET,
        entry: () => {
          throw new Error('full')
        },
      },
      DEFAULT_LIMITS,
    )
    expect(() => reader.write(layer().dir('a').build())).toThrow('full')
  })
})

describe('contents that are left out', () => {
  it('are skipped, and the rest reads as before', () => {
    const tar = layer().file('a', 'x'.repeat(700)).file('b', 'yz').build()
    const seen: string[] = []
    const reader = new TarReader(
      {
        raw: (bytes) => seen.push(`raw ${bytes.length}`),
        entry: (entry) => seen.push(`${entry.path} at ${entry.offset}`),
        content: (bytes) => seen.push(Buffer.from(bytes).toString()),
        entryEnd: () => seen.push('end'),
      },
      DEFAULT_LIMITS,
    )
    reader.write(tar.subarray(0, 512))
    reader.skipContent(0)
    reader.skipContent(300)
    expect(reader.contentLeft).toBe(400)
    reader.skipContent(400)
    expect(seen).toEqual(['raw 512', 'a at 0', 'end'])
    reader.write(tar.subarray(512 + 700, 2048))
    expect(reader.contentLeft).toBe(2)
    reader.write(tar.subarray(2048, 2049))
    reader.skipContent(1)
    reader.write(tar.subarray(2050))
    reader.end()
    expect(seen.slice(3)).toEqual([`raw ${1024 - 700 + 512}`, 'b at 1536', 'y', 'end', `raw ${510 + 1024}`])
  })

  it('cannot be more than there are', () => {
    const reader = new TarReader(QUIET, DEFAULT_LIMITS)
    expect(() => reader.skipContent(1)).toThrow('Cannot skip 1 bytes of content: 0 are left')
    reader.write(layer().file('a', 'abc').buildWithoutEnd().subarray(0, 512))
    for (const length of [4, -1, 0.5, Number.NaN]) expect(() => reader.skipContent(length)).toThrow(BugError)
    reader.skipContent(3)
    expect(() => reader.skipContent(1)).toThrow(BugError)
  })
})

describe('the end of an archive', () => {
  const members = layer().dir('a').file('b', 'text').buildWithoutEnd()
  const cut = (length: number) => refusal(() => collect(members.subarray(0, length)))

  it('is two blocks of zeros, and what follows is passed on and never read', () => {
    const trailer = layer().file('etc/passwd', 'evil').build()
    const tar = Buffer.concat([members, ZERO_BLOCK, ZERO_BLOCK, trailer, Buffer.from('odd bytes')])
    const { members: found, all } = collect(tar)
    expect(found.map(({ entry }) => entry.path)).toEqual(['a', 'b'])
    expect(all.equals(tar)).toBe(true)
  })

  it('may be one block of zeros, as other readers take it', () => {
    expect(entriesOf(Buffer.concat([members, ZERO_BLOCK]))).toHaveLength(2)
  })

  it('is not a lone block of zeros with members behind it', () => {
    const tar = Buffer.concat([members, ZERO_BLOCK, layer().file('c').build()])
    expect(refusal(() => collect(tar))).toEqual({
      code: 'tar-invalid',
      facts: {
        entry: 'c',
        cause: 'a lone block of zeros stands in front of it, and two would end the archive',
        offset: members.length + 512,
      },
    })
  })

  it('is missing when the archive is cut between two members', () => {
    expect(cut(512)).toEqual({
      code: 'tar-invalid',
      facts: { entry: '', cause: 'the archive is cut, it does not end with a block of zeros', offset: 512 },
    })
    expect(cut(members.length).code).toBe('tar-invalid')
  })

  it('is missing when the archive is cut anywhere else', () => {
    expect(cut(700).facts).toEqual({
      entry: '',
      cause: 'the archive is cut inside its headers or padding',
      offset: 700,
    })
    expect(cut(1026).facts).toEqual({
      entry: 'b',
      cause: 'the archive is cut, 2 bytes of its content are missing',
      offset: 512,
    })
    expect(cut(1030).facts).toEqual({
      entry: 'b',
      cause: 'the archive is cut inside its headers or padding',
      offset: 512,
    })
    const tar = variety()
    for (let length = 1; length <= tar.length - 1024; length += 37) {
      expect(refusal(() => collect(tar.subarray(0, length))).code).toBe('tar-invalid')
    }
  })

  it('is missing when only a part of the second block is there', () => {
    expect(refusal(() => collect(Buffer.concat([members, ZERO_BLOCK, ZERO_BLOCK.subarray(1)]))).code).toBe(
      'tar-invalid',
    )
  })

  it('needs nothing before it: no bytes at all are an empty layer', () => {
    expect(collect(new Uint8Array(0)).members).toEqual([])
    expect(collect(layer().build()).members).toEqual([])
  })

  it.each([
    ['a PAX header', layer().pax([['path', 'x']])],
    ['an empty PAX header', layer().pax([])],
    ['a long name', layer().long('L', 'x')],
    ['a long link', layer().long('K', 'x')],
  ])('cannot follow %s, whose member is missing', (_, builder) => {
    expect(refusal(() => collect(builder.build()))).toMatchObject({
      code: 'tar-invalid',
      facts: { offset: 0 },
    })
    expect(refusal(() => collect(builder.buildWithoutEnd()))).toMatchObject({ code: 'tar-invalid' })
  })
})

describe('limits', () => {
  it('hold for one file, by its expanded size, before any content', () => {
    const tar = layer().file('a', 'x').sparse('b', { size: 100, runs: [] }, '1.0').build()
    expect(entriesOf(tar, { maxFileBytes: 100 })).toHaveLength(2)
    expect(refusal(() => collect(tar, { maxFileBytes: 99 }))).toEqual({
      code: 'limit-exceeded',
      facts: {
        entry: 'b',
        cause: 'it has 100 bytes, the limit for one file is 99',
        offset: 1536 - 512,
        limit: 'maxFileBytes',
      },
    })
  })

  it('hold for all files together', () => {
    const tar = layer().file('a', 'x').sparse('b', { size: 100, runs: [] }, 'old').build()
    expect(entriesOf(tar, { maxTotalBytes: 101 })).toHaveLength(2)
    expect(refusal(() => collect(tar, { maxTotalBytes: 100 }))).toEqual({
      code: 'limit-exceeded',
      facts: {
        entry: 'b',
        cause: 'with it all files have 101 bytes, the limit is 100',
        offset: 1024,
        limit: 'maxTotalBytes',
      },
    })
  })

  it('hold for entries', () => {
    const tar = layer().dir('a').dir('b').build()
    expect(entriesOf(tar, { maxEntries: 2 })).toHaveLength(2)
    expect(refusal(() => collect(tar, { maxEntries: 1 }))).toEqual({
      code: 'limit-exceeded',
      facts: { entry: 'b', cause: 'it is one more entry than the limit of 1', offset: 512 },
    })
  })

  it.each(['x', 'g', 'L', 'K'])('hold for the body of a header of type %s, before it is read', (type) => {
    const header = layer()
      .member({ type, size: MEGABYTE + 1 })
      .buildWithoutEnd()
    expect(refusal(() => collect(header))).toMatchObject({
      code: 'limit-exceeded',
      facts: { cause: `a header of it has ${MEGABYTE + 1} bytes, the limit is ${MEGABYTE}`, offset: 0 },
    })
    const body = type === 'x' || type === 'g' ? '' : 'a'
    expect(
      entriesOf(layer().member({ type, data: body }).dir('d').build(), { maxHeaderBytes: 1 }),
    ).toHaveLength(1)
  })

  it('hold for global headers together', () => {
    const tar = layer()
      .globalPax([['comment', 'x'.repeat(600)]])
      .globalPax([['comment', 'x'.repeat(600)]])
      .build()
    expect(collect(tar, { maxHeaderBytes: 1400 }).members).toEqual([])
    expect(refusal(() => collect(tar, { maxHeaderBytes: 1000 }))).toMatchObject({
      code: 'limit-exceeded',
      facts: { cause: 'the layer has global PAX headers of more than 1000 bytes' },
    })
  })

  it.each(['old', '1.0'] as const)('hold for sparse maps of form %s', (form) => {
    const runs = Array.from({ length: 100 }, (_, i) => [i * 10, 'x'] as const)
    const tar = layer().sparse('s', { size: 1000, runs }, form).build()
    expect(entriesOf(tar, { maxHeaderBytes: 4096 })).toHaveLength(1)
    const four = layer()
    for (let i = 0; i < 4; i++) four.sparse('s', { size: 1000, runs }, form)
    expect(entriesOf(four.build(), { maxHeaderBytes: 4096 })).toHaveLength(4)
    expect(refusal(() => collect(tar, { maxHeaderBytes: 512 }))).toMatchObject({
      code: 'limit-exceeded',
      facts: { entry: 's', cause: 'its sparse map has more than 512 bytes' },
    })
  })

  it('hold for what is no content, the trailer above all', () => {
    const reader = new TarReader(QUIET, { ...DEFAULT_LIMITS, maxTotalBytes: 1000 })
    const zeros = new Uint8Array(16 * MEGABYTE)
    for (let i = 0; i < 4; i++) reader.write(zeros)
    reader.write(zeros.subarray(0, 1000))
    expect(refusal(() => reader.write(zeros.subarray(0, 1)))).toMatchObject({
      code: 'limit-exceeded',
      facts: { cause: `the layer has more than ${64 * MEGABYTE + 1000} bytes that are no content` },
    })
  })

  it('cut names in messages', () => {
    const tar = layer()
      .long('L', 'n'.repeat(MEGABYTE - 1))
      .member({ type: '!' })
      .build()
    expect(String(refusal(() => collect(tar)).facts.entry)).toBe(`${'n'.repeat(1024)}…`)
  })
})
