import { describe, expect, it } from 'vitest'
import { fromBytes, toBytes } from '../../../lib/bytes.js'
import { mapAcl, mapCapability } from '../../../lib/ids/attributes.js'

const bytes = (hex: string) => fromBytes(Buffer.from(hex.replaceAll(' ', ''), 'hex'))
const hex = (value: ReturnType<typeof mapAcl>) => (value === null ? null : toBytes(value).toString('hex'))
const NO_ID = 'ffffffff'

describe('an access list', () => {
  it('has its named users and groups mapped, each by its own map, and all else kept', () => {
    const list = (user: string, other: string, group: string) =>
      `02000000 01000600${NO_ID} 02000400${user} 02000500${other} 04000400${NO_ID} 08000700${group} 10000700${NO_ID} 20000000${NO_ID}`
    const value = bytes(list('e8030000', '00000000', '32000000'))
    expect(
      hex(
        mapAcl(
          value,
          (id) => id + 100_000,
          (id) => id + 200_000,
        ),
      ),
    ).toBe(list('888a0100', 'a0860100', '720d0300').replaceAll(' ', ''))
  })

  it('of owners only stays as it is', () => {
    const value = bytes(`02000000 01000600${NO_ID} 04000400${NO_ID} 20000000${NO_ID}`)
    const never = () => {
      throw new Error('nobody is named')
    }
    expect(mapAcl(value, never, never)).toBe(value)
    expect(mapAcl(bytes('02000000'), never, never)).toBe(bytes('02000000'))
  })

  it.each(['', '0200', '01000000', '03000000', `02000000 0100060${NO_ID}`, '02000000 02000400e803'])(
    '%j cannot be read',
    (text) => {
      expect(
        mapAcl(
          bytes(text),
          (id) => id,
          (id) => id,
        ),
      ).toBeNull()
    },
  )
})

describe('capabilities of a file', () => {
  const SETS = '00040000 00000000 00000000 00000000'
  const rooted = (value: string, root: (id: number) => number | null) => {
    const mapped = mapCapability(bytes(value), root)
    return mapped === 'none' ? mapped : hex(mapped)
  }

  it('of nobody count where user 0 of the container is root', () => {
    expect(rooted(`01000002 ${SETS}`, (id) => id + 100_000)).toBe(
      `01000003${SETS.replaceAll(' ', '')}a0860100`,
    )
    expect(rooted(`00000002 ${SETS}`, (id) => id + 100_000)).toBe(
      `00000003${SETS.replaceAll(' ', '')}a0860100`,
    )
  })

  it('in their oldest form get the sets that they have', () => {
    expect(rooted('01000001 00040000 01000000', () => 7)).toBe(
      `01000003 00040000 01000000 00000000 00000000 07000000`.replaceAll(' ', ''),
    )
  })

  it('of a user get that user’s new id, and the short form for user 0', () => {
    expect(rooted(`01000003 ${SETS} e8030000`, (id) => id + 1)).toBe(
      `01000003${SETS.replaceAll(' ', '')}e9030000`,
    )
    expect(rooted(`01000003 ${SETS} e8030000`, (id) => id - 1000)).toBe(`01000002${SETS.replaceAll(' ', '')}`)
    expect(rooted(`01000003 ${SETS} ffffffff`, (id) => (id === 0xffff_ffff ? 5 : 6))).toBe(
      `01000003${SETS.replaceAll(' ', '')}05000000`,
    )
  })

  it('of a user that nobody is are none', () => {
    expect(rooted(`01000003 ${SETS} e8030000`, () => null)).toBe('none')
  })

  it.each([
    '',
    '010000',
    `01000002 00040000`,
    `01000003 ${SETS}`,
    `01000002 ${SETS} 00000000`,
    `01000004 ${SETS}`,
  ])('%j cannot be read', (text) => {
    expect(rooted(text, (id) => id)).toBeNull()
  })
})
