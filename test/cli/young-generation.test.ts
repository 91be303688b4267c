import v8 from 'node:v8'
import { afterEach, expect, it, vi } from 'vitest'
import { keepYoungGenerationSmall } from '../../cli/young-generation.js'

afterEach(() => void vi.restoreAllMocks())

it('is kept small from the first layer on, by a flag that this Node knows', () => {
  const set = vi.spyOn(v8, 'setFlagsFromString')
  keepYoungGenerationSmall({ kind: 'layer-known', diffId: 'sha256:0' })
  expect(set).not.toHaveBeenCalled()
  const queued = { kind: 'layer-queued', diffId: 'sha256:0', digest: 'sha256:1', bytes: 1 } as const
  keepYoungGenerationSmall(queued)
  keepYoungGenerationSmall(queued)
  expect(set.mock.calls).toEqual([['--semi-space-growth-factor=1']])
})
