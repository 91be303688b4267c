import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { verbSpec } from '../../cli/option-lookup.js'
import { VERBS, type VerbName } from '../../cli/options.js'
import { ERROR_CODES, type ErrorKind, EXIT_STATUS } from '../../lib/index.js'
import { BUNDLE_ID } from '../../lib/store/bundle-id.js'

const page = readFileSync(new URL('../../docs/scripting.md', import.meta.url), 'utf8')

/** The cells of the rows of the table below a heading, without its head. */
function table(heading: string): string[][] {
  const [, section = ''] = page.split(`\n## ${heading}\n`)
  const lines = section.split('\n## ')[0]!.split('\n')
  const rows = lines.filter((line) => line.startsWith('|')).slice(2)
  return rows.map((row) =>
    row
      .slice(1, -1)
      .split('|')
      .map((cell) => cell.trim().replaceAll('`', '')),
  )
}

describe('docs/scripting.md', () => {
  it('has every code with its exit status, in the order of the source, and no other', () => {
    const codes = (Object.keys(ERROR_CODES) as ErrorKind[]).flatMap((kind) =>
      ERROR_CODES[kind].map((code) => [code, String(EXIT_STATUS[kind])]),
    )
    expect(table('Codes').map(([code, status]) => [code, status])).toEqual(codes)
  })

  it('says of every code what it means and what to do', () => {
    for (const row of table('Codes')) {
      expect(row, row[0]).toHaveLength(4)
      expect(
        row.every((cell) => cell !== ''),
        row[0],
      ).toBe(true)
    }
  })

  it('has every exit status', () => {
    const kinds = (Object.keys(EXIT_STATUS) as ErrorKind[]).map((kind) => [String(EXIT_STATUS[kind]), kind])
    const rows = table('Exit statuses').map(([status, kind]) => [status, kind])
    expect(rows).toEqual([['0', ''], ...kinds, ['143', 'aborted']])
  })

  it('has the answer of every verb, and whether there is JSON', () => {
    const rows = table('Answers').map(([verb, , json]) => [verb, json !== 'no such option'])
    const verbs = Object.keys(VERBS) as VerbName[]
    expect(rows).toEqual(verbs.map((verb) => [verb, verbSpec(verb).options.includes('json')]))
  })

  it('has JSON that is JSON', () => {
    const blocks = [...page.matchAll(/```json\n([\s\S]*?)\n```/g)].map(([, text]) => text!)
    expect(blocks.length).toBeGreaterThan(10)
    for (const block of blocks) {
      expect(block.split('\n'), block).toHaveLength(1)
      expect(() => JSON.parse(block), block).not.toThrow()
    }
  })

  it('has the pattern of ids', () => {
    expect(page).toContain(`\`${BUNDLE_ID.source}\``)
  })
})
