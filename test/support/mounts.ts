/**
 * Taking test directories away with what a driver mounted in them, and which drivers there are to test.
 */
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { parseMountPoints } from '../../lib/linux/mount-points.js'
import { removeTree } from '../../lib/linux/remove-tree.js'
import { whyNoBtrfs } from './btrfs-disk.js'

/**
 * The built-in drivers that can be tested here: the first works everywhere, the last is the default of the machine. For those that
 * want a filesystem of their own see onFilesystemOf().
 */
export const DRIVERS: readonly string[] =
  process.geteuid?.() === 0 ? ['vfs', ...(whyNoBtrfs() === null ? ['btrfs'] : []), 'overlay'] : ['vfs']

/** Unmounts all below a directory, the last mount first, and removes it. */
export function removeScratch(directory: string): void {
  const mounts = parseMountPoints(readFileSync('/proc/self/mountinfo', 'latin1'))
  for (const mount of mounts.reverse()) {
    if (mount.startsWith(`${directory}/`)) execFileSync('umount', ['--lazy', mount])
  }
  // Not rm: there may be subvolumes that are read-only.
  removeTree(directory)
}
