import { describe, expect, it } from 'vitest'
import { byteString } from '../../../lib/bytes.js'
import { xxh32 } from '../../../lib/composefs/xxh32.js'

describe('xxh32', () => {
  // The values that the algorithm's own description and its reference library give.
  it.each([
    ['', 0, 0x02cc5d05],
    ['', 1, 0x0b2cb792],
    ['a', 0, 0x550d7456],
    ['abc', 0, 0x32d153ff],
    ['Nobody inspects the spammish repetition', 0, 0xe2293b2f],
  ])('of %j with seed %d is the published value', (text, seed, expected) => {
    expect(xxh32(byteString(text), seed) >>> 0).toBe(expected)
  })
})
