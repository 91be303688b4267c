import { describe, it } from 'vitest'
import btrfs from '../../../drivers/btrfs/index.js'
import { driverCases } from '../../../lib/testkit/driver-cases.js'
import { useBtrfs, whyNoBtrfs } from '../../support/btrfs.js'

const why = whyNoBtrfs()

describe.skipIf(why !== null)(`the btrfs driver${why === null ? '' : ` (${why})`}`, () => {
  const place = useBtrfs()
  const cases = driverCases({ module: btrfs, place: '/unused' })
  cases.forEach(({ title, skip }, i) => {
    it.skipIf(skip !== null)(title, () => driverCases({ module: btrfs, place: place() })[i]!.run())
  })
})
