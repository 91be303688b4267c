/** Damaged and hostile archives: the reader and the policy end with an answer or with one of groot's errors, and soon. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { isGrootError } from '../../../lib/errors.js'
import { DEFAULT_LIMITS } from '../../../lib/layer/limits.js'
import { applyPolicy } from '../../../lib/layer/policy.js'
import { layer, paxBody } from '../../../lib/testkit/layer.js'
import { NO_CONTENT } from '../../../lib/tree/model.js'
import { type Collected, collect } from './collect.js'

const SEED = Buffer.from(
  layer()
    .globalPax([
      ['mtime', '7.5'],
      ['comment', 'x'],
    ])
    .dir('a')
    .file('a/one', 'x'.repeat(700), { xattrs: { 'user.a': 'b', 'trusted.b': 'c' }, mtimeNanoseconds: 5 })
    .long('K', 'k'.repeat(300))
    .long('L', 'n'.repeat(300))
    .member({ name: 'cut', type: '2', magic: 'gnu', link: 'cut' })
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
    .sparse('s4', { size: 5000, runs: [[0, 'start']] }, '0.0')
    .hardlink('hard', 'a/one')
    .char('null', 1, 3)
    .whiteout('a/gone')
    .build(),
)
const LIMITS = { ...DEFAULT_LIMITS, maxFileBytes: 1_000_000, maxTotalBytes: 10_000_000, maxEntries: 1000 }

/** Reads an archive and checks what holds for any. */
function readAny(tar: Uint8Array, cuts: readonly number[] = []): string {
  let collected: Collected
  try {
    collected = collect(tar, LIMITS, cuts)
  } catch (thrown) {
    if (!isGrootError(thrown)) throw thrown
    expect(['tar-invalid', 'entry-refused', 'limit-exceeded']).toContain(thrown.code)
    expect(thrown.facts).toMatchObject({
      entry: expect.any(String),
      cause: expect.any(String),
      offset: expect.any(Number),
    })
    expect(thrown.facts.offset).toBeLessThanOrEqual(tar.length)
    return `${thrown.code}: ${thrown.message}`
  }
  expect(collected.all.equals(tar)).toBe(true)
  for (const { entry, content } of collected.members) {
    const stored = entry.sparse === null ? entry.size : entry.sparse.reduce((sum, run) => sum + run.length, 0)
    expect(content.length).toBe(stored)
    expect(entry.size).toBeLessThanOrEqual(LIMITS.maxFileBytes)
    try {
      applyPolicy(entry, NO_CONTENT, LIMITS)
    } catch (thrown) {
      if (!isGrootError(thrown)) throw thrown
      expect(['entry-refused', 'limit-exceeded']).toContain(thrown.code)
    }
  }
  return 'read'
}

/** Makes the checksums of all header-like blocks right again, so that damage gets past them. */
function mendChecksums(tar: Buffer): Buffer {
  for (let at = 0; at + 512 <= tar.length; at += 512) {
    if (tar.toString('latin1', at + 257, at + 262) !== 'ustar') continue
    tar.fill(' ', at + 148, at + 156)
    let sum = 0
    for (let i = at; i < at + 512; i++) sum += tar[i]!
    tar.write(`${sum.toString(8).padStart(6, '0')}\0 `, at + 148, 'latin1')
  }
  return tar
}

const byte = fc.oneof(
  fc.nat(255),
  fc.constantFrom(0, 0x20, 0x2f, 0x30, 0x37, 0x39, 0x80, 0xff, 0x0a, 0x3d, 0x2e),
)

