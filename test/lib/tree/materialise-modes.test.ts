import { describe, expect, it, vi } from 'vitest'
import { rejectionOf } from '../linux/scratch.js'
import { file, meta, tree, useBench, write } from './materialise-bench.js'

// As on filesystems without modes that say yes to chmod(2): none of those is in every kernel.
vi.mock('../../../lib/linux/files.js', async (original) => ({
  ...(await original<typeof import('../../../lib/linux/files.js')>()),
  changeMode: () => {},
  changeModeAt: () => {},
}))

useBench()

describe('materialise, where modes are not kept and nobody says so,', () => {
  it.each([0n, -1n, 1_700_000_000n, 2n ** 40n])(
    'refuses also a tree whose own top would do, whatever its times: %s',
    async (mtimeSeconds) => {
      const below = { ...file('x'), ...meta({ mode: 0o444, mtimeSeconds }) }
      expect(await rejectionOf(write(tree({ below }, { mode: 0o700, mtimeSeconds })))).toMatchObject({
        code: 'value-unrepresentable',
      })
    },
  )
})
