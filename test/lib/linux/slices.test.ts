import { describe, expect, it } from 'vitest'
import { BusyError } from '../../../lib/errors.js'
import { runAtOnce, runInSlices, type Work } from '../../../lib/linux/slices.js'
import { rejectionOf } from './scratch.js'

/** Work of many steps that keeps the thread busy for some time each, and says how it ended. */
function* busy(steps: number, ms: number, ended: string[]): Work<string> {
  try {
    for (let i = 0; i < steps; i++) {
      const until = performance.now() + ms
      while (performance.now() < until);
      yield
    }
    return 'done'
  } finally {
    ended.push('ended')
  }
}

describe('work in slices', () => {
  it('gives the same as at once', async () => {
    const ended: string[] = []
    expect(runAtOnce(busy(3, 0, ended))).toBe('done')
    expect(await runInSlices(busy(3, 0, ended))).toBe('done')
    expect(ended).toEqual(['ended', 'ended'])
  })

  it('lets timers run meanwhile', async () => {
    let ticks = 0
    const timer = setInterval(() => ticks++, 1)
    await runInSlices(busy(400, 0.2, []))
    clearInterval(timer)
    expect(ticks).toBeGreaterThan(3)
  })

  it('ends soon after an abort, and the work cleans up', async () => {
    const ended: string[] = []
    const abort = new AbortController()
    const work = runInSlices(busy(1e9, 0.1, ended), abort.signal)
    setTimeout(() => abort.abort(), 5)
    expect(await rejectionOf(work)).toMatchObject({ kind: 'aborted', code: 'aborted' })
    expect(ended).toEqual(['ended'])
  })

  it('does not begin when it is aborted already, and passes a reason that is an error of groot', async () => {
    const ended: string[] = []
    const reason = new BusyError('mount-busy', 'Cannot wait')
    expect(await rejectionOf(runInSlices(busy(1, 0, ended), AbortSignal.abort(reason)))).toBe(reason)
    expect(ended).toEqual([])
  })

  it('passes what the work throws', async () => {
    // biome-ignore lint/correctness/useYield: it never gets that far
    const work = function* (): Work<void> {
      throw new RangeError('no')
    }
    expect(await rejectionOf(runInSlices(work()))).toBeInstanceOf(RangeError)
  })
})
