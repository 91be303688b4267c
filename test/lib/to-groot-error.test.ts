import { mkdirSync } from 'node:fs'
import { expect, it } from 'vitest'
import { NotFoundError, toGrootError } from '../../lib/errors.js'

const FAILS_AT_ITS_END = {
  [Symbol.dispose]() {
    mkdirSync('/nowhere/at/the/end')
  },
}

function thrownWith(error: unknown): unknown {
  try {
    using _first = FAILS_AT_ITS_END
    using _second = FAILS_AT_ITS_END
    throw error
  } catch (thrown) {
    return thrown
  }
}

it('what went wrong first is told, also when putting things away after it went wrong too', () => {
  const thrown = thrownWith(Object.assign(new Error('no space left'), { code: 'ENOSPC', errno: -28 }))
  expect(thrown).toMatchObject({ name: 'SuppressedError' })
  expect(toGrootError(thrown, 'Cannot try')).toMatchObject({
    kind: 'system',
    code: 'disk-full',
    message: 'Cannot try: no space left',
  })
  const own = new NotFoundError('object-missing', 'Cannot find it')
  expect(toGrootError(thrownWith(own))).toBe(own)
})

it('what errors say of hostile text is cut', () => {
  const long = 'x'.repeat(3_000_000)
  const error = new NotFoundError('image-missing', `Cannot find ${long}`, {
    facts: { image: long, available: [long, 'short'], count: 2 },
  })
  const shown = `${'x'.repeat(8192)}…`
  expect(error.facts).toEqual({ image: shown, available: [shown, 'short'], count: 2 })
  expect(error.message).toHaveLength(8193)
})
