import { describe, expect, it } from 'vitest'
import type { DiffId } from '../../../lib/digest.js'
import { checkMapping, parseIdRange } from '../../../lib/ids/mapping.js'
import { BASE_ID, baseIdOf, unmappedBaseId } from '../../../lib/store/base-id.js'

const LAYERS = ['a', 'b'].map((digit) => `sha256:${digit.repeat(64)}` as DiffId)
const mapping = (text: string) => {
  const ranges = [parseIdRange(text, 'uid-mapping')]
  return checkMapping({ uid: ranges, gid: ranges })
}

describe('the id of a base', () => {
  it('is the chain id of its layers, as it always was', () => {
    expect(baseIdOf(LAYERS.slice(0, 1))).toBe(`sha256-${'a'.repeat(64)}`)
    expect(baseIdOf([])).toBe(`sha256-${'0'.repeat(64)}`)
    expect(baseIdOf(LAYERS)).toBe('sha256-ccd722928bd92476ba1745586fed6e45a102504185ad88cd89e01ff116fd146c')
  })

  it('begins with that under a mapping, and ends with the mapping', () => {
    const one = baseIdOf(LAYERS, mapping('0:100000:65536'))
    const two = baseIdOf(LAYERS, mapping('0:200000:65536'))
    expect(one).not.toBe(two)
    for (const id of [one, two, baseIdOf(LAYERS)]) {
      expect(id).toMatch(BASE_ID)
      expect(unmappedBaseId(id)).toBe(baseIdOf(LAYERS))
    }
    expect(one).toBe(`${baseIdOf(LAYERS)}-7b33d2e5b1f7604380f6230366a61ffd`)
  })

  it.each(['sha512', 'sha256'])('of a %s chain leads back to the chain', (algorithm) => {
    const layer = `${algorithm}:${'c'.repeat(algorithm === 'sha512' ? 128 : 64)}` as DiffId
    const id = baseIdOf([layer], mapping('0:1:1'))
    expect(id).toMatch(BASE_ID)
    expect(unmappedBaseId(id)).toBe(layer.replace(':', '-'))
  })

  it.each([
    `sha256-${'a'.repeat(64)}-`,
    `sha256-${'a'.repeat(64)}-${'b'.repeat(31)}`,
    `sha256-${'a'.repeat(64)}-${'b'.repeat(32)}-${'c'.repeat(32)}`,
    `sha256-${'a'.repeat(64)}/../x`,
  ])('is not %j', (name) => {
    expect(name).not.toMatch(BASE_ID)
  })
})
