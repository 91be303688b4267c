import { describe, expect, it } from 'vitest'
import * as errors from '../../../lib/errors.js'
import { fromWire, toWire } from '../../../lib/worker/wire-error.js'

const EACH: errors.GrootError[] = [
  new errors.UsageError('id-invalid', 'm'),
  new errors.PartialError('clean-incomplete', 'm'),
  new errors.StoreError('store-missing', 'm'),
  new errors.BusyError('lock-timeout', 'm'),
  new errors.ExistsError('bundle-exists', 'm'),
  new errors.NotFoundError('bundle-missing', 'm'),
  new errors.AuthError('auth-denied', 'm'),
  new errors.RegistryError('registry-status', 'm', { temporary: true }),
  new errors.IntegrityError('digest-mismatch', 'm', { facts: { expected: 'a', bytes: 3 } }),
  new errors.ImageError('tar-invalid', 'm', { cause: new Error('below') }),
  new errors.QuotaError('quota-exceeded', 'm'),
  new errors.UnsupportedError('driver-unknown', 'm'),
  new errors.SystemError('disk-full', 'm'),
  new errors.BugError('m'),
  new errors.AbortedError('m'),
]

describe('errors between threads', () => {
  it('cover every kind there is', () => {
    expect(EACH.map((error) => error.kind).sort()).toEqual(Object.keys(errors.ERROR_CODES).sort())
  })

  it.each(EACH.map((error) => [error.kind, error] as const))(
    '%s: keeps class, code, facts and exit status',
    (_, error) => {
      const arrived = fromWire(structuredClone(toWire(error)))
      expect(arrived.constructor).toBe(error.constructor)
      expect({
        ...arrived,
        message: arrived.message,
        exitStatus: arrived.exitStatus,
        stack: arrived.stack,
      }).toEqual({
        ...error,
        message: error.message,
        exitStatus: error.exitStatus,
        stack: error.stack,
      })
      expect(errors.isGrootError(arrived)).toBe(true)
    },
  )

  it('keep the text of a cause', () => {
    const arrived = fromWire(toWire(new errors.ImageError('tar-invalid', 'm', { cause: new Error('below') })))
    expect((arrived.cause as Error).message).toContain('Error: below')
  })

  it('are made of what was no error of ours', () => {
    expect(
      fromWire(toWire(Object.assign(new Error('ENOSPC: no space'), { code: 'ENOSPC', syscall: 'write' })))
        .code,
    ).toBe('disk-full')
    expect(fromWire(toWire(Object.assign(new Error('EDQUOT: quota'), { code: 'EDQUOT' }))).code).toBe(
      'quota-exceeded',
    )
    expect(fromWire(toWire(new TypeError('x is undefined'))).exitStatus).toBe(70)
    expect(fromWire(toWire(new DOMException('aborted', 'AbortError'))).kind).toBe('aborted')
  })
})
