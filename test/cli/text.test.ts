import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { nearest } from '../../cli/suggest.js'
import { counted, humanBytes, inPieces, jsonLine, quoted, visible } from '../../cli/text.js'

// Everything that moves a cursor, ends a line or turns the direction of writing.
const DANGEROUS = /[\p{Cc}\u2028\u2029\u202a-\u202e\u2066-\u2069\u200e\u200f\u061c]/u

describe('text for a terminal', () => {
  it.each([
    ['plain ünïcode 漢字', 'plain ünïcode 漢字'],
    ['a\nb\r\tc', 'a\\x0ab\\x0d\\x09c'],
    ['\x1b[31mred\x1b[0m', '\\x1b[31mred\\x1b[0m'],
    ['\x7f\x9b31m', '\\x7f\\x9b31m'],
    ['evil\u202egnp.exe\u2028', 'evil\\u202egnp.exe\\u2028'],
  ])('of %j is %s', (text, expected) => {
    expect(visible(text)).toBe(expected)
  })

  it('never has anything that steers a terminal', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        expect(visible(text)).not.toMatch(DANGEROUS)
        expect(jsonLine({ [text]: text })).not.toMatch(DANGEROUS)
      }),
    )
  })

  it('in JSON reads back as it was', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        expect(JSON.parse(jsonLine({ [text]: [text] }))).toEqual(
          JSON.parse(JSON.stringify({ [text]: [text] })),
        )
      }),
    )
  })

  it('is cut where it is very long', () => {
    expect(quoted('x'.repeat(200))).toBe(`"${'x'.repeat(150)}…"`)
  })
})

describe('amounts', () => {
  it.each([
    [0, '0 bytes'],
    [1023, '1023 bytes'],
    [1536, '1.5 KiB'],
    [5 * 1024 ** 3, '5.0 GiB'],
    [3000 * 1024 ** 4, '3000.0 TiB'],
  ])('%d is %s', (bytes, expected) => {
    expect(humanBytes(bytes)).toBe(expected)
  })

  it('are one or many', () => {
    expect([counted(1, 'layer'), counted(0, 'layer'), counted(2, 'entry', 'entries')]).toEqual([
      '1 layer',
      '0 layers',
      '2 entries',
    ])
  })
})

describe('the nearest word', () => {
  const words = ['create', 'delete', 'list', 'stats', 'check', 'init-store', 'delete-store', 'json']

  it.each([
    ['craete', 'create'],
    ['lst', 'list'],
    ['stat', 'stats'],
    ['jsno', 'json'],
    ['init', 'init-store'],
    ['delet', 'delete'],
    ['create', 'create'],
  ])('to %s is %s', (typed, meant) => {
    expect(nearest(typed, words)).toBe(meant)
  })

  it.each(['', 'x', 'destroy', 'zzzz', 'c'.repeat(100_000)])('to %s is none', (typed) => {
    expect(nearest(typed, words)).toBeNull()
  })
})

describe('a long answer', () => {
  it('comes in pieces that are cut by their length, whatever the length of its lines', () => {
    const lines = Array.from({ length: 900 }, (_, i) => `${'x'.repeat(i * 10)}\n`)
    const pieces = [...inPieces(lines)]
    expect(pieces.join('')).toBe(lines.join(''))
    expect(Math.max(...pieces.map(({ length }) => length))).toBeLessThan(80_000)
    expect(pieces.length).toBeLessThan(70)
    expect([...inPieces([])]).toEqual([''])
  })
})
