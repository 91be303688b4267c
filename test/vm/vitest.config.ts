import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vitest/config'

// As in test/vitest.config.ts: the names of checks are read from modules that import the sources.
const conditions = ['groot-source', 'node', 'import', 'module', 'default']

export default defineConfig({
  resolve: { conditions },
  ssr: { resolve: { conditions } },
  test: {
    root: fileURLToPath(new URL('../..', import.meta.url)),
    include: ['test/vm/**/*.test.ts'],
    globalSetup: ['./test/vm/set-up.ts'],
    reporters: ['default', './test/skipped-reporter.ts'],
    // A machine keeps one processor busy, and a little more.
    maxWorkers: 2,
    testTimeout: 60_000,
    hookTimeout: 300_000,
  },
})
