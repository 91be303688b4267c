import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { DurableBatch } from '../../../lib/store/durable.js'
import * as field from '../../../lib/store/fields.js'
import {
  createDurably,
  isDeadTemporary,
  isTemporaryName,
  readRecord,
  removeDeadTemporary,
  removeRecord,
  writeDurably,
  writeRecord,
} from '../../../lib/store/records.js'
import { openBelow } from '../linux/scratch.js'

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

  it('cannot be lost by a clean that looks while they wait for the disk', async () => {
    const seen: unknown[] = []
    class SlowBatch extends DurableBatch {
      override async syncBefore(next: number): Promise<void> {
        for (const name of readdirSync(directory)) {
          const path = join(directory, name)
          seen.push(isTemporaryName(name), isDeadTemporary(path), removeDeadTemporary(path))
        }
        await super.syncBefore(next)
      }
    }
    {
      using batch = new SlowBatch(false)
      await batch.record(join(directory, 'a.json'), { n: 1 }).commit()
    }
    expect(seen).toEqual([true, false, false])
    expect(readRecord(join(directory, 'a.json'), parse)).toEqual({ n: 1 })
  })

  it('leave nothing when a batch cannot write them', async () => {
    class BrokenBatch extends DurableBatch {
      override write(path: string, data: string | Uint8Array, mode: number): number {
        super.write(path, data, mode)
        throw new Error('the disk is broken')
      }
    }
    {
      using batch = new BrokenBatch(false)
      expect(() => batch.record(join(directory, 'a.json'), { n: 1 })).toThrow('the disk is broken')
    }
    expect(readdirSync(directory)).toEqual([])
  })

  it('of a batch are not there until they are committed, and leave nothing when they never are', async () => {
    {
      using batch = new DurableBatch(false)
      batch.record(join(directory, 'a.json'), { n: 1 })
      const second = batch.record(join(directory, 'b.json'), { n: 2 })
      expect(readdirSync(directory).every(isTemporaryName)).toBe(true)
      await batch.writeContents()
      await second.commit()
      expect(second.value).toEqual({ n: 2 })
    }
    expect(readdirSync(directory)).toEqual(['b.json'])
  })

  it('of a batch let go of what they have open also where they cannot be removed', () => {
    const batch = new DurableBatch(false)
    batch.record(join(directory, 'a.json'), { n: 1 })
    const [temporary = ''] = readdirSync(directory)
    rmSync(join(directory, temporary))
    mkdirSync(join(directory, temporary))
    expect(() => batch[Symbol.dispose]()).toThrow(expect.objectContaining({ syscall: 'unlink' }))
    expect(openBelow(directory)).toEqual([])
  })

  it('of a batch are written again when a clean took them away before they were claimed', async () => {
    {
      using batch = new DurableBatch(true)
      const record = batch.record(join(directory, 'a.json'), { n: 1 })
      for (const name of readdirSync(directory)) rmSync(join(directory, name))
      await record.commit()
    }
    expect(readRecord(join(directory, 'a.json'), parse)).toEqual({ n: 1 })
    expect(readdirSync(directory)).toEqual(['a.json'])
  })

  it.each([
    ['a file', (path: string) => writeFileSync(path, 'half')],
    ['a directory', (path: string) => mkdirSync(path)],
    ['a link', (path: string) => symlinkSync('/nowhere', path)],
  ])('take %s of a temporary name that nobody works on for a leaving', (_, make) => {
    const path = join(directory, '.tmp-a.json-0123')
    make(path)
    expect([isDeadTemporary(path), removeDeadTemporary(path), removeDeadTemporary(path)]).toEqual([
      true,
      true,
      false,
    ])
    expect(readdirSync(directory)).toEqual([])
  })

  it('know the names of their leavings', () => {
    expect([isTemporaryName('.tmp-a.json-0123'), isTemporaryName('a.json')]).toEqual([true, false])
  })
})
