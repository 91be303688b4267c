import { describe, expect, it } from 'vitest'
import { isErrno, toGrootError } from '../../lib/errors.js'

/** As Node makes them: where it opens a file, and where it writes to one. */
function unnamed(errno: number): Error[] {
  const code = `Unknown system error ${errno}`
  return [
    Object.assign(new Error(`${code}: ${code}, open '/a'`), { code, errno, syscall: 'open', path: '/a' }),
    Object.assign(new Error('UNKNOWN: unknown error, write'), { code: 'UNKNOWN', errno, syscall: 'write' }),
  ]
}

describe('errors of the system that Node has no name for', () => {
  it('are recognised by the name that they should have', () => {
    for (const error of unnamed(-122)) {
      expect(isErrno(error, 'EDQUOT')).toBe(true)
      expect(error.message).toMatch(/^EDQUOT: disk quota exceeded, (open|write)/)
    }
    for (const error of unnamed(-117)) expect(isErrno(error, 'EUCLEAN')).toBe(true)
    for (const error of unnamed(-999)) expect(isErrno(error, 'E999')).toBe(true)
  })

  it('are a quota that is used up, or what else the system says, and never a fault of ours', () => {
    for (const error of unnamed(-122)) expect(toGrootError(error)).toMatchObject({ code: 'quota-exceeded' })
    for (const error of unnamed(-74)) expect(toGrootError(error)).toMatchObject({ code: 'system-call' })
  })

  it('are not made of what is no error of the system', () => {
    expect(isErrno(Object.assign(new Error('no'), { code: 'UNKNOWN' }))).toBe(false)
    expect(isErrno(new Error('no'))).toBe(false)
  })
})

it.each(['MODULE_NOT_FOUND', 'ERR_MODULE_NOT_FOUND'])(
  '%s is no fault of groot: Node could not read a file',
  (code) => {
    const thrown = Object.assign(new Error("Cannot find module 'x'\nRequire stack:\n- /y"), { code })
    expect(toGrootError(thrown, 'Cannot take lock "gc"')).toMatchObject({
      code: 'module-unreadable',
      kind: 'system',
      message: 'Cannot take lock "gc": Cannot find module \'x\'',
      facts: { cause: "Cannot find module 'x'" },
    })
  },
)
