/**
 * A btrfs for the tests of a describe; see btrfs-disk.ts.
 */
import { chmodSync } from 'node:fs'
import { afterAll, beforeAll } from 'vitest'
import { type Btrfs, type BtrfsOptions, makeBtrfs } from './btrfs-disk.js'

export { whyNoBtrfs } from './btrfs-disk.js'

/** Gives the tests of a describe a directory for temporary files on a filesystem that a driver works on. */
export function onFilesystemOf(driver: string): void {
  if (driver !== 'btrfs') return
  const path = useBtrfs()
  const before = process.env.TMPDIR
  beforeAll(() => {
    // Others than root shall get to what they have in there, as in every such directory.
    chmodSync(path(), 0o1777)
    process.env.TMPDIR = path()
  })
  afterAll(() => {
    if (before === undefined) delete process.env.TMPDIR
    else process.env.TMPDIR = before
  })
}

/** One for all tests of a describe. @returns its path, while they run */
export function useBtrfs(options: BtrfsOptions = {}): () => string {
  let made: Btrfs | null = null
  beforeAll(() => {
    made = makeBtrfs(options)
  })
  afterAll(() => made?.[Symbol.dispose]())
  return () => made!.path
}
