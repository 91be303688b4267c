import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { guardFileName, isGuardFileName, lockName, lockNameOfFile } from '../../../lib/locks/names.js'

describe('names of locks', () => {
  it.each([
    ['gc', '', 'gc', 'gc.lock'],
    ['bundle', 'web-1', 'bundle/web-1', 'bundle-web-1.lock'],
    ['bundle', 'Web_1', 'bundle/Web_1', 'bundle-_57eb_5f1.lock'],
    ['layer', 'sha256:ab', 'layer/sha256:ab', 'layer-sha256-ab.lock'],
    ['task', '../../etc', 'task/../../etc', 'task-.._2f.._2fetc.lock'],
    ['base', 'ü\n', 'base/ü\n', 'base-_c3_bc_0a.lock'],
  ] as const)('of %s %j is %j, its file %j', (kind, id, name, file) => {
    expect(lockName(kind, id)).toBe(name)
    expect(guardFileName(kind, id)).toBe(file)
    expect(isGuardFileName(file)).toBe(true)
  })

  it('give file names of a few harmless characters, short enough, for any id', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 300 }), (id) => {
        const file = guardFileName('bundle', id)
        expect(file).toMatch(/^bundle-[a-z0-9._-]*\.lock$/)
        expect(file.length).toBeLessThanOrEqual(255)
        expect(isGuardFileName(file)).toBe(true)
      }),
    )
  })

  it('give different files to different ids, whatever their length', () => {
    const id = fc.string({ unit: fc.constantFrom('a', 'A', '_', '5', 'f', '-', '.'), maxLength: 128 })
    fc.assert(
      fc.property(id, id, (a, b) => {
        expect(guardFileName('bundle', a) === guardFileName('bundle', b)).toBe(a === b)
      }),
    )
    const long = 'A'.repeat(128)
    expect(guardFileName('bundle', long)).not.toBe(guardFileName('bundle', `${long.slice(1)}B`))
    expect(guardFileName('bundle', long).length).toBeLessThan(100)
  })

  it('keep kinds apart', () => {
    expect(guardFileName('bundle', 'x')).not.toBe(guardFileName('task', 'x'))
    expect(lockNameOfFile('bundle-web-1.lock')).toBe('bundle/web-1')
    expect(lockNameOfFile('gc.lock')).toBe('gc')
    expect(['other.lock', '.lock', 'bundle-x', 'bundle-X.lock', 'x/gc.lock'].filter(isGuardFileName)).toEqual(
      [],
    )
  })
})
