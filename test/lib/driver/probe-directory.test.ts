import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { deadProbes, makeProbeDirectory, removeDeadProbe } from '../../../lib/driver/probe-directory.js'
import { removeScratch } from '../../support/mounts.js'

const AS_ROOT = process.geteuid?.() === 0

let place: string
beforeEach(() => {
  place = mkdtempSync(join(tmpdir(), 'groot-probes-'))
})
afterEach(() => removeScratch(place))

describe('the directory of a probe', () => {
  it('is there for as long as it is used, and nobody takes it away meanwhile', () => {
    {
      using probe = makeProbeDirectory(place)
      writeFileSync(`${probe.path}/file`, '')
      expect(deadProbes(place)).toEqual([])
      expect(removeDeadProbe(probe.path)).toBe(false)
      expect(existsSync(`${probe.path}/file`)).toBe(true)
    }
    expect(readdirSync(place)).toEqual([])
  })

  it('of a dead one is found and removed, and nothing else', () => {
    mkdirSync(`${place}/.tmp-probe-dead/below`, { recursive: true })
    mkdirSync(`${place}/other`)
    symlinkSync('other', `${place}/.tmp-probe-link`)
    expect(deadProbes(place)).toEqual(['.tmp-probe-dead'])
    expect(removeDeadProbe(`${place}/.tmp-probe-dead`)).toBe(true)
    expect(removeDeadProbe(`${place}/.tmp-probe-dead`)).toBe(false)
    expect(readdirSync(place).sort()).toEqual(['.tmp-probe-link', 'other'])
  })

  it.skipIf(!AS_ROOT)('of a dead one goes with what is mounted in it (needs root)', () => {
    const at = `${place}/.tmp-probe-dead/bundle/rootfs`
    mkdirSync(at, { recursive: true })
    execFileSync('mount', ['-t', 'tmpfs', 'groot-test', at])
    mkdirSync(`${at}/inner`)
    execFileSync('mount', ['-t', 'tmpfs', 'groot-test', `${at}/inner`])
    expect(removeDeadProbe(`${place}/.tmp-probe-dead`)).toBe(true)
    expect(readdirSync(place)).toEqual([])
  })
})
