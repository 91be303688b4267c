import { execFileSync } from 'node:child_process'
import { createHash, randomFillSync } from 'node:crypto'
import { gzipSync } from 'node:zlib'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { GrootError } from '../../../lib/errors.js'
import { type Compression, decompress, detectCompression } from '../../../lib/layer/decompress.js'
import { unzstd, zstdEngines } from '../../../lib/layer/zstd.js'
import { ZstdFrames } from '../../../lib/layer/zstd-frames.js'

const TEXT = Buffer.from('what a layer holds, '.repeat(2000))
const GZIP = gzipSync(TEXT)
const ENGINES = await zstdEngines()

/** Cuts bytes into chunks and keeps count of what the reader did. */
function source(bytes: Uint8Array, chunkBytes = 64 * 1024) {
  const state = { given: 0, ended: false }
  async function* chunks() {
    try {
      for (let at = 0; at < bytes.length; at += chunkBytes) {
        // Overwritten afterwards, as a source that reads into one buffer would.
        const chunk = Uint8Array.prototype.slice.call(bytes, at, at + chunkBytes)
        state.given += chunk.length
        yield chunk
        chunk.fill(0xee)
      }
    } finally {
      state.ended = true
    }
  }
  return { state, chunks: chunks() }
}

async function collect(chunks: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const parts: Buffer[] = []
  for await (const chunk of chunks) {
    if (chunk.length === 0) throw new Error('an empty chunk was given')
    parts.push(Buffer.from(chunk))
  }
  return Buffer.concat(parts)
}

async function failure(chunks: AsyncIterable<Uint8Array>): Promise<{ code: string; facts: unknown }> {
  const error = await collect(chunks).then(
    () => null,
    (thrown: unknown) => thrown,
  )
  expect(error).toBeInstanceOf(GrootError)
  const { code, facts } = error as GrootError
  return { code, facts }
}

const unpack = (bytes: Uint8Array, declared: Compression | null = null, chunkBytes?: number) =>
  decompress(source(bytes, chunkBytes).chunks, declared)

/** A frame of raw blocks, written by hand (RFC 8878 3.1.1) so that the tests need no compressor. */
function frame(
  content: Uint8Array,
  options: { blockBytes?: number; window?: number; checksum?: Uint8Array } = {},
) {
  const { blockBytes = 1000, window = 0x40, checksum } = options
  const parts = [Buffer.from([0x28, 0xb5, 0x2f, 0xfd, checksum === undefined ? 0 : 4, window])]
  for (let at = 0; at === 0 || at < content.length; at += blockBytes) {
    const block = content.subarray(at, at + blockBytes)
    const last = at + blockBytes >= content.length ? 1 : 0
    const header = Buffer.alloc(3)
    header.writeUIntLE((block.length << 3) | last, 0, 3)
    parts.push(header, Buffer.from(block))
  }
  if (checksum !== undefined) parts.push(Buffer.from(checksum))
  return Buffer.concat(parts)
}

function skippable(bytes: number, kind = 0): Buffer {
  const part = Buffer.alloc(8 + bytes, 0x28)
  part.writeUInt32LE(0x184d2a50 + kind, 0)
  part.writeUInt32LE(bytes, 4)
  return part
}

/** One block of four bytes that stands for 128 KiB, `blocks` times. */
function bomb(blocks: number): Buffer {
  const parts = [Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0, 0x58])]
  const block = (last: number) => {
    const bytes = Buffer.alloc(4)
    bytes.writeUIntLE((131072 << 3) | 2 | last, 0, 3)
    return bytes
  }
  for (let n = 1; n < blocks; n++) parts.push(block(0))
  parts.push(block(1))
  return Buffer.concat(parts)
}

describe('detectCompression', () => {
  it.each<[string, number[], Compression]>([
    ['gzip', [0x1f, 0x8b, 8, 0], 'gzip'],
    ['a zstd frame', [0x28, 0xb5, 0x2f, 0xfd], 'zstd'],
    ['a skippable zstd frame', [0x5f, 0x2a, 0x4d, 0x18], 'zstd'],
    ['the name of a first member', [0x65, 0x74, 0x63, 0x2f], 'none'],
    ['the end of an empty tar', [0, 0, 0, 0], 'none'],
    ['three bytes of zstd', [0x28, 0xb5, 0x2f], 'none'],
    ['nothing', [], 'none'],
  ])('tells %s', (_, head, compression) => {
    expect(detectCompression(Uint8Array.from(head))).toBe(compression)
  })
})

