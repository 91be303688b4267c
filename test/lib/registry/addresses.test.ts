import { describe, expect, it } from 'vitest'
import { isLocalHost, isLoopbackHost, watchfulLookup } from '../../../lib/registry/addresses.js'

describe('addresses', () => {
  it.each([
    ['localhost', true, true],
    ['a.localhost', true, true],
    ['localhost.', true, true],
    ['127.0.0.1', true, true],
    ['127.255.0.9', true, true],
    ['[::1]', true, true],
    ['[::ffff:7f00:1]', true, true],
    ['0.0.0.0', true, false],
    ['[::]', true, false],
    ['169.254.169.254', true, false],
    ['[fe80::1]', true, false],
    ['[fd00:ec2::254]', true, false],
    ['[::ffff:a9fe:a9fe]', true, false],
    ['10.0.0.1', false, false],
    ['192.168.1.1', false, false],
    ['[fd00::1]', false, false],
    ['localhost.example', false, false],
    ['notlocalhost', false, false],
    ['registry.example', false, false],
  ])('%s is local: %s, loopback: %s', (hostname, local, loopback) => {
    expect(isLocalHost(hostname)).toBe(local)
    expect(isLoopbackHost(hostname)).toBe(loopback)
  })

  it.each([true, false])('behind a name are noticed, and refused unless allowed (%s)', async (allowed) => {
    const seen: [string, boolean][] = []
    const lookup = watchfulLookup((name, isLocal) => seen.push([name, isLocal]), allowed)
    for (const all of [true, false]) {
      const outcome = await new Promise((resolve) => {
        lookup('localhost', { all, family: 4 }, (error, address) =>
          resolve(error === null ? address : error.code),
        )
      })
      const found = all ? [{ address: '127.0.0.1', family: 4 }] : '127.0.0.1'
      expect(outcome).toEqual(allowed ? found : 'GROOT_LOCAL_ADDRESS')
    }
    expect(seen).toEqual([
      ['localhost', true],
      ['localhost', true],
    ])
  })
})
