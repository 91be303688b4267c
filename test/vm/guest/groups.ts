/**
 * Every group of checks, by the name that the guest program knows it by.
 */
import { CHECKS as altered } from './altered.js'
import type { Checks } from './check.js'
import { FATAL, CHECKS as faults } from './faults.js'
import { CHECKS as kernel } from './kernel.js'
import { CHECKS as limits, AFTER as limitsAfterReboot, REFUSED as limitsRefused } from './limits.js'
import { CHECKS as overlay } from './overlay.js'
import { AFTER, BEFORE } from './reboot.js'
import { CHECKS as tree } from './tree.js'
import { CHECKS as verity } from './verity.js'
import { CHECKS as withoutVerity } from './without-verity.js'

export const GROUPS = {
  altered,
  faults,
  kernel,
  limits,
  overlay,
  tree,
  verity,
  'before-reboot': BEFORE,
  'after-reboot': AFTER,
  'limits-after-reboot': limitsAfterReboot,
  'limits-refused': limitsRefused,
  'without-verity': withoutVerity,
  exit: FATAL.exit,
  panic: FATAL.panic,
  hang: FATAL.hang,
} as const satisfies Record<string, Checks>

export type GroupName = keyof typeof GROUPS

export function isGroup(name: string): name is GroupName {
  return Object.hasOwn(GROUPS, name)
}
