/**
 * Disks of the machines: an image file with an empty filesystem, and where and how the machine mounts it.
 */
import { open } from 'node:fs/promises'
import { run } from '../../images/tools.js'
import type { MountPoint } from './places.js'

/** `ext4-plain` is ext4 without fs-verity, quotas and project ids. */
export type DiskKind = 'ext4' | 'ext4-plain' | 'btrfs' | 'xfs'

export interface DiskSpec {
  readonly kind: DiskKind
  readonly at: MountPoint
  /** Mebibytes; the file is sparse. */
  readonly size: number
}

export interface Disk extends DiskSpec {
  readonly file: string
}

interface KindOfDisk {
  readonly type: string
  /** Program that makes the filesystem, and its arguments before the file. */
  readonly make: readonly [command: string, ...string[]]
  readonly mountOptions: string
  readonly modules: readonly string[]
}

const EXT4 = ['-q', '-t', 'ext4', '-b', '4096', '-m', '0', '-E', 'root_owner=0:0']

export const KINDS: Readonly<Record<DiskKind, KindOfDisk>> = {
  ext4: {
    type: 'ext4',
    make: ['mke2fs', ...EXT4, '-O', 'verity,quota,project'],
    mountOptions: 'prjquota',
    modules: ['quota_v2'],
  },
  'ext4-plain': { type: 'ext4', make: ['mke2fs', ...EXT4], mountOptions: 'defaults', modules: [] },
  btrfs: { type: 'btrfs', make: ['mkfs.btrfs', '-q'], mountOptions: 'defaults', modules: ['btrfs'] },
  xfs: { type: 'xfs', make: ['mkfs.xfs', '-q'], mountOptions: 'prjquota', modules: ['xfs'] },
}

/** The programs of the host that a disk of this kind needs. */
export function makersOf(kinds: readonly DiskKind[]): string[] {
  return [...new Set(kinds.map((kind) => KINDS[kind].make[0]))]
}

/** Makes the image file, which must not exist, with an empty filesystem. */
export async function makeDisk(file: string, spec: DiskSpec): Promise<Disk> {
  await emptyFile(file, spec.size * 1024 * 1024)
  const [command, ...options] = KINDS[spec.kind].make
  await run(command, [...options, file])
  return { ...spec, file }
}

/** A sparse file of a size in bytes; fails when there is one of the name. */
export async function emptyFile(file: string, bytes: number): Promise<void> {
  const handle = await open(file, 'wx')
  try {
    await handle.truncate(bytes)
  } finally {
    await handle.close()
  }
}
