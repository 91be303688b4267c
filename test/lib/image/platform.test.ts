import { describe, expect, it } from 'vitest'
import type { GrootError } from '../../../lib/errors.js'
import {
  formatPlatform,
  hostPlatform,
  normalizePlatform,
  type Platform,
  parsePlatform,
  platformDistance,
  platformMissing,
  rankByPlatform,
} from '../../../lib/image/platform.js'

const of = (text: string): Platform => {
  const [os, architecture, variant] = text.split('/') as [string, string, string?]
  return { os, architecture, ...(variant === undefined ? {} : { variant }) }
}

describe('platforms', () => {
  it.each([
    ['linux/amd64', 'linux/amd64'],
    ['linux/x86_64', 'linux/amd64'],
    ['Linux/AMD64/v1', 'linux/amd64'],
    ['linux/amd64/3', 'linux/amd64/v3'],
    ['linux/aarch64', 'linux/arm64'],
    ['linux/arm64/v8', 'linux/arm64'],
    ['linux/arm64/8', 'linux/arm64'],
    ['linux/arm64/v9', 'linux/arm64/v9'],
    ['linux/arm', 'linux/arm/v7'],
    ['linux/arm/6', 'linux/arm/v6'],
    ['linux/armhf', 'linux/arm/v7'],
    ['linux/armel', 'linux/arm/v6'],
    ['linux/i386', 'linux/386'],
    ['linux/riscv64', 'linux/riscv64'],
    ['windows/amd64', 'windows/amd64'],
  ])('%s is %s', (text, normal) => {
    expect(formatPlatform(parsePlatform(text))).toBe(normal)
    expect(parsePlatform(normal)).toEqual(parsePlatform(text))
    expect(normalizePlatform(parsePlatform(text))).toEqual(parsePlatform(text))
  })

  it.each([
    '',
    'linux',
    'linux/',
    '/amd64',
    'linux//v7',
    'linux/arm/v7/x',
    'linux/a b',
    'linux/arm/',
    '-x/y',
    'linux/é',
  ])('refuses %j', (text) => {
    let error: unknown
    try {
      parsePlatform(text)
    } catch (thrown) {
      error = thrown
    }
    expect(error).toMatchObject({ kind: 'usage', code: 'platform-invalid', facts: { platform: text } })
  })

  it.each([
    ['x64', undefined, 'linux/amd64'],
    ['arm64', undefined, 'linux/arm64'],
    ['arm', '7', 'linux/arm/v7'],
    ['arm', '6', 'linux/arm/v6'],
    ['arm', undefined, 'linux/arm/v7'],
    ['ia32', undefined, 'linux/386'],
    ['ppc64', undefined, 'linux/ppc64le'],
    ['s390x', undefined, 'linux/s390x'],
    ['mipsel', undefined, 'linux/mipsle'],
    ['loong64', undefined, 'linux/loong64'],
  ])('of a host that Node calls %s (arm %s) is %s', (architecture, arm, expected) => {
    expect(formatPlatform(hostPlatform(architecture, arm))).toBe(expected)
  })
})

describe('choosing by platform', () => {
  it.each([
    ['linux/amd64', 'linux/amd64', 0],
    ['linux/amd64', 'linux/amd64/v2', null],
    ['linux/amd64/v3', 'linux/amd64', 2],
    ['linux/amd64/v3', 'linux/amd64/v2', 1],
    ['linux/arm/v7', 'linux/arm/v5', 2],
    ['linux/arm', 'linux/arm/v7', 0],
    ['linux/arm/v6', 'linux/arm/v7', null],
    ['linux/arm64', 'linux/arm64/v8', 0],
    ['linux/arm64', 'linux/arm/v7', null],
    ['linux/amd64', 'linux/386', null],
    ['linux/amd64', 'windows/amd64', null],
    ['linux/ppc64le/power9', 'linux/ppc64le', null],
    ['linux/ppc64le/power9', 'linux/ppc64le/power9', 0],
  ])('%s is served by %s at distance %s', (wanted, offered, distance) => {
    expect(platformDistance(of(wanted), of(offered))).toBe(distance)
  })

  it('asks for the version of the operating system only when one is wanted', () => {
    const offered = { ...of('windows/amd64'), osVersion: '10.0.1' }
    expect(platformDistance(of('windows/amd64'), offered)).toBe(0)
    expect(platformDistance({ ...of('windows/amd64'), osVersion: '10.0.2' }, offered)).toBeNull()
  })

  it('takes the nearest first, then the order of the index, then what names no platform', () => {
    const entries = [
      { id: 'anything' },
      { id: 'v5', platform: of('linux/arm/v5') },
      { id: 'attestation', platform: of('unknown/unknown') },
      { id: 'v6', platform: of('linux/arm/v6') },
      { id: 'v8', platform: of('linux/arm/v8') },
      { id: 'v6 again', platform: of('linux/arm/6') },
      { id: 'other', platform: of('linux/amd64') },
    ]
    expect(rankByPlatform(entries, of('linux/arm/v7')).map(({ id }) => id)).toEqual([
      'v6',
      'v6 again',
      'v5',
      'anything',
    ])
  })

  it('says what there is when nothing suits', () => {
    const offered = [of('linux/arm64'), of('unknown/unknown'), of('linux/arm64'), of('windows/amd64')]
    const error: GrootError = platformMissing('docker://h.example/x:1', of('linux/amd64'), offered)
    expect(error).toMatchObject({
      kind: 'not-found',
      code: 'platform-missing',
      message:
        'Cannot use image "docker://h.example/x:1" on linux/amd64: it is for linux/arm64, windows/amd64',
      facts: {
        image: 'docker://h.example/x:1',
        platform: 'linux/amd64',
        available: ['linux/arm64', 'windows/amd64'],
      },
    })
  })
})
