import { execFileSync } from 'node:child_process'
import { mkdirSync, truncateSync, writeFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { keepsMetadataOrder } from '../../../lib/linux/ordered-metadata.js'
import { useScratch } from './scratch.js'

const scratch = useScratch()
const isRoot = process.geteuid?.() === 0

describe.skipIf(!isRoot)('the order of metadata (needs root)', () => {
  it.each([
    ['ext4 with a journal', ['mkfs.ext4', '-q', '-F'], 64, true],
    ['ext4 without', ['mkfs.ext4', '-q', '-F', '-O', '^has_journal'], 64, false],
    ['XFS', ['mkfs.xfs', '-q'], 320, true],
    ['btrfs', ['mkfs.btrfs', '-q'], 128, false],
  ] as const)('is told of %s', (_name, [mkfs, ...options], megabytes, isOrdered) => {
    const image = `${scratch.path}/image`
    const at = `${scratch.path}/at`
    writeFileSync(image, '')
    truncateSync(image, megabytes * 1024 ** 2)
    execFileSync(mkfs, [...options, image])
    mkdirSync(at)
    execFileSync('mount', ['-o', 'loop', image, at])
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
