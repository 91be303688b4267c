import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import vfs from '../../../drivers/vfs/index.js'
import { driverCases } from '../../../lib/testkit/driver-cases.js'

const place = mkdtempSync(join(tmpdir(), 'groot-vfs-'))
afterAll(() => rmSync(place, { recursive: true }))

describe('the vfs driver', () => {
  for (const { title, skip, run } of driverCases({ module: vfs, place })) {
    it.skipIf(skip !== null)(skip === null ? title : `${title} (${skip})`, run)
  }

  it('has no options and says so', () => {
    expect(vfs.parseOptions(null)).toBeNull()
    expect(vfs.parseOptions({})).toBeNull()
    expect(() => vfs.parseOptions({ size: 1 })).toThrow(
      expect.objectContaining({ code: 'option-invalid', facts: { driver: 'vfs', option: 'size' } }),
    )
    expect(() => vfs.parseOptions('x')).toThrow(expect.objectContaining({ code: 'option-invalid' }))
  })
})
