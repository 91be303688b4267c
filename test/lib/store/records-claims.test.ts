/**
 * Records that somebody looks at in the very moment that they are written.
 */
import { closeSync, readdirSync } from 'node:fs'
import { beforeEach, expect, it, vi } from 'vitest'
import type * as claims from '../../../lib/linux/claim.js'

const lost = vi.hoisted(() => ({ times: 0 }))

vi.mock('../../../lib/linux/claim.js', async (original) => {
  const real = await original<typeof claims>()
  return { ...real, claim: (fd: number) => lost.times-- <= 0 && real.claim(fd) }
})

const { isClaimed } = await import('../../../lib/linux/claim.js')
const { writeClaimed, writeRecord } = await import('../../../lib/store/records.js')
const { useScratch } = await import('../linux/scratch.js')

const scratch = useScratch()
beforeEach(() => {
  lost.times = 0
})

it('a record that is to be claimed is claimed, also when another was first for a moment', () => {
  lost.times = 3
  const path = `${scratch.path}/a.json`
  const fd = writeClaimed(path, {})
  expect([isClaimed(path), readdirSync(scratch.path)]).toEqual([true, ['a.json']])
  closeSync(fd)
  expect(isClaimed(path)).toBe(false)
})

it('a record that others always are first to claim is not written, and nothing is left', () => {
  lost.times = 1000
  for (const write of [writeClaimed, writeRecord])
    expect(() => write(`${scratch.path}/a.json`, {})).toThrow('EAGAIN')
  expect(readdirSync(scratch.path)).toEqual([])
})
