import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { backoffMs, DEFAULT_RETRY, parseRetryAfter, SYSTEM_CLOCK } from '../../../lib/registry/retry.js'

const NOW = Date.UTC(2026, 5, 1, 12, 0, 0)

describe('Retry-After', () => {
  it.each([
    ['0', 0],
    ['7', 7_000],
    ['120', 120_000],
    ['999999999', 999_999_999_000],
    ['Mon, 01 Jun 2026 12:00:30 GMT', 30_000],
    ['Monday, 01-Jun-26 12:01:00 GMT', 60_000],
    ['Mon Jun  1 12:00:05 2026', 5_000],
    ['Mon, 01 Jun 2026 11:59:59 GMT', 0],
    ['', null],
    ['-1', null],
    ['1.5', null],
    ['1e9', null],
    [' 5', null],
    ['10000000000', 1e13],
    ['9'.repeat(400), Number.MAX_SAFE_INTEGER],
    ['soon', null],
    ['Mon, 01 Jun 2026 12:00:30 CET', null],
    ['2026-06-01T12:00:30Z', null],
  ])('%j is %s ms', (text, expected) => {
    expect(parseRetryAfter(text, null, NOW)).toBe(expected)
  })

  it('is not there when the header is not', () => {
    expect(parseRetryAfter(null, null, NOW)).toBeNull()
  })

  it('as a date counts from the Date of the answer, because clocks differ', () => {
    const until = 'Mon, 01 Jun 2026 09:00:10 GMT'
    expect(parseRetryAfter(until, 'Mon, 01 Jun 2026 09:00:00 GMT', NOW)).toBe(10_000)
    expect(parseRetryAfter(until, 'yesterday', NOW)).toBe(0)
  })
})

describe('back-off', () => {
  it('doubles up to a limit, and is between half and all of it', () => {
    const waits = (chance: number) =>
      [1, 2, 3, 4, 5, 6, 7, 50].map((round) => backoffMs(DEFAULT_RETRY, round, () => chance))
    expect(waits(0)).toEqual([250, 500, 1000, 2000, 4000, 7500, 7500, 7500])
    expect(waits(1)).toEqual([500, 1000, 2000, 4000, 8000, 15_000, 15_000, 15_000])
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 1000 }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        (round, chance) => {
          const wait = backoffMs(DEFAULT_RETRY, round, () => chance)
          expect(wait).toBeGreaterThanOrEqual(DEFAULT_RETRY.firstWaitMs / 2)
          expect(wait).toBeLessThanOrEqual(DEFAULT_RETRY.maxWaitMs)
        },
      ),
    )
  })
})

describe('waiting', () => {
  it('takes its time, and ends at once for who gives up', async () => {
    const giving = new AbortController()
    const began = performance.now()
    await SYSTEM_CLOCK.sleep(30, giving.signal)
    expect(performance.now() - began).toBeGreaterThanOrEqual(28)
    const waiting = SYSTEM_CLOCK.sleep(60_000, giving.signal)
    giving.abort()
    await expect(waiting).rejects.toMatchObject({ code: 'aborted' })
    await expect(SYSTEM_CLOCK.sleep(0, giving.signal)).rejects.toMatchObject({ code: 'aborted' })
  })
})
