import { execFileSync } from 'node:child_process'
import { describe, expect, it } from 'vitest'
import { keepsMetadataOrder } from '../../../lib/linux/ordered-metadata.js'
import { mountNewDisk } from '../../support/new-disk.js'
import { useScratch } from './scratch.js'

const scratch = useScratch()
const isRoot = process.geteuid?.() === 0

describe.skipIf(!isRoot)('the order of metadata (needs root)', () => {
  it.each([
    ['ext4 with a journal', { type: 'ext4', megabytes: 64 }, true],
    ['ext4 without', { type: 'ext4', megabytes: 64, options: ['-O', '^has_journal'] }, false],
    ['XFS', { type: 'xfs', megabytes: 320 }, true],
    ['btrfs', { type: 'btrfs', megabytes: 128 }, false],
  ] as const)('is told of %s', (_name, disk, isOrdered) => {
    const at = `${scratch.path}/at`
    mountNewDisk(`${scratch.path}/image`, at, disk)
    try {
      expect(keepsMetadataOrder(at)).toBe(isOrdered)
    } finally {
      execFileSync('umount', [at])
    }
  })
})

it('does not claim order for filesystems that it does not know', () => {
  expect(keepsMetadataOrder('/proc')).toBe(false)
})
