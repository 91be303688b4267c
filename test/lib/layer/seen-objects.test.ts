import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import type { VerityDigest } from '../../../lib/digest.js'
import { SeenObjects } from '../../../lib/layer/seen-objects.js'

let objects: string
beforeEach(() => {
  objects = mkdtempSync(join(tmpdir(), 'groot-seen-'))
})
afterEach(() => rmSync(objects, { recursive: true, force: true }))

const digestOf = (number: number) => `ab${number.toString(16).padStart(62, '0')}` as VerityDigest
const put = (count: number) => {
  mkdirSync(`${objects}/ab`)
  for (let i = 0; i < count; i++) writeFileSync(`${objects}/ab/${digestOf(i).slice(2)}`, 'abc')
}

// Below, at and above the size up to which directories are read.
for (const count of [1, 255, 256, 257, 600]) {
  it(`knows which of ${count} contents are there`, () => {
    put(count)
    using seen = new SeenObjects(objects)
    const found = Array.from({ length: count + 3 }, (_, i) => seen.has(digestOf(i), 3))
    expect(found).toEqual([...Array.from({ length: count }, () => true), false, false, false])
    // One that is cut, or something else altogether.
    expect(seen.has(digestOf(0), 4)).toBe(false)
    expect(seen.has(`cd${'0'.repeat(62)}` as VerityDigest, 3)).toBe(false)
  })
}