describe('decompress', () => {
  it('passes plain content through unchanged', async () => {
    expect(await collect(unpack(TEXT, 'none'))).toEqual(TEXT)
    expect(await collect(unpack(TEXT, null, 1))).toEqual(TEXT)
    expect(await collect(unpack(Buffer.alloc(0), 'none'))).toEqual(Buffer.alloc(0))
  })

  it.each([1, 2, 3, 7, 1000, 1 << 20])('reads gzip in chunks of %i bytes', async (chunkBytes) => {
    expect(await collect(unpack(GZIP, 'gzip', chunkBytes))).toEqual(TEXT)
  })

  it('reads gzip of many members, wherever the chunks are cut', async () => {
    const parts = ['one, ', '', 'two, ', 'three'].map((text) => gzipSync(text))
    for (let chunkBytes = 1; chunkBytes < 50; chunkBytes++) {
      expect((await collect(unpack(Buffer.concat(parts), 'gzip', chunkBytes))).toString()).toBe(
        'one, two, three',
      )
    }
  })

  it.each<[Compression, Compression, Buffer]>([
    ['gzip', 'none', TEXT],
    ['gzip', 'zstd', frame(TEXT)],
    ['zstd', 'none', TEXT],
    ['zstd', 'gzip', GZIP],
    ['none', 'gzip', GZIP],
    ['none', 'zstd', frame(TEXT)],
    ['gzip', 'none', Buffer.alloc(0)],
  ])('refuses what was declared as %s and is %s, and ends the source', async (declared, found, bytes) => {
    const { state, chunks } = source(bytes)
    expect(await failure(decompress(chunks, declared))).toEqual({
      code: 'compression-invalid',
      facts: { declared, found },
    })
    expect(state.ended).toBe(true)
  })

  it('refuses gzip that is cut, at every length', async () => {
    const small = Buffer.concat([gzipSync('first'), gzipSync('second')])
    const whole = [gzipSync('first').length, small.length]
    for (let length = 2; length < small.length; length++) {
      if (whole.includes(length)) continue
      const { code, facts } = await failure(unpack(small.subarray(0, length)))
      expect({ code, facts }).toEqual({
        code: 'compression-invalid',
        facts: { compression: 'gzip', reason: 'it is cut', bytes: length },
      })
    }
  })

  it.each([
    ['text', Buffer.from('and more')],
    ['zeros', Buffer.alloc(512)],
    ['one zero', Buffer.alloc(1)],
    ['zeros and another member', Buffer.concat([Buffer.alloc(3), GZIP])],
    ['zstd', frame(TEXT)],
  ])('refuses %s behind gzip, in the same chunk or in another', async (_, more) => {
    for (const chunkBytes of [1, GZIP.length, 1 << 20]) {
      const { code } = await failure(unpack(Buffer.concat([GZIP, more]), 'gzip', chunkBytes))
      expect(code).toBe('compression-invalid')
    }
  })

  it('refuses gzip with a wrong checksum', async () => {
    const damaged = Buffer.from(GZIP)
    damaged[damaged.length - 5]! ^= 1
    expect(await failure(unpack(damaged))).toEqual({
      code: 'compression-invalid',
      facts: { compression: 'gzip', reason: 'incorrect data check', bytes: damaged.length },
    })
  })

  it.each<[string, Buffer]>([
    ['plain', TEXT],
    ['gzip', GZIP],
    ['zstd', frame(TEXT)],
  ])('passes on what the source of %s throws', async (_, bytes) => {
    const cause = new Error('the line broke')
    async function* broken() {
      yield bytes.subarray(0, 100)
      throw cause
    }
    await expect(collect(decompress(broken(), null))).rejects.toBe(cause)
  })

  it.each<[string, Buffer]>([
    ['plain', randomFillSync(Buffer.alloc(1 << 20))],
    ['gzip', gzipSync(randomFillSync(Buffer.alloc(1 << 20)))],
    ['zstd', frame(randomFillSync(Buffer.alloc(1 << 20)))],
  ])('ends the source when the reader of %s leaves early', async (_, bytes) => {
    const { state, chunks } = source(bytes, 1000)
    for await (const _chunk of decompress(chunks, null)) break
    expect(state.ended).toBe(true)
    expect(state.given).toBeLessThan(bytes.length)
  })

  it('does not wait for a source that is silent when the reader leaves', async () => {
    let wake = () => {}
    async function* silent() {
      yield GZIP.subarray(0, GZIP.length - 100)
      await new Promise<void>((resolve) => {
        wake = resolve
      })
    }
    for await (const _chunk of decompress(silent(), 'gzip')) break
    wake()
  })

  it('holds a few chunks of a bomb, no more', async () => {
    const plain = 256 * 1024 * 1024
    const member = gzipSync(Buffer.alloc(16 * 1024 * 1024))
    for (const bytes of [
      Buffer.concat(Array(plain / (16 * 1024 * 1024)).fill(member)),
      bomb(plain / 131072),
    ]) {
      let most = 0
      let total = 0
      const before = process.memoryUsage().arrayBuffers
      for await (const chunk of unpack(bytes)) {
        total += chunk.length
        if (total % (32 * 1024 * 1024) < chunk.length) {
          global.gc?.()
          await new Promise((resolve) => setTimeout(resolve, 1))
        }
        expect(chunk.length).toBeLessThanOrEqual(1024 * 1024)
        most = Math.max(most, process.memoryUsage().arrayBuffers - before)
      }
      expect(total).toBe(plain)
      expect(most).toBeLessThan(200 * 1024 * 1024)
    }
  })
})

