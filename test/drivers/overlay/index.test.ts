import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, it } from 'vitest'
import overlay from '../../../drivers/overlay/index.js'
import { driverCases } from '../../../lib/testkit/driver-cases.js'

const place = mkdtempSync(join(tmpdir(), 'groot-overlay-'))
afterAll(() => rmSync(place, { recursive: true }))

for (const base of ['composefs', 'directory'] as const) {
  describe(`the overlay driver with bases of kind ${base}`, () => {
    for (const { title, skip, run } of driverCases({ module: overlay, place, options: { base } })) {
      it.skipIf(skip !== null)(skip === null ? title : `${title} (${skip})`, run)
    }
  })
}
