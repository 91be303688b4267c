/**
 * A new filesystem in a sparse file. Knows no test runner: programs in other machines use it too.
 */
import { execFileSync } from 'node:child_process'
import { mkdirSync, truncateSync, writeFileSync } from 'node:fs'

export interface NewDisk {
  readonly type: 'btrfs' | 'ext4' | 'xfs'
  readonly megabytes: number
  /** For mkfs. */
  readonly options?: readonly string[]
  /** For mount(8), beside the loop device. */
  readonly mountOptions?: readonly string[]
}

/** Makes it in the file `image`, and mounts it on the new directory `at`; whoever asks for it unmounts it. */
export function mountNewDisk(image: string, at: string, disk: NewDisk): void {
  const { type, megabytes, options = [], mountOptions = [] } = disk
  writeFileSync(image, '')
  truncateSync(image, megabytes * 1024 ** 2)
  execFileSync(`mkfs.${type}`, ['-q', ...options, image], { stdio: ['ignore', 'ignore', 'pipe'] })
  mkdirSync(at)
  execFileSync('mount', ['-t', type, '-o', ['loop', ...mountOptions].join(','), image, at])
}
