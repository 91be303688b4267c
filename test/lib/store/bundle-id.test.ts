import { describe, expect, it } from 'vitest'
import { parseBundleId } from '../../../lib/store/bundle-id.js'

describe('bundle ids', () => {
  it.each(['a', 'web-1', 'A.b_C-9', '0', 'x'.repeat(128)])('may be %j', (id) => {
    expect(parseBundleId(id)).toBe(id)
  })

  it.each([
    '',
    '.',
    '..',
    '.hidden',
    '-rf',
    '_x',
    'a/b',
    '/a',
    'a\\b',
    'a b',
    'a\nb',
    'a\0',
    'a\u0007',
    'ä',
    'a:b',
    'x'.repeat(129),
    '../../etc',
    'a%2f',
    'a\u2028',
  ])('may not be %j', (id) => {
    expect(() => parseBundleId(id)).toThrow(expect.objectContaining({ code: 'id-invalid', exitStatus: 2 }))
  })

  it.each([undefined, null, 1, {}, ['a']])('may not be %j', (id) => {
    expect(() => parseBundleId(id)).toThrow(expect.objectContaining({ code: 'id-invalid' }))
  })
})
