import { setImmediate } from 'node:timers/promises'
import { beforeEach, describe, expect, it } from 'vitest'
import type { Lock } from '../../../lib/locks/locks.js'
import { SharedHold } from '../../../lib/locks/shared-hold.js'

let [taken, held, failure]: [number, number, Error | null] = [0, 0, null]
beforeEach(() => {
  taken = held = 0
  failure = null
})

/** A lock that takes a while to be had. */
async function take(): Promise<Lock> {
  await setImmediate()
  if (failure !== null) throw failure
  taken++
  held++
  const release = async () => void held--
  return {
    name: 'gc',
    lost: new AbortController().signal,
    isWanted: () => false,
    release,
    [Symbol.asyncDispose]: release,
  }
}

describe('a shared hold', () => {
  it('is one for all that come while it is waited for, in their order, and lets go', async () => {
    const hold = new SharedHold(take)
    const order: number[] = []
    const works = [1, 2, 3].map((n) =>
      hold.run(() => {
        order.push(n)
        return [n, held]
      }),
    )
    expect(await Promise.all(works)).toEqual([
      [1, 1],
      [2, 1],
      [3, 1],
    ])
    await setImmediate()
    expect([order, taken, held]).toEqual([[1, 2, 3], 1, 0])
    expect(await hold.run(() => held)).toBe(1)
    await setImmediate()
    expect([taken, held]).toEqual([2, 0])
  })

  it('takes what comes while it is let go under a hold of its own', async () => {
    const hold = new SharedHold(take)
    let second: Promise<number> | undefined
    await hold.run(() => {
      second = hold.run(() => held)
    })
    expect(await second).toBe(1)
    expect(taken).toBe(2)
  })

  it('tells each what went wrong with its own work, and no other', async () => {
    const hold = new SharedHold(take)
    const works = [
      hold.run(() => 'done'),
      hold.run(() => {
        throw new Error('one')
      }),
      hold.run(() => 'too'),
    ]
    expect(await Promise.allSettled(works)).toMatchObject([
      { value: 'done' },
      { reason: new Error('one') },
      { value: 'too' },
    ])
    await setImmediate()
    expect(held).toBe(0)
  })

  it('that cannot be had is told to all who wait, and tried again for those who come later', async () => {
    const hold = new SharedHold(take)
    failure = new Error('taken')
    const works = [hold.run(() => 1), hold.run(() => 2)]
    expect(await Promise.allSettled(works)).toMatchObject([{ reason: failure }, { reason: failure }])
    failure = null
    expect(await hold.run(() => 3)).toBe(3)
  })
})
