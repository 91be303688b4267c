import { createHash, randomBytes } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { StreamHash } from '../../../lib/layer/stream-hash.js'
import { loadLibcrypto } from '../../../lib/linux/libcrypto.js'

const library = await loadLibcrypto()

describe.each([
  ['the OpenSSL of Node, on its thread pool', library],
  ['node:crypto', null],
])('the digest of a stream, by %s', (_name, by) => {
  it('is that of all its bytes', async () => {
    const sizes = fc.array(fc.oneof(fc.integer({ min: 0, max: 300 }), fc.integer({ min: 0, max: 400_000 })), {
      maxLength: 12,
    })
    await fc.assert(
      fc.asyncProperty(
        sizes,
        fc.constantFrom('sha256' as const, 'sha512' as const),
        async (lengths, algorithm) => {
          await using hash = await StreamHash.of(algorithm, by)
          const expected = createHash(algorithm)
          for (const length of lengths) {
            const chunk = randomBytes(length)
            expected.update(chunk)
            hash.update(chunk)
            await hash.ready()
            chunk.fill(0) // ours again
          }
          expect(await hash.digest()).toBe(expected.digest('hex'))
        },
      ),
      { numRuns: 60 },
    )
  })

  it('can be left in the middle', async () => {
    const hash = await StreamHash.of('sha256', by)
    hash.update(Buffer.alloc(1_000_000))
    await hash[Symbol.asyncDispose]()
    await hash[Symbol.asyncDispose]()
  })
})
