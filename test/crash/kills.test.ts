/**
 * create, delete, clean and init-store, killed at random moments: what is left is whole or nothing, the next call succeeds,
 * and one clean leaves nothing. The long run (npm run test:crash) has 300 kills for each of them and each driver.
 */
import { beforeAll, describe, it } from 'vitest'
import { onFilesystemOf } from '../support/btrfs.js'
import { DRIVERS } from '../support/mounts.js'
import { HAZARDS } from './hazards.js'
import { killAll } from './killing.js'
import { chooseSeed, IS_LONG } from './scene.js'

const rounds = IS_LONG ? 300 : 6
const seed = chooseSeed()

beforeAll(() => console.log(`seed ${seed} (GROOT_CRASH_SEED repeats it)`))

describe.each(DRIVERS)('killed at any moment, with the driver %s', (driver) => {
  onFilesystemOf(driver)
  it.each(HAZARDS)(
    '$verb leaves nothing that the next call does not finish',
    (hazard) => killAll({ driver, hazard, rounds, seed, isLimited: false }),
    3_600_000,
  )
})
