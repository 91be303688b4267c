import { AsyncLocalStorage } from 'node:async_hooks'
import fc from 'fast-check'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { isSyncing, withoutSyncs, withSyncs } from '../../../lib/linux/sync-mode.js'

afterEach(() => {
  expect(isSyncing()).toBe(true)
  vi.restoreAllMocks()
})

describe('syncs of an operation', () => {
  it('are what it says, after it has waited too, however operations begin and end beside each other', async () => {
    const operation = fc.record({
      isSyncing: fc.boolean(),
      startsAt: fc.nat(8),
      turns: fc.nat(8),
      inner: fc.option(fc.boolean(), { nil: null }),
      fails: fc.boolean(),
    })
    await fc.assert(
      fc.asyncProperty(fc.array(operation, { minLength: 1, maxLength: 8 }), async (operations) => {
        const wrong: unknown[] = []
        const note = (expected: boolean, where: string) => {
          if (isSyncing() !== expected) wrong.push({ expected, where })
        }
        await Promise.all(
          operations.map(async ({ isSyncing: mode, startsAt, turns, inner, fails }) => {
            await turnsOf(startsAt)
            const ends = inMode(mode, async () => {
              note(mode, 'at its start')
              for (let i = 0; i < turns; i++) {
                await turnsOf(1)
                note(mode, 'on its way')
              }
              if (inner !== null)
                await inMode(inner, async () => {
                  note(inner, 'in another')
                  await turnsOf(2)
                  note(inner, 'in another, later')
                })
              note(mode, 'at its end')
              if (fails) throw new Error('failed')
            })
            await ends.catch(() => {})
          }),
        )
        expect(wrong).toEqual([])
        expect(isSyncing()).toBe(true)
      }),
      { numRuns: 300 },
    )
  })

  it.each([true, false])('cost no storage while all say the same: %s', async (mode) => {
    const run = vi.spyOn(AsyncLocalStorage.prototype, 'run')
    const one = () => inMode(mode, () => inMode(mode, () => turnsOf(3)))
    await Promise.all([one(), one(), one()])
    await one()
    expect(run).not.toHaveBeenCalled()
  })

  it('are told from those of another operation that says otherwise', async () => {
    const seen: boolean[] = []
    await Promise.all([
      inMode(false, async () => {
        await turnsOf(2)
        seen.push(isSyncing())
      }),
      inMode(true, async () => {
        await turnsOf(1)
        seen.push(isSyncing())
      }),
    ])
    expect(seen).toEqual([true, false])
  })
})

function inMode<T>(isWith: boolean, work: () => Promise<T>): Promise<T> {
  return isWith ? withSyncs(work) : withoutSyncs(work)
}

async function turnsOf(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve))
}
