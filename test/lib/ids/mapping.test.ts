import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  checkMapping,
  hostIdOf,
  type IdMappingRequest,
  type IdRange,
  mappingFingerprint,
  parseIdRange,
  rangesText,
} from '../../../lib/ids/mapping.js'
import { inverseRanges } from './inverse.js'

const range = (text: string): IdRange => parseIdRange(text, 'uid-mapping')
const request = (uid: string, gid = '0:100000:65536', rest: Partial<IdMappingRequest> = {}) => ({
  uid: uid.split(',').map(range),
  gid: gid.split(',').map(range),
  ...rest,
})
const error = (work: () => unknown): unknown => {
  try {
    return work()
  } catch (thrown) {
    return thrown
  }
}

describe('a range', () => {
  it.each([
    ['0:100000:65536', 0, 100_000, 65_536],
    ['4294967294:0:1', 4_294_967_294, 0, 1],
    ['0:0:4294967295', 0, 0, 4_294_967_295],
  ])('%s is read', (text, containerId, hostId, size) => {
    expect(parseIdRange(text, 'uid-mapping')).toEqual({ containerId, hostId, size })
  })

  it.each([
    '',
    '0',
    '0:1',
    '0:1:',
    '0:1:2:3',
    ' 0:1:2',
    '0:1:2\n',
    '-1:1:2',
    '0x0:1:2',
    '1e3:1:2',
    '0.5:1:2',
    'a:b:c',
    '00000000000:1:2',
  ])('%j does not have the form', (text) => {
    expect(error(() => parseIdRange(text, 'gid-mapping'))).toMatchObject({
      code: 'option-invalid',
      exitStatus: 2,
      facts: { option: 'gid-mapping', value: text },
    })
  })

  it.each([
    ['0:0:0', 'size'],
    ['4294967295:0:1', '4294967294'],
    ['0:4294967295:1', '4294967294'],
    ['0:0:4294967296', '4294967294'],
    ['4294967294:0:2', '4294967294'],
    ['1:4294967290:6', '4294967294'],
    ['9999999999:0:1', '4294967294'],
  ])('%s has no ids: %s', (text, why) => {
    const thrown = error(() => parseIdRange(text, 'uid-mapping'))
    expect(thrown).toHaveProperty('message', expect.stringContaining(' for --uid-mapping: '))
    expect(thrown).toMatchObject({ code: 'option-invalid', facts: { option: 'uid-mapping', value: text } })
    expect((thrown as Error).message).toContain(why)
  })
})

