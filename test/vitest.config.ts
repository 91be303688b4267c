import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vitest/config'

// The condition resolves #drivers/* to the TypeScript sources, so that in-process tests use one copy of every module.
const conditions = ['groot-source', 'node', 'import', 'module', 'default']

export default defineConfig({
  resolve: { conditions },
  ssr: { resolve: { conditions } },
  test: {
    root: fileURLToPath(new URL('..', import.meta.url)),
    include: ['test/**/*.test.ts'],
    // Virtual machines: npm run test:vm.
    exclude: ['test/vm/**'],
    reporters: ['default', './test/skipped-reporter.ts'],
    testTimeout: 60_000,
    hookTimeout: 120_000,
    maxWorkers: 2,
    coverage: { provider: 'v8', include: ['lib/**', 'cli/**', 'drivers/**'] },
  },
})
