/**
 * What the kernel counted of the block device below a directory (Documentation/admin-guide/iostats.rst).
 */
import { readFileSync, statSync } from 'node:fs'

const SECTOR_BYTES = 512

export interface DeviceBytes {
  /** Since the device is there. */
  readonly read: number
  readonly written: number
}

/** @returns null where a filesystem has no block device of its own, as tmpfs and btrfs */
export function deviceBytes(path: string): DeviceBytes | null {
  const { dev } = statSync(path)
  const number = `${(dev >> 8) & 0xfff}:${(dev & 0xff) | ((dev >> 12) & 0xfff00)}`
  try {
    // Third field: sectors read; seventh: sectors written.
    const fields = readFileSync(`/sys/dev/block/${number}/stat`, 'utf8').trim().split(/\s+/)
    return { read: Number(fields[2]) * SECTOR_BYTES, written: Number(fields[6]) * SECTOR_BYTES }
  } catch {
    return null
  }
}
