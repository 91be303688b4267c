import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { VerityDigest } from '../../../lib/digest.js'
import { ObjectTable } from '../../../lib/store/object-table.js'

const digest = (seed: number) => createHash('sha256').update(String(seed)).digest('hex') as VerityDigest

describe('a table of objects', () => {
  it('knows what is on disk and not referenced, however much is added in which order', () => {
    const table = new ObjectTable()
    const COUNT = 20_000 // grows several times on the way
    for (let i = 0; i < COUNT; i++) {
      if (i % 3 !== 0) table.addReference(digest(i))
      if (i % 2 === 0) table.addObject(digest(i), i)
      // Again, when the table may just have grown.
      if (i % 3 !== 0) table.addReference(digest(i >> 1))
    }
    const expected = new Map<number, number>()
    const references = new Map<number, number>()
    for (let i = 0; i < COUNT; i++) {
      if (i % 3 !== 0) for (const each of [i, i >> 1]) references.set(each, (references.get(each) ?? 0) + 1)
      if (i % 2 === 0) expected.set(i, i)
    }
    for (const each of references.keys()) expected.delete(each)
    expect(table.unreferenced()).toEqual({
      count: expected.size,
      bytes: [...expected.values()].reduce((sum, bytes) => sum + bytes, 0),
    })
  })

  it('gives what is not marked by the first byte of its digest, marks made while growing included', () => {
    const table = new ObjectTable()
    const marked = Array.from({ length: 5000 }, (_, i) => digest(i))
    const unmarked = Array.from({ length: 5000 }, (_, i) => digest(-1 - i))
    for (let i = 0; i < 5000; i++) {
      table.mark(marked[i]!)
      table.addObject(unmarked[i]!, 1)
      table.addObject(marked[i]!, 1)
    }
    const found = [...table.unmarked()]
    expect(found.map((each) => each.digest).sort()).toEqual([...unmarked].sort())
    expect(table.unmarkedCount()).toBe(5000)
    const prefixes = found.map((each) => each.digest.slice(0, 2))
    expect(prefixes).toEqual([...prefixes].sort())
    expect(marked.every((each) => table.isMarked(each))).toBe(true)
    expect(unmarked.some((each) => table.isMarked(each))).toBe(false)
  })

  it('can be marked and added to while its objects are gone through', () => {
    const table = new ObjectTable()
    for (let i = 0; i < 600; i++) table.addObject(digest(i), i)
    let count = 0
    for (const { digest: each, bytes } of table.unmarked()) {
      expect(digest(bytes)).toBe(each)
      for (let i = 0; i < 10; i++) table.mark(digest(10_000 + count * 10 + i))
      count++
    }
    expect(count).toBe(600)
  })

  it('tells with the last reference what is freed, and counts like a map', () => {
    const action = fc.record({ add: fc.boolean(), object: fc.nat(30) })
    fc.assert(
      fc.property(fc.array(action, { maxLength: 200 }), (actions) => {
        const table = new ObjectTable()
        const model = new Map<number, number>()
        for (let i = 0; i <= 30; i += 2) table.addObject(digest(i), i + 1)
        for (const { add, object } of actions) {
          const before = model.get(object) ?? 0
          if (add) {
            table.addReference(digest(object))
            model.set(object, before + 1)
          } else {
            const freed = before === 1 && object % 2 === 0 ? object + 1 : 0
            expect(table.removeReference(digest(object))).toBe(freed)
            model.set(object, Math.max(0, before - 1))
          }
        }
        const free = Array.from({ length: 16 }, (_, i) => i * 2).filter((i) => !model.get(i))
        expect(table.unreferenced()).toEqual({
          count: free.length,
          bytes: free.reduce((sum, i) => sum + i + 1, 0),
        })
      }),
    )
  })

  it('numbers objects in the order in which they are asked for, and keeps the numbers while it grows', () => {
    const table = new ObjectTable()
    const digests = Array.from({ length: 5000 }, (_, at) => at.toString(16).padStart(64, '0') as VerityDigest)
    for (const digest of digests) table.addObject(digest, 1)
    const asked = [...digests].reverse()
    const first = asked.map((digest) => table.numberOf(digest))
    expect(first).toEqual(asked.map((_, at) => at))
    for (let at = 0; at < 20_000; at++)
      table.addReference(`f${at.toString(16).padStart(63, '0')}` as VerityDigest)
    expect(asked.map((digest) => table.numberOf(digest))).toEqual(first)
  })
})
