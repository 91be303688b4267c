import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { GrootError } from '../../../lib/errors.js'
import { parseChallenges } from '../../../lib/registry/challenge.js'

function parsed(header: string) {
  return parseChallenges(header).map(({ scheme, params }) => [scheme, Object.fromEntries(params)])
}

describe('challenges', () => {
  it.each<[string, unknown]>([
    [
      'Bearer realm="https://auth.example/token",service="r",scope="repository:a:pull,push"',
      [['bearer', { realm: 'https://auth.example/token', service: 'r', scope: 'repository:a:pull,push' }]],
    ],
    ['Basic realm="a \\"quoted\\" one"', [['basic', { realm: 'a "quoted" one' }]]],
    ['BASIC', [['basic', {}]]],
    [
      'Basic realm = plain , Bearer   realm="b" , error=x',
      [
        ['basic', { realm: 'plain' }],
        ['bearer', { realm: 'b', error: 'x' }],
      ],
    ],
    [
      'Negotiate, Basic REALM=x',
      [
        ['negotiate', {}],
        ['basic', { realm: 'x' }],
      ],
    ],
    [
      'Negotiate YWJj==, Basic realm=x',
      [
        ['negotiate', {}],
        ['basic', { realm: 'x' }],
      ],
    ],
    [', , Basic realm="a,b" ,,', [['basic', { realm: 'a,b' }]]],
    ['Basic realm=""', [['basic', { realm: '' }]]],
    ['', []],
    [' , ', []],
  ])('%s', (header, expected) => {
    expect(parsed(header)).toEqual(expected)
  })

  it.each([
    ['realm="x"', 'a parameter before any scheme'],
    ['Basic realm="x" charset="y"', 'parameters without a comma'],
    ['Basic realm="x', 'a quoted string without an end'],
    ['Basic realm="x\\', 'an escape at the end'],
    ['Basic realm="a", realm="b"', 'a parameter that is there twice'],
    ['Basic Realm="a", rEALM="b"', 'the same in another case'],
    ['Basic realm=, x=y', 'a parameter without a value'],
    ['Basic realm=https://x', 'a value that needs quotes'],
    ['Basic abc, realm="x"', 'a parameter beside a token'],
    ['Basic abc def', 'two tokens'],
    ['Ba/sic realm=x', 'a scheme that is no token'],
    ['Basic realm="a"b', 'text after a quoted string'],
    ['Basic realm="\u0001"', 'a control character'],
    [`Basic realm="${'x'.repeat(9000)}"`, 'more than 8 KiB'],
  ])('%s is refused: %s', (header) => {
    let error: unknown
    try {
      parseChallenges(header)
    } catch (thrown) {
      error = thrown
    }
    expect(error).toMatchObject({
      kind: 'registry',
      code: 'registry-protocol',
      facts: { header: 'www-authenticate' },
    })
    expect((error as GrootError).message.length).toBeLessThan(500)
  })

  it('say what was said, whatever stands in the quotes', () => {
    const token = fc.stringMatching(/^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,8}$/)
    const value = fc.stringMatching(/^[\t\x20-\x7e\x80-\xff]{0,20}$/)
    const params = fc.uniqueArray(fc.tuple(token, value), {
      selector: ([name]) => name.toLowerCase(),
      maxLength: 4,
    })
    const list = fc.array(fc.tuple(token, params), { maxLength: 4 })
    fc.assert(
      fc.property(list, (challenges) => {
        const header = challenges
          .map(([scheme, pairs]) => {
            const text = pairs.map(([name, text]) => `${name}="${text.replace(/["\\]/g, '\\$&')}"`)
            return `${scheme} ${text.join(', ')}`
          })
          .join(' , ')
        const expected = challenges.map(([scheme, pairs]) => [
          scheme.toLowerCase(),
          Object.fromEntries(pairs.map(([name, text]) => [name.toLowerCase(), text])),
        ])
        expect(parsed(header)).toEqual(expected)
      }),
    )
  })

  it('never throw anything else', () => {
    const text = fc.string({
      unit: fc.constantFrom('a', 'B', '"', '\\', ',', '=', ' ', '\t', '/', '\u00e9'),
      maxLength: 40,
    })
    fc.assert(
      fc.property(text, (header) => {
        try {
          parseChallenges(header)
        } catch (error) {
          expect(error).toMatchObject({ code: 'registry-protocol' })
        }
      }),
      { numRuns: 1000 },
    )
  })
})
