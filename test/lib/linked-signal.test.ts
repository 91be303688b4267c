import { getEventListeners } from 'node:events'
import { describe, expect, it } from 'vitest'
import { LinkedSignal } from '../../lib/linked-signal.js'

describe('LinkedSignal', () => {
  it('fires with the first of the others, for its reason', () => {
    const [one, other] = [new AbortController(), new AbortController()]
    using linked = new LinkedSignal([one.signal, other.signal])
    expect(linked.signal.aborted).toBe(false)
    other.abort('second')
    one.abort('first')
    expect(linked.signal.reason).toBe('second')
  })

  it('has fired when one of the others has', () => {
    using linked = new LinkedSignal([new AbortController().signal, AbortSignal.abort('before')])
    expect(linked.signal.reason).toBe('before')
  })

  it('lets go of the others', () => {
    const long = new AbortController()
    const linked = new LinkedSignal([long.signal])
    expect(getEventListeners(long.signal, 'abort')).toHaveLength(1)
    linked[Symbol.dispose]()
    expect(getEventListeners(long.signal, 'abort')).toHaveLength(0)
    long.abort()
    expect(linked.signal.aborted).toBe(false)
  })

  it('has nothing against many listeners', async () => {
    const warnings: Error[] = []
    const note = (warning: Error) => void warnings.push(warning)
    process.on('warning', note)
    using linked = new LinkedSignal([])
    for (let i = 0; i < 50; i++) linked.signal.addEventListener('abort', () => {})
    await new Promise((resolve) => setImmediate(resolve))
    process.off('warning', note)
    expect(warnings).toEqual([])
  })
})
