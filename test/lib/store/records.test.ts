import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import * as field from '../../../lib/store/fields.js'
import {
  createDurably,
  isTemporaryName,
  readRecord,
  removeRecord,
  writeDurably,
  writeRecord,
} from '../../../lib/store/records.js'

let directory: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'groot-records-'))
})
afterEach(() => rmSync(directory, { recursive: true }))

const parse = (value: unknown) => ({ n: field.integer(field.object(value, 'record').n, 'n') })

describe('records', () => {
  it('are read as they were written, and leave no temporary files', () => {
    writeRecord(join(directory, 'a.json'), { n: 1 })
    writeRecord(join(directory, 'a.json'), { n: 2 })
    expect(readRecord(join(directory, 'a.json'), parse)).toEqual({ n: 2 })
    expect(readdirSync(directory)).toEqual(['a.json'])
  })

  it('that are not there are null', () => {
    expect(readRecord(join(directory, 'a.json'), parse)).toBeNull()
  })

  it.each([
    ['', 'Unexpected end'],
    ['{"n":1', 'JSON'],
    ['[]', 'record should be an object'],
    ['{"n":"1"}', 'n should be a whole number, found "1"'],
    ['{"n":1.5}', 'n should be a whole number'],
  ])('that hold %j are refused by name', (text, cause) => {
    const path = join(directory, 'a.json')
    writeFileSync(path, text)
    expect(() => readRecord(path, parse)).toThrow(
      expect.objectContaining({
        code: 'record-damaged',
        facts: { path, cause: expect.stringContaining(cause) },
      }),
    )
  })

  it('are removed once, and again without complaint', () => {
    writeRecord(join(directory, 'a.json'), {})
    expect([removeRecord(join(directory, 'a.json')), removeRecord(join(directory, 'a.json'))]).toEqual([
      true,
      false,
    ])
  })

  it('are readable by their owner only', () => {
    writeDurably(join(directory, 'a'), 'x')
    expect(readFileSync(join(directory, 'a'), 'utf8')).toBe('x')
  })

  it('created by two are made by the first', () => {
    const path = join(directory, 'a')
    expect([createDurably(path, 'first'), createDurably(path, 'second')]).toEqual([true, false])
    expect([readFileSync(path, 'utf8'), readdirSync(directory)]).toEqual(['first', ['a']])
  })

  it('leave nothing when they cannot be put in place', () => {
    expect(() => writeDurably(join(directory, 'no/where'), 'x')).toThrow(
      expect.objectContaining({ code: 'ENOENT' }),
    )
    expect(readdirSync(directory)).toEqual([])
  })

  it('know the names of their leavings', () => {
    expect([isTemporaryName('.tmp-a.json-0123'), isTemporaryName('a.json')]).toEqual([true, false])
  })
})
