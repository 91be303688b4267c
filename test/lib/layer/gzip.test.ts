import { randomFillSync } from 'node:crypto'
import { constants, crc32, gzipSync } from 'node:zlib'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type GzipEngine, gunzip, gzipEngines } from '../../../lib/layer/gzip.js'
import { titled } from '../../images/tools.js'

const ENGINES = await gzipEngines()
const TEXT = Buffer.from('what a layer holds, '.repeat(2000))

async function* cut(bytes: Uint8Array, chunkBytes: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += chunkBytes) {
    // Overwritten afterwards, as a source that reads into one buffer would.
    const chunk = Uint8Array.prototype.slice.call(bytes, at, at + chunkBytes)
    yield chunk
    chunk.fill(0xee)
  }
}

async function read(bytes: Uint8Array, chunkBytes: number, engine: GzipEngine): Promise<Buffer | string> {
  const parts: Buffer[] = []
  try {
    for await (const chunk of gunzip(cut(bytes, chunkBytes), engine)) parts.push(Buffer.from(chunk))
    return Buffer.concat(parts)
  } catch (error) {
    return (error as { code: string }).code
  }
}

it('has Node’s own decoder at least', () => {
  expect(ENGINES).toContain('node')
})

describe.each(ENGINES)('gzip, by %s', (engine) => {
  it.each([1, 63, 64, 65, 1000, 1 << 20])('is read in chunks of %i bytes', async (chunkBytes) => {
    expect(await read(gzipSync(TEXT), chunkBytes, engine)).toEqual(TEXT)
  })

  it.each([-1, 0, 1])('is read whole when it is of so many outputs and %i byte', async (more) => {
    for (const level of [0, 6]) {
      const plain = randomFillSync(Buffer.alloc(3 * (1 << 20) + more))
      const found = await read(gzipSync(plain, { level }), 50_000, engine)
      // Not by toEqual, which takes a minute for this.
      expect(typeof found === 'string' ? found : found.equals(plain)).toBe(true)
    }
  })

  it('may have a name, a comment, more fields and a checksum in its header', async () => {
    const plain = gzipSync(TEXT)
    const header = Buffer.from([0x1f, 0x8b, 8, 0x1c, 0, 0, 0, 0, 0, 3, 4, 0, 1, 2, 3, 4])
    const named = Buffer.concat([header, Buffer.from('name\0comment\0'), plain.subarray(10)])
    for (const chunkBytes of [1, 7, 1 << 20]) expect(await read(named, chunkBytes, engine)).toEqual(TEXT)
  })

  it('is refused also when the consumer is slow: what is wrong waits for them', async () => {
    const unhandled: unknown[] = []
    const note = (error: unknown) => unhandled.push(error)
    process.on('unhandledRejection', note)
    try {
      const bytes = gzipSync(randomFillSync(Buffer.alloc(200_000)))
      const reading = async () => {
        for await (const _ of gunzip(cut(bytes.subarray(0, 150_000), 50_000), engine))
          await new Promise((resolve) => setTimeout(resolve, 30))
      }
      await expect(reading()).rejects.toMatchObject({ code: 'compression-invalid' })
    } finally {
      process.off('unhandledRejection', note)
    }
    expect(unhandled).toEqual([])
  })

  it('is refused where a method, a block or a length is wrong', async () => {
    const [method, reserved, length] = [gzipSync(TEXT), gzipSync(TEXT), gzipSync(TEXT)]
    method[2] = 7
    reserved[10]! |= 0x07 // the last block, of the type that there is not
    length[length.length - 1]! ^= 1
    for (const bytes of [method, reserved, length])
      expect(await read(bytes, 100, engine)).toBe('compression-invalid')
  })
})

/** The same member with another header. @param hcrc whether to have a checksum of the header, and a right one */
function withHeader(member: Buffer, flags: number, hcrc: 'none' | 'right' | 'wrong'): Buffer {
  const [extra, name, comment] = [(flags & 4) !== 0, (flags & 8) !== 0, (flags & 16) !== 0]
  const header = Buffer.concat([
    Buffer.from([0x1f, 0x8b, 8, (flags & ~2) | (hcrc === 'none' ? 0 : 2), 1, 2, 3, 4, 0, 3]),
    Buffer.from(extra ? [3, 0, 9, 9, 9] : []),
    Buffer.from(name ? 'a name\0' : ''),
    Buffer.from(comment ? 'a comment\0' : ''),
  ])
  const sum = Buffer.alloc(hcrc === 'none' ? 0 : 2)
  if (hcrc !== 'none') sum.writeUInt16LE((crc32(header) & 0xffff) ^ (hcrc === 'wrong' ? 1 : 0))
  return Buffer.concat([header, sum, member.subarray(10)])
}

const why = ENGINES.length < 2 ? 'needs libisal2' : null
describe.skipIf(why !== null)(titled('all decoders', why), () => {
  it('read the same, or refuse the same', async () => {
    const members = fc.array(
      fc.record({
        plain: fc.oneof(fc.uint8Array({ maxLength: 300 }), fc.constant(TEXT.subarray(0, 5000))),
        level: fc.constantFrom(0, 1, 6, 9),
        strategy: fc.constantFrom(constants.Z_DEFAULT_STRATEGY, constants.Z_FIXED, constants.Z_HUFFMAN_ONLY),
        flags: fc.oneof(fc.constant(0), fc.constant(0), fc.nat(255)),
        hcrc: fc.constantFrom('none' as const, 'none' as const, 'right' as const, 'wrong' as const),
      }),
      { minLength: 1, maxLength: 4 },
    )
    const damage = fc.option(fc.record({ at: fc.nat(), bit: fc.nat(7) }), { nil: null })
    const end = fc.oneof(
      fc.constant('whole' as const),
      fc.record({ cut: fc.nat(40) }),
      fc.uint8Array({ maxLength: 20 }),
    )
    await fc.assert(
      fc.asyncProperty(
        members,
        damage,
        end,
        fc.integer({ min: 1, max: 200 }),
        async (all, fault, ending, chunk) => {
          let bytes = Buffer.concat(
            all.map(({ plain, level, strategy, flags, hcrc }) =>
              withHeader(gzipSync(plain, { level, strategy }), flags, hcrc),
            ),
          )
          if (ending instanceof Uint8Array) bytes = Buffer.concat([bytes, ending])
          else if (ending !== 'whole') bytes = bytes.subarray(0, Math.max(1, bytes.length - ending.cut))
          if (fault !== null) bytes[fault.at % bytes.length]! ^= 1 << fault.bit
          const [first, ...others] = await Promise.all(ENGINES.map((engine) => read(bytes, chunk, engine)))
          for (const other of others) expect(other).toEqual(first)
        },
      ),
      { numRuns: 600 },
    )
  })
})
