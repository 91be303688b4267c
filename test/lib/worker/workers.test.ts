import { readdirSync } from 'node:fs'
import { setImmediate } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { Workers } from '../../../lib/worker/workers.js'

const threads = () => readdirSync('/proc/self/task').length

async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await setImmediate()
}

/** With a thread that has nothing to do; how many there are without it. */
async function withThread(workers: Workers): Promise<number> {
  // Node starts its own for the first of them.
  await workers.crew()
  const without = threads()
  workers.warm()
  await until(() => threads() > without)
  return without
}

beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] }))
afterEach(() => void vi.useRealTimers())

describe('threads that have nothing to do', () => {
  it('end at once where none is kept', async () => {
    const workers = new Workers('/nowhere', 0)
    const without = await withThread(workers)
    workers.trim()
    await until(() => threads() <= without)
    await workers.close()
  })

  it('are kept for a while, which begins again with each use', async () => {
    const workers = new Workers('/nowhere', 300)
    const without = await withThread(workers)
    workers.trim()
    vi.advanceTimersByTime(200)
    workers.trim()
    vi.advanceTimersByTime(200)
    expect(vi.getTimerCount()).toBe(1)
    expect(threads()).toBeGreaterThan(without)
    vi.advanceTimersByTime(200)
    await until(() => threads() <= without)
    await workers.close()
  })

  it('end with the store', async () => {
    const workers = new Workers('/nowhere', 60_000)
    const without = await withThread(workers)
    workers.trim()
    await workers.close()
    expect([threads() <= without, vi.getTimerCount()]).toEqual([true, 0])
  })
})
