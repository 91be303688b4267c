import { expect, it } from 'vitest'
import { Turns } from '../../../lib/linux/turns.js'

it('as many work at once as there are turns, in the order in which they came, also after one that failed', async () => {
  const turns = new Turns(2)
  const begun: number[] = []
  const ends: (() => void)[] = []
  const works = [0, 1, 2, 3].map((i) =>
    turns.run(async () => {
      begun.push(i)
      await new Promise<void>((resolve) => ends.push(resolve))
      if (i === 0) throw new Error('no luck')
      return i
    }),
  )
  works[0]!.catch(() => {})
  expect(begun).toEqual([0, 1])
  for (const expected of [
    [0, 1, 2],
    [0, 1, 2, 3],
  ]) {
    ends.shift()!()
    await new Promise(setImmediate)
    expect(begun).toEqual(expected)
  }
  for (const end of ends) end()
  expect(await Promise.allSettled(works)).toMatchObject([
    { status: 'rejected' },
    { value: 1 },
    { value: 2 },
    { value: 3 },
  ])
  expect(await turns.run(async () => 'free again')).toBe('free again')
})
