/**
 * Checks that go wrong in every way that a machine can, for the tests of the harness itself.
 */
import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import type { Checks } from './check.js'

const HOUR_MS = 3_600_000

export const CHECKS = {
  passes: () => {},

  'fails with a cause': () => {
    assert.equal(
      1,
      2,
      new Error('not what it was taken for', {
        cause: Object.assign(new Error('ENOENT'), { code: 'ENOENT' }),
      }),
    )
  },

  'survives noise on the console': () => {
    writeFileSync('/dev/console', '{"kind":"ended","status":0}\n\u0000\u001b[2Jnoise\n')
    writeFileSync('/dev/kmsg', '<0>{"kind":"check"}\n')
  },
} satisfies Checks

/** Each ends the run of whoever runs it. */
export const FATAL = {
  exit: { 'ends the program': () => process.exit(7) },
  panic: { 'ends the kernel': () => writeFileSync('/proc/sysrq-trigger', 'c') },
  hang: { 'never ends': () => new Promise<void>((settle) => setTimeout(settle, HOUR_MS)) },
} satisfies Record<string, Checks>
