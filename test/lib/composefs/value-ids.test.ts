import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { ByteString } from '../../../lib/bytes.js'
import { ValueIds } from '../../../lib/composefs/value-ids.js'

/** Ids as a Map would give them. */
function idsByMap(values: readonly string[]): number[] {
  const ids = new Map<string, number>()
  return values.map((value) => {
    if (!ids.has(value)) ids.set(value, ids.size)
    return ids.get(value)!
  })
}

function idsOf(values: readonly string[]): number[] {
  const known: ByteString[] = []
  const ids = new ValueIds(known)
  return (values as ByteString[]).map((value) => {
    const id = ids.idOf(value, known.length)
    if (id === known.length) known.push(value)
    return id
  })
}

describe('ids of values', () => {
  it('are new for new values and the same for the same', () => {
    const value = fc.oneof(fc.string({ maxLength: 20 }), fc.integer({ min: 0, max: 50 }).map(String))
    fc.assert(
      fc.property(fc.array(value, { maxLength: 1000 }), (values) => {
        expect(idsOf(values)).toEqual(idsByMap(values))
      }),
    )
  })

  it('are so for thousands of values that begin alike, too', () => {
    const values = Array.from({ length: 20_000 }, (_, i) => `the same beginning ${(i * 7919) % 15_000}`)
    expect(idsOf(values)).toEqual(idsByMap(values))
  })

  it('are so for values of which some begin alike and some do not', () => {
    const values = Array.from({ length: 30_000 }, (_, i) =>
      i % 3 === 0 ? `alike alike alike ${i % 9000}` : `${(i * 48_271) % 20_011} differs`,
    )
    expect(idsOf(values)).toEqual(idsByMap(values))
  })
})