describe.each(ENGINES)('zstd by %s', (engine) => {
  const plain = (bytes: Uint8Array, chunkBytes?: number) => unzstd(source(bytes, chunkBytes).chunks, engine)

  it.each([1, 2, 3, 5, 1000, 1 << 20])('reads many frames in chunks of %i bytes', async (chunkBytes) => {
    const text = TEXT.subarray(0, chunkBytes * 3000)
    const parts = [
      skippable(0),
      frame(text),
      frame(Buffer.alloc(0)),
      skippable(3000, 7),
      frame(text),
      skippable(1, 15),
    ]
    const found = await collect(plain(Buffer.concat(parts), chunkBytes))
    expect(found.equals(Buffer.concat([text, text]))).toBe(true)
  })

  it('refuses a stream that is cut, at every length', async () => {
    const parts = [frame(Buffer.from('first')), skippable(4), frame(Buffer.from('second'))]
    const all = Buffer.concat(parts)
    const whole = parts.map((_, n) => Buffer.concat(parts.slice(0, n + 1)).length)
    for (let length = 1; length < all.length; length++) {
      if (whole.includes(length)) continue
      expect(await failure(plain(all.subarray(0, length)))).toEqual({
        code: 'compression-invalid',
        facts: { compression: 'zstd', reason: 'it is cut', bytes: length },
      })
    }
  })

  it('refuses other bytes behind a frame, in the same chunk or in another', async () => {
    const bytes = Buffer.concat([frame(TEXT.subarray(0, 3000)), Buffer.from('more')])
    const offset = bytes.length - 4
    for (const chunkBytes of [1, offset, 1 << 20]) {
      expect(await failure(plain(bytes, chunkBytes))).toEqual({
        code: 'compression-invalid',
        facts: {
          compression: 'zstd',
          reason: `bytes that are not zstd follow at offset ${offset}`,
          bytes: offset,
        },
      })
    }
  })

  it('refuses a window of more than 128 MiB', async () => {
    expect(await failure(plain(frame(TEXT, { window: (17 << 3) | 1 })))).toEqual({
      code: 'limit-exceeded',
      facts: { compression: 'zstd', what: 'window', limit: 128 * 1024 * 1024 },
    })
    expect((await collect(plain(frame(TEXT, { window: 17 << 3 })))).equals(TEXT)).toBe(true)
  })

  it('refuses a single segment of more than 128 MiB', async () => {
    const bytes = Buffer.concat([
      Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0xe0]),
      Buffer.alloc(8, 0x10),
      Buffer.alloc(9),
    ])
    expect((await failure(plain(bytes))).code).toBe('limit-exceeded')
  })

  it.each<[string, Buffer]>([
    ['a dictionary', Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 1, 0x40, 7, 1, 0, 0])],
    ['a reserved bit', Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 8, 0x40, 1, 0, 0])],
    ['a reserved block', Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0, 0x40, 7, 0, 0])],
    ['a block of more than 128 KiB', Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0, 0x78, 3, 0, 0xff])],
    [
      'a compressed block of nonsense',
      Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0, 0x40, 0x2d, 0, 0, 255, 255, 255, 255, 255]),
    ],
  ])('refuses %s', async (_, bytes) => {
    expect((await failure(plain(bytes))).code).toBe('compression-invalid')
  })

  it('gives a bomb in chunks of 1 MiB or less', async () => {
    let total = 0
    for await (const chunk of plain(bomb(800))) {
      expect(chunk.length).toBeLessThanOrEqual(1024 * 1024)
      total += chunk.length
    }
    expect(total).toBe(800 * 131072)
  })

  it('refuses a wrong checksum', async () => {
    const bytes = frame(TEXT, { checksum: Buffer.from([1, 2, 3, 4]) })
    expect((await failure(plain(bytes))).code).toBe('compression-invalid')
  })
})

