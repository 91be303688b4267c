/**
 * Taking test directories away with what a driver mounted in them, and which drivers there are to test.
 */
import { execFileSync } from 'node:child_process'
import { readFileSync, rmSync } from 'node:fs'
import { parseMountPoints } from '../../lib/linux/mount-points.js'

/** Both built-in ways to make a rootfs where mounting is possible: by copies and by mounts. */
export const DRIVERS: readonly string[] = process.geteuid?.() === 0 ? ['vfs', 'overlay'] : ['vfs']

/** Unmounts all below a directory, the last mount first, and removes it. */
export function removeScratch(directory: string): void {
  const mounts = parseMountPoints(readFileSync('/proc/self/mountinfo', 'latin1'))
  for (const mount of mounts.reverse()) {
    if (mount.startsWith(`${directory}/`)) execFileSync('umount', ['--lazy', mount])
  }
  rmSync(directory, { recursive: true, force: true })
}
