import { defineConfig, mergeConfig } from 'vitest/config'
import shared from '../vitest.config.js'

/** The long run of the crash suite; the short one is among all tests. One file at a time: moments are measured. */
export default mergeConfig(
  { ...shared, test: { ...shared.test, include: [] } },
  defineConfig({
    test: {
      include: ['test/crash/**/*.test.ts'],
      env: { GROOT_CRASH: 'long' },
      fileParallelism: false,
      hookTimeout: 600_000,
    },
  }),
)
