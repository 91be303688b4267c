import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { VerityHasher, verityDigest } from '../../../lib/composefs/verity.js'
import { hashBlocksTogether } from '../../../lib/linux/sha256-lanes.js'
import { reference } from '../composefs/verity-reference.js'

const BLOCK = 4096
const isThere = hashBlocksTogether()

it('is there on the processors and Nodes that we know to have it', () => {
  const isKnown = process.arch === 'x64' && process.config.variables.node_shared_openssl !== true
  expect(isThere || !isKnown).toBe(true)
})

describe.skipIf(!isThere)('blocks hashed together (needs x86-64 and the OpenSSL of Node)', () => {
  it('give the digests of the definition, for any number of them and any rest', () => {
    for (let blocks = 0; blocks <= 20; blocks++) {
      for (const rest of [0, 1, BLOCK - 1]) {
        const content = bytes(blocks * BLOCK + rest, blocks)
        expect(verityDigest(content), `${blocks} blocks and ${rest} bytes`).toBe(reference(content))
      }
    }
  })

  it('give them wherever the bytes lie, however they are cut, and in memory that threads share', () => {
    const lengths = fc.array(fc.integer({ min: 1, max: 40 * BLOCK }), { minLength: 1, maxLength: 4 })
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 70 }), lengths, fc.boolean(), (offset, pieces, isShared) => {
        const hasher = new VerityHasher()
        const all: Uint8Array[] = []
        for (const [i, length] of pieces.entries()) {
          const memory = isShared ? new SharedArrayBuffer(offset + length) : new ArrayBuffer(offset + length)
          const piece = new Uint8Array(memory, offset)
          piece.set(bytes(length, i))
          all.push(piece)
          hasher.update(piece)
        }
        expect(hasher.digest()).toBe(reference(Buffer.concat(all)))
      }),
      { numRuns: 40 },
    )
  })

  it('give them on a third level', () => {
    const content = bytes(129 * 128 * BLOCK + 5, 1)
    const hasher = new VerityHasher()
    for (let at = 0; at < content.length; at += 1_000_000) hasher.update(content.subarray(at, at + 1_000_000))
    const expected = reference(content)
    expect(hasher.digest()).toBe(expected)
    expect(verityDigest(content)).toBe(expected)
  })

  it('leave SHA-512 as it was', () => {
    const content = bytes(9 * BLOCK + 3, 2)
    expect(verityDigest(content, 'sha512')).toBe(reference(content, 'sha512'))
  })
})

/** Bytes that differ from block to block. */
function bytes(length: number, seed: number): Buffer {
  const made = Buffer.allocUnsafe(length)
  for (let i = 0, x = seed + 1; i < length; i++, x = (Math.imul(x, 69_069) + 1) >>> 0) made[i] = x >>> 24
  return made
}
