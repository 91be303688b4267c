import { describe, expect, it } from 'vitest'
import {
  isLoopbackHost,
  maySend,
  type Place,
  placeOfHost,
  watchfulLookup,
} from '../../../lib/registry/addresses.js'

describe('addresses', () => {
  it.each<[string, Place, boolean]>([
    ['localhost', 'machine', true],
    ['a.localhost', 'machine', true],
    ['localhost.', 'machine', true],
    ['127.0.0.1', 'machine', true],
    ['127.255.0.9', 'machine', true],
    ['[::1]', 'machine', true],
    ['[::ffff:7f00:1]', 'machine', true],
    ['0.0.0.0', 'machine', false],
    ['[::]', 'machine', false],
    ['169.254.169.254', 'link', false],
    ['[fe80::1]', 'link', false],
    ['[fd00:ec2::254]', 'link', false],
    ['[fd20:ce::254]', 'link', false],
    ['[fd00:c1::a9fe:a9fe]', 'link', false],
    ['[fd00:42::42]', 'link', false],
    ['100.100.100.200', 'link', false],
    ['100.100.100.201', 'far', false],
    ['[64:ff9b::a9fe:a9fe]', 'link', false],
    ['[64:ff9b::7f00:1]', 'machine', false],
    ['[64:ff9b::808:808]', 'far', false],
    ['[::a9fe:a9fe]', 'link', false],
    ['[::7f00:1]', 'machine', false],
    ['[::ffff:a9fe:a9fe]', 'link', false],
    ['10.0.0.1', 'far', false],
    ['192.168.1.1', 'far', false],
    ['[fd00::1]', 'far', false],
    ['localhost.example', 'far', false],
    ['notlocalhost', 'far', false],
    ['registry.example', 'far', false],
  ])('%s is at place %s, loopback: %s', (hostname, place, loopback) => {
    expect(placeOfHost(hostname)).toBe(place)
    expect(isLoopbackHost(hostname)).toBe(loopback)
  })

  it.each<[Place, readonly Place[]]>([
    ['far', ['far']],
    ['machine', ['machine', 'far']],
    ['link', ['machine', 'link', 'far']],
  ])('at place %s may send us to %s', (from, allowed) => {
    expect((['machine', 'link', 'far'] as const).filter((to) => maySend(from, to))).toEqual(allowed)
  })

  it.each<[Place, boolean]>([
    ['link', true],
    ['machine', true],
    ['far', false],
  ])('behind a name are noticed, and looked up for who is at place %s: %s', async (from, allowed) => {
    const seen: [string, Place][] = []
    const lookup = watchfulLookup((name, place) => seen.push([name, place]), from)
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
      ['localhost', 'machine'],
      ['localhost', 'machine'],
    ])
  })
})
