import { mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, describe, expect, it } from 'vitest'
import type { Digest } from '../../../lib/digest.js'
import { parseConfig } from '../../../lib/image/config.js'
import type { ResolvedImage } from '../../../lib/sources/source.js'
import { RecentImages, RecentLayers } from '../../../lib/store/recent.js'

const HOST = { os: 'linux', architecture: 'amd64' }

function image(name: string, bytes = 10): ResolvedImage {
  const config = { ...HOST, rootfs: { type: 'layers', diff_ids: [] }, config: {} }
  const configBytes = Buffer.from(JSON.stringify(config))
  return {
    reference: `docker://host/${name}`,
    digest: `sha256:${name}` as Digest,
    manifestBytes: Buffer.alloc(bytes),
    manifest: {} as ResolvedImage['manifest'],
    configBytes,
    config: parseConfig(configBytes),
    layers: [],
  }
}

describe('recent images', () => {
  it('are given back for their digest, size and platform only', () => {
    const recent = new RecentImages()
    const known = image('a')
    recent.put(known)
    expect(recent.get(known.digest, 10, HOST)).toBe(known)
    expect(recent.get(known.digest, 11, HOST)).toBe(null)
    expect(recent.get(known.digest, 10, { os: 'linux', architecture: 'arm64' })).toBe(null)
    expect(recent.get('sha256:b' as Digest, 10, HOST)).toBe(null)
  })

  it('are the last ones used, and none is large', () => {
    const recent = new RecentImages()
    const large = image('large', 1024 ** 2)
    recent.put(large)
    expect(recent.get(large.digest, 1024 ** 2, HOST)).toBe(null)
    const all = Array.from({ length: 33 }, (_, i) => image(`i${i}`))
    for (const each of all.slice(0, 32)) recent.put(each)
    recent.get(all[0]!.digest, 10, HOST)
    recent.put(all[32]!)
    expect([0, 1, 2, 32].map((i) => recent.get(all[i]!.digest, 10, HOST) !== null)).toEqual([
      true,
      false,
      true,
      true,
    ])
  })
})

describe('recent layers', () => {
  const directory = mkdtempSync(join(tmpdir(), 'groot-recent-'))
  const layers = join(directory, 'layers')
  afterEach(() => rmSync(layers, { recursive: true }))
  afterAll(() => rmSync(directory, { recursive: true }))

  function make(ageMs: number) {
    mkdirSync(layers)
    const recent = new RecentLayers({ layers })
    const settle = () => utimesSync(layers, new Date(), new Date(Date.now() - ageMs))
    settle()
    let looks = 0
    const ensure = (name: string) => recent.ensure(name, async () => void looks++)
    return { ensure, settle, looks: () => looks }
  }

  it('are looked at once for as long as the directory of records stays as it is', async () => {
    const { ensure, settle, looks } = make(5000)
    await ensure('a')
    await ensure('a')
    expect(looks()).toBe(1)
    await ensure('b')
    expect(looks()).toBe(2)
    writeFileSync(`${layers}/new`, '')
    settle()
    await ensure('a')
    await ensure('b')
    expect(looks()).toBe(4)
    rmSync(`${layers}/new`)
    await ensure('a')
    expect(looks()).toBe(5)
  })

  it('are looked at each time while the clock of the directory may stand still, or is ahead', async () => {
    const young = make(0)
    await young.ensure('a')
    await young.ensure('a')
    expect(young.looks()).toBe(2)
    rmSync(layers, { recursive: true })
    const ahead = make(-60_000)
    await ahead.ensure('a')
    await ahead.ensure('a')
    expect(ahead.looks()).toBe(2)
  })

  it('that cannot be made sure of are not noted', async () => {
    mkdirSync(layers)
    utimesSync(layers, 0, 0)
    const recent = new RecentLayers({ layers })
    const fails = () => recent.ensure('a', async () => Promise.reject(new Error('gone')))
    await expect(fails()).rejects.toThrow('gone')
    await expect(fails()).rejects.toThrow('gone')
  })
})
