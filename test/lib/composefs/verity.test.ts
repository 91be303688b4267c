import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { imageFsVerity, VerityHasher, verityDigest } from '../../../lib/composefs/verity.js'
import { reference } from './verity-reference.js'

const BLOCK = 4096

function pattern(length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => (i * 31 + (i >> 8)) & 0xff)
}

describe('fs-verity digests', () => {
  it.each([0, 1, 64, 4095, 4096, 4097, 8192, 128 * 4096, 128 * 4096 + 1, 129 * 4096, 3 * 128 * 4096 + 17])(
    'of %d bytes follow the definition, whole and streamed',
    (length) => {
      const content = pattern(length)
      const expected = reference(content)
      expect(verityDigest(content)).toBe(expected)
      const hasher = new VerityHasher()
      for (let at = 0; at < length; at += 1000) hasher.update(content.subarray(at, at + 1000))
      expect(hasher.digest()).toBe(expected)
    },
  )

  it('goes to a third level where 128 * 128 blocks are passed', () => {
    const content = Buffer.alloc(128 * 128 * BLOCK + 5, 7)
    expect(verityDigest(content)).toBe(reference(content))
  })

  it.each([0, 1, 4096, 4097, 64 * 4096, 64 * 4096 + 1, 64 * 64 * 4096 + 7])(
    'with SHA-512, of %d bytes, follow it too',
    (length) => {
      const content = pattern(length)
      expect(verityDigest(content, 'sha512')).toBe(reference(content, 'sha512'))
      expect(imageFsVerity([content.subarray(0, 777), content.subarray(777)], 'sha512')).toBe(
        reference(content, 'sha512'),
      )
    },
  )

  it('gives the same digest however the content is cut', () => {
    const parts = fc.array(fc.uint8Array({ minLength: 0, maxLength: 9000 }), { maxLength: 8 })
    fc.assert(
      fc.property(parts, (chunks) => {
        const hasher = new VerityHasher()
        for (const chunk of chunks) hasher.update(chunk)
        expect(hasher.digest()).toBe(reference(Buffer.concat(chunks)))
      }),
      { numRuns: 60 },
    )
  })

  it('takes holes for zero bytes', () => {
    const piece = fc.oneof(fc.nat({ max: 20_000 }), fc.uint8Array({ maxLength: 6000 }))
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 6 }), (pieces) => {
        const hasher = new VerityHasher()
        for (const each of pieces) {
          if (typeof each === 'number') hasher.updateZeros(each)
          else hasher.update(each)
        }
        const whole = Buffer.concat(
          pieces.map((each) => (typeof each === 'number' ? Buffer.alloc(each) : each)),
        )
        expect(hasher.digest()).toBe(reference(whole))
      }),
      { numRuns: 60 },
    )
  })

  const hasTool = spawnSync('fsverity', ['--version']).status === 0
  it.skipIf(!hasTool)('equals what the fsverity tool prints (needs the fsverity package)', () => {
    const directory = mkdtempSync(join(tmpdir(), 'groot-verity-'))
    try {
      for (const length of [1, 4096, 600_000]) {
        const file = join(directory, `f${length}`)
        writeFileSync(file, pattern(length))
        const printed = execFileSync('fsverity', ['digest', '--compact', file], { encoding: 'utf8' }).trim()
        expect(verityDigest(pattern(length))).toBe(printed)
      }
    } finally {
      rmSync(directory, { recursive: true })
    }
  })
})