describe('a mapping', () => {
  it('has its ranges by id of the container, and refuses what it lacks unless told', () => {
    expect(checkMapping(request('1000:500000:64536,0:200000:1000'))).toEqual({
      uid: [range('0:200000:1000'), range('1000:500000:64536')],
      gid: [range('0:100000:65536')],
      unmapped: 'refuse',
    })
  })

  it('leaves the request as it is', () => {
    const asked = request('1000:500000:64536,0:200000:1000')
    checkMapping(asked)
    expect(rangesText(asked.uid)).toBe('1000:500000:64536,0:200000:1000')
  })

  it.each([
    ['0:1000:10,9:2000:10', 'container', '9:2000:10'],
    ['0:1000:10,0:2000:1', 'container', '0:2000:1'],
    ['0:1000:10,20:1009:1', 'host', '20:1009:1'],
    ['0:1000:10,20:995:6', 'host', '0:1000:10'],
    ['0:1000:10,20:0:65536', 'host', '0:1000:10'],
  ])('of %s has ids of the %s twice', (ranges, side, value) => {
    const thrown = error(() => checkMapping(request(ranges)))
    expect(thrown).toMatchObject({ code: 'option-invalid', facts: { option: 'uid-mapping', value } })
    expect((thrown as Error).message).toContain(`ids of the ${side}`)
    expect(error(() => checkMapping(request('0:100000:65536', ranges)))).toMatchObject({
      facts: { option: 'gid-mapping', value },
    })
  })

  it('may have ranges that touch each other', () => {
    expect(checkMapping(request('0:1000:10,10:1010:10,20:990:10')).uid).toHaveLength(3)
  })

  it('has as many ranges as the kernel takes, and not one more', () => {
    const ranges = Array.from({ length: 341 }, (_, i) => ({ containerId: i, hostId: 1000 + 2 * i, size: 1 }))
    expect(checkMapping({ uid: ranges.slice(0, 340), gid: ranges.slice(0, 1) }).uid).toHaveLength(340)
    expect(error(() => checkMapping({ uid: ranges, gid: ranges.slice(0, 1) }))).toMatchObject({
      code: 'option-invalid',
      facts: { option: 'uid-mapping', value: '341 ranges' },
    })
  })

  it.each([
    [{ uid: [range('0:1000:1')], gid: [] }, 'gid-mapping'],
    [{ uid: [], gid: [range('0:1000:1')] }, 'uid-mapping'],
    [{ uid: [range('1:1000:1')], gid: [range('0:1000:1')] }, 'uid-mapping'],
    [{ uid: [range('0:1000:1')], gid: [range('1:1000:1')] }, 'gid-mapping'],
    [{ uid: [range('0:1000:1')], gid: [range('0:1000:65536')], unmapped: 'squash' }, 'uid-mapping'],
    [{ uid: [range('0:1000:65535')], gid: [range('0:1000:65534')], unmapped: 'squash' }, 'gid-mapping'],
    [{ uid: [range('0:1000:1')], gid: [range('0:1000:1')], unmapped: 'pass' }, 'unmapped'],
    [{ uid: [{ containerId: 0, hostId: '5', size: 1 }], gid: [range('0:1000:1')] }, 'uid-mapping'],
    [{ uid: [{ containerId: 0, hostId: 1.5, size: 1 }], gid: [range('0:1000:1')] }, 'uid-mapping'],
    [{ uid: [{ containerId: 0, hostId: 5 }], gid: [range('0:1000:1')] }, 'uid-mapping'],
    [{ uid: [{ containerId: Number.NaN, hostId: 5, size: 1 }], gid: [range('0:1:1')] }, 'uid-mapping'],
    [{ uid: [null], gid: [range('0:1000:1')] }, 'uid-mapping'],
    [{ uid: '0:1000:1', gid: [range('0:1000:1')] }, 'uid-mapping'],
    [{ gid: [range('0:1000:1')] }, 'uid-mapping'],
  ])('cannot be %j', (asked, option) => {
    expect(error(() => checkMapping(asked as unknown as IdMappingRequest))).toMatchObject({
      code: 'option-invalid',
      facts: { option },
    })
  })

  it('has one fingerprint however it was said, and another for all else', () => {
    const one = checkMapping(request('0:200000:1000,1000:500000:64536'))
    expect(mappingFingerprint(one)).toBe(
      mappingFingerprint(checkMapping(request('1000:500000:64536,0:200000:1000'))),
    )
    expect(mappingFingerprint(one)).toMatch(/^[0-9a-f]{32}$/)
    const others = [
      request('0:200000:1000,1000:500001:64536'),
      request('0:200000:1000,1000:500000:64535'),
      request('0:200000:1000,1001:500000:64536'),
      request('0:100000:65536', '0:200000:1000,1000:500000:64536'),
      request('0:200000:1000,1000:500000:64536', '0:100000:65536', { unmapped: 'squash' }),
    ].map((each) => mappingFingerprint(checkMapping(each)))
    expect(new Set([mappingFingerprint(one), ...others]).size).toBe(6)
  })

  // Bases are found again by it.
  it('has the fingerprint that it had', () => {
    const mapping = checkMapping(request('0:100000:65536'))
    expect(mappingFingerprint(mapping)).toBe('7b33d2e5b1f7604380f6230366a61ffd')
  })
})

describe('ids', () => {
  it.each([
    [0, 200_000],
    [999, 200_999],
    [1000, 500_000],
    [65_535, 564_535],
    [65_536, null],
    [69_999, null],
    [70_000, 7],
    [70_001, null],
    [4_294_967_295, null],
  ])('%i of the container is %j of the host', (id, expected) => {
    const { uid } = checkMapping(request('70000:7:1,1000:500000:64536,0:200000:1000'))
    expect(hostIdOf(uid, id)).toBe(expected)
  })

  it('are never two to one, and lead back', () => {
    fc.assert(
      fc.property(rangesArbitrary, fc.array(fc.nat(3000), { minLength: 1 }), (ranges, ids) => {
        const { uid } = checkMapping({ uid: ranges, gid: ranges })
        const back = inverseRanges(uid)
        const seen = new Map<number, number>()
        for (const id of ids) {
          const hostId = hostIdOf(uid, id)
          const isIn = ranges.some((each) => id >= each.containerId && id < each.containerId + each.size)
          expect(hostId !== null).toBe(isIn)
          if (hostId === null) continue
          expect(seen.get(hostId) ?? id).toBe(id)
          seen.set(hostId, id)
          expect(hostIdOf(back, hostId)).toBe(id)
        }
      }),
    )
  })
})

/** Ranges in any order, with gaps and without on both sides, the first from id 0. */
const rangesArbitrary = fc
  .array(fc.record({ gap: fc.nat(5), size: fc.integer({ min: 1, max: 300 }), hostGap: fc.nat(5) }), {
    minLength: 1,
    maxLength: 10,
  })
  .chain((pieces) =>
    fc.shuffledSubarray([...pieces.keys()], { minLength: pieces.length }).map((order) => {
      const hostIds = new Map<number, number>()
      let hostId = 50
      for (const index of order) {
        hostId += pieces[index]!.hostGap
        hostIds.set(index, hostId)
        hostId += pieces[index]!.size
      }
      let containerId = 0
      return pieces.map(({ gap, size }, index) => {
        if (index > 0) containerId += gap
        const made = { containerId, hostId: hostIds.get(index)!, size }
        containerId += size
        return made
      })
    }),
  )
