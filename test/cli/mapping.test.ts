import { describe, expect, it } from 'vitest'
import { mappingRequest } from '../../cli/mapping.js'
import { result } from './fake-library.js'

const TWO = [
  { containerId: 0, hostId: 200_000, size: 1000 },
  { containerId: 1000, hostId: 500_000, size: 64_536 },
]
const ONE = [{ containerId: 0, hostId: 100_000, size: 65_536 }]
const LINE = '--uid-mapping 0:200000:1000 --uid-mapping=1000:500000:64536 --gid-mapping 0:100000:65536'

describe('the options of a mapping', () => {
  it.each(['create', 'pull'])('are handed on by %s', async (verb) => {
    const { status, calls } = await result(`${verb} ${LINE} oci:d${verb === 'create' ? ' web' : ''}`)
    expect(status).toBe(0)
    expect(calls).toMatchObject([[verb, { mapping: { uid: TWO, gid: ONE } }]])
    const { calls: squashed } = await result(
      `${verb} --unmapped squash ${LINE} oci:d${verb === 'create' ? ' web' : ''}`,
    )
    expect(squashed).toMatchObject([[verb, { mapping: { uid: TWO, gid: ONE, unmapped: 'squash' } }]])
  })

  it('are nothing where there are none, so that the store decides', () => {
    expect(mappingRequest({})).toEqual({})
  })

  it('may be of one kind only as far as the command knows: the library refuses that', () => {
    expect(mappingRequest({ 'uid-mapping': ['0:100000:65536'] })).toEqual({ mapping: { uid: ONE, gid: [] } })
  })

  it.each([
    ['create --uid-mapping 0:1 oci:d web', 'uid-mapping'],
    ['create --gid-mapping 0:1:0 oci:d web', 'gid-mapping'],
    ['init-store --uid-mapping x', 'uid-mapping'],
    ['create --unmapped squash oci:d web', 'unmapped'],
    ['create --unmapped pass oci:d web', 'unmapped'],
  ])('that cannot be end %j with status 2', async (line, option) => {
    const { status, stdout, stderr, calls } = await result(`${line} --log-format json`)
    expect({ status, stdout, calls }).toEqual({ status: 2, stdout: '', calls: [] })
    expect(JSON.parse(stderr)).toMatchObject({ code: 'option-invalid', facts: { option } })
  })
})