describe('a damaged archive', () => {
  it('is read or refused: flipped bytes', () => {
    const damage = fc.array(fc.tuple(fc.nat(SEED.length - 1), byte), { minLength: 1, maxLength: 8 })
    fc.assert(
      fc.property(damage, (changes) => {
        const tar = Buffer.from(SEED)
        for (const [at, value] of changes) tar[at] = value
        readAny(tar)
      }),
      { numRuns: 300 },
    )
  })

  it('is read or refused: flipped bytes behind right checksums', () => {
    let read = 0
    let refused = 0
    const fields = fc.constantFrom(
      0,
      1,
      100,
      107,
      108,
      116,
      124,
      130,
      135,
      136,
      156,
      157,
      257,
      263,
      329,
      345,
      386,
      482,
      483,
    )
    const place = fc.oneof(
      fc.nat(SEED.length - 1),
      fc.tuple(fc.nat(SEED.length / 512 - 1), fields).map(([block, field]) => block * 512 + field),
    )
    fc.assert(
      fc.property(fc.array(fc.tuple(place, byte), { minLength: 1, maxLength: 4 }), (changes) => {
        const tar = Buffer.from(SEED)
        for (const [at, value] of changes) tar[at] = value
        if (readAny(mendChecksums(tar)) === 'read') read++
        else refused++
      }),
      { numRuns: 600 },
    )
    // Otherwise the test would not show anything of either.
    expect(read).toBeGreaterThan(20)
    expect(refused).toBeGreaterThan(20)
  })

  it('is read or refused: blocks left out, doubled and swapped', () => {
    const count = SEED.length / 512
    fc.assert(
      fc.property(fc.array(fc.nat(count - 1), { maxLength: 40 }), fc.nat(count), (order, from) => {
        const moved = order.map((block) => SEED.subarray(block * 512, block * 512 + 512))
        readAny(Buffer.concat([SEED.subarray(0, from * 512), ...moved, SEED.subarray(from * 512)]))
      }),
      { numRuns: 300 },
    )
  })

  it('says the same however it is cut into chunks', () => {
    const cuts = fc.array(fc.integer({ min: 1, max: 900 }), { maxLength: 40 })
    fc.assert(
      fc.property(fc.nat(SEED.length - 1), byte, cuts, (at, value, lengths) => {
        const tar = Buffer.from(SEED)
        tar[at] = value
        mendChecksums(tar)
        expect(readAny(tar, lengths)).toBe(readAny(tar))
      }),
      { numRuns: 300 },
    )
  })
})

describe('a hostile archive', () => {
  const keys = fc.constantFrom(
    'path',
    'linkpath',
    'size',
    'uid',
    'mtime',
    'SCHILY.devmajor',
    'SCHILY.xattr.user.x',
    'LIBARCHIVE.xattr.user.y',
    'GNU.sparse.major',
    'GNU.sparse.minor',
    'GNU.sparse.size',
    'GNU.sparse.realsize',
    'GNU.sparse.numblocks',
    'GNU.sparse.offset',
    'GNU.sparse.numbytes',
    'GNU.sparse.map',
    'GNU.sparse.name',
  )
  const values = fc.oneof(
    fc.constantFrom(
      '',
      '0',
      '1',
      '-1',
      '512',
      '1e9',
      '9007199254740991',
      '99999999999999999999',
      '0,1',
      '1.5',
      '..',
      '\0',
      '/',
    ),
    fc.string({ maxLength: 20 }),
  )

  it('is read or refused: any PAX records on any type', () => {
    const type = fc.constantFrom('0', '1', '2', '3', '5', 'S', 'g', 'x', 'L')
    fc.assert(
      fc.property(
        fc.array(fc.tuple(keys, values), { maxLength: 6 }),
        type,
        fc.nat(1200),
        (records, letter, length) => {
          const data = 'x'.repeat(length)
          readAny(
            layer().pax(records).member({ name: 'a', type: letter, magic: 'gnu', link: 'b', data }).build(),
          )
        },
      ),
      { numRuns: 500 },
    )
  })

  it('is read or refused: any text as PAX body', () => {
    const alphabet = fc.constantFrom(...'0123456789 =\n\0pathsize-.')
    fc.assert(
      fc.property(fc.array(alphabet, { maxLength: 60 }), (body) => {
        readAny(
          layer()
            .member({ type: 'x', data: body.join('') })
            .member({ name: 'a' })
            .build(),
        )
      }),
      { numRuns: 300 },
    )
  })

  it('does not take long, whatever it is made for', () => {
    const million = 1_000_000
    const bodies = [
      paxBody([['GNU.sparse.map', '0,'.repeat(million / 2)]]),
      paxBody(Array.from({ length: 40_000 }, (_, i) => [`SCHILY.xattr.user.${i}`, ''] as const)),
      paxBody([['LIBARCHIVE.xattr.user.x', '='.repeat(million)]]),
      paxBody([[`LIBARCHIVE.xattr.${'%'.repeat(million)}`, '']]),
      paxBody([['mtime', `-${'9'.repeat(million)}`]]),
      paxBody([['mtime', `0.${'0'.repeat(million)}1`]]),
      paxBody([['size', '1'.repeat(million)]]),
      Buffer.from('1'.repeat(million)),
      paxBody([['path', '/'.repeat(million)]]),
      paxBody([['path', '../'.repeat(million / 3)]]),
      paxBody([['path', 'a/'.repeat(million / 2)]]),
    ]
    const started = performance.now()
    for (const body of bodies)
      readAny(layer().member({ type: 'x', data: body }).member({ name: 'a' }).build())
    expect(performance.now() - started).toBeLessThan(5000)
  })
})
