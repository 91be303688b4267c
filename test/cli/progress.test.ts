import { describe, expect, it } from 'vitest'
import { Progress } from '../../cli/progress.js'
import type { GrootEvent } from '../../lib/index.js'

const retry = {
  kind: 'retry',
  what: 'blob',
  name: 'sha256:9f2c',
  endpoint: 'https://mirror.example',
  next: 'https://mirror.example',
  attempt: 2,
  code: 'registry-timeout',
  message: 'Cannot go on with "mirror.example": it sent nothing more within 60 seconds',
  waitMs: 1540,
} as const satisfies GrootEvent

describe('progress', () => {
  it.each([
    ['the same endpoint', {}, 'asking again in 1.5 s'],
    ['the same endpoint at once', { waitMs: 0 }, 'asking again now'],
    ['another', { next: 'https://registry.example', waitMs: 0 }, 'asking https://registry.example now'],
  ])('tells of a new try at %s, with all its facts', (_, change, plan) => {
    const { kind, ...facts } = { ...retry, ...change }
    expect(new Progress(() => 0).describe({ kind, ...facts })).toEqual({
      level: 'info',
      code: 'retry',
      message: `${retry.message}; ${plan}`,
      facts,
    })
  })
})