describe('zstd', () => {
  it('is cut into pieces that hold all frames and end where they end, wherever the chunks are cut', () => {
    const part = fc.oneof(
      fc.record({ skip: fc.nat(40), kind: fc.nat(15) }),
      fc.record({
        content: fc.uint8Array({ maxLength: 60 }),
        blockBytes: fc.integer({ min: 1, max: 30 }),
        checksum: fc.boolean(),
      }),
    )
    fc.assert(
      fc.property(
        fc.array(part, { maxLength: 6 }),
        fc.array(fc.integer({ min: 1, max: 30 })),
        (parts, cuts) => {
          const frames: Buffer[] = []
          const all = parts.map((one) => {
            if ('skip' in one) return skippable(one.skip, one.kind)
            const { content, blockBytes, checksum } = one
            frames.push(
              frame(content, { blockBytes, ...(checksum ? { checksum: Buffer.alloc(4, 0x28) } : {}) }),
            )
            return frames.at(-1)!
          })
          const ends = new Set(frames.map((_, n) => Buffer.concat(frames.slice(0, n + 1)).length))
          const walker = new ZstdFrames()
          const pieces: Buffer[] = []
          let rest = Buffer.concat(all)
          for (let n = 0; rest.length > 0; n++) {
            const length = cuts[n] ?? 25
            for (const piece of walker.split(rest.subarray(0, length))) pieces.push(Buffer.from(piece))
            rest = rest.subarray(length)
          }
          walker.finish()
          expect(Buffer.concat(pieces)).toEqual(Buffer.concat(frames))
          let at = 0
          const cutsMade = new Set<number>()
          for (const piece of pieces) {
            at += piece.length
            cutsMade.add(at)
          }
          for (const end of ends) expect(cutsMade).toContain(end)
          expect(pieces.every((piece) => piece.length > 0)).toBe(true)
        },
      ),
    )
  })

  const hasZstd = (() => {
    try {
      execFileSync('zstd', ['--version'], { stdio: 'ignore' })
      return true
    } catch {
      return false
    }
  })()

  it.skipIf(!hasZstd)('agrees with the zstd command, every decoder (needs zstd)', async () => {
    const noise = randomFillSync(Buffer.alloc(300_000))
    const plain = Buffer.concat([TEXT, noise, TEXT, noise, Buffer.alloc(3_000_000)])
    const wanted = createHash('sha256').update(plain).digest('hex')
    for (const level of ['-1', '-12', '-19', '--long=27']) {
      const packed = execFileSync('zstd', [level, '-c', '-q'], { input: plain, maxBuffer: 1 << 28 })
      for (const engine of ENGINES) {
        const hash = createHash('sha256')
        for await (const chunk of unzstd(source(packed, 12_345).chunks, engine)) hash.update(chunk)
        expect([engine, level, hash.digest('hex')]).toEqual([engine, level, wanted])
      }
    }
  })
})
