/**
 * create and delete of bundles with disk limits, killed at random moments: no loop device, file or quota group is left either.
 */
import { beforeAll, describe, it } from 'vitest'
import { onFilesystemOf } from '../support/btrfs.js'
import { DRIVERS } from '../support/mounts.js'
import { HAZARDS } from './hazards.js'
import { killAll } from './killing.js'
import { chooseSeed, IS_LONG } from './scene.js'

/** Only root can hold bundles to a limit. The short run leaves out what is nearly the same. */
const LIMITED = process.geteuid?.() === 0 ? DRIVERS.filter((driver) => IS_LONG || driver !== 'vfs') : []
const rounds = IS_LONG ? 100 : 3
const seed = chooseSeed()
const why = LIMITED.length === 0 ? ' (skipped: needs root)' : ''

beforeAll(() => console.log(`seed ${seed} (GROOT_CRASH_SEED repeats it)`))

describe.skipIf(LIMITED.length === 0).each(LIMITED.length === 0 ? ['vfs'] : LIMITED)(
  `killed at any moment, with disk limits and the driver %s${why}`,
  (driver) => {
    onFilesystemOf(driver)
    // What clean does has nothing to do with limits that are gone.
    it.each(HAZARDS.filter(({ verb }) => verb !== 'clean'))(
      '$verb leaves nothing of the limit',
      (hazard) => killAll({ driver, hazard, rounds, seed, isLimited: true }),
      3_600_000,
    )
  },
)
