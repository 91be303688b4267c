import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import {
  checkWritable,
  newDescriptor,
  readDescriptor,
  type StoreDescriptor,
  writeDescriptor,
} from '../../../lib/store/descriptor.js'

let directory: string
let path: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'groot-descriptor-'))
  path = join(directory, 'store.json')
})
afterEach(() => rmSync(directory, { recursive: true }))

function put(change: Partial<StoreDescriptor>): void {
  writeFileSync(path, JSON.stringify({ ...newDescriptor('vfs', null), ...change }))
}
const features = (change: Partial<StoreDescriptor['features']>) => ({
  features: { compatible: [], readOnlyCompatible: [], incompatible: [], ...change },
})

describe('store.json', () => {
  it('is read as it was written', () => {
    const descriptor = newDescriptor('vfs', { a: 1 })
    expect(writeDescriptor(path, descriptor)).toBe(true)
    expect(readDescriptor(path)).toEqual(descriptor)
  })

  it('is null where there is no store', () => {
    expect(readDescriptor(path)).toBeNull()
  })

  it('is made once', () => {
    writeDescriptor(path, newDescriptor('vfs', null))
    expect(writeDescriptor(path, newDescriptor('other', null))).toBe(false)
    expect(readDescriptor(path)?.driver).toBe('vfs')
  })

  it('of another format is refused, never guessed at', () => {
    put({ format: 2 })
    expect(() => readDescriptor(path)).toThrow(
      expect.objectContaining({ code: 'store-version', facts: { path, found: 2, known: 1 } }),
    )
  })

  it('with an unknown incompatible feature is refused by name', () => {
    put(features({ incompatible: ['verity-sha512'] }))
    expect(() => readDescriptor(path)).toThrow(
      expect.objectContaining({ code: 'store-feature', facts: { path, feature: 'verity-sha512' } }),
    )
  })

  it('with an unknown read-only compatible feature may be read and not written', () => {
    put(features({ readOnlyCompatible: ['new-thing'] }))
    const descriptor = readDescriptor(path)!
    expect(descriptor.driver).toBe('vfs')
    expect(() => checkWritable(path, descriptor)).toThrow(
      expect.objectContaining({ code: 'store-feature', facts: { path, feature: 'new-thing' } }),
    )
  })

  it('with unknown compatible features is used', () => {
    put(features({ compatible: ['nicety'] }))
    expect(readDescriptor(path)?.driver).toBe('vfs')
  })

  it.each(['', '{', '{}', '{"format":1}', '"store"', 'null'])(
    'that holds %j is refused as no store',
    (text) => {
      writeFileSync(path, text)
      expect(() => readDescriptor(path)).toThrow(expect.objectContaining({ code: 'store-invalid' }))
    },
  )
})
