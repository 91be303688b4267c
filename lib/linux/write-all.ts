/**
 * Writing all of some bytes: write(2) may take a part of them only.
 */
import { writeSync } from 'node:fs'

/** @param position where in the file; null for where it stands */
export function writeAll(fd: number, bytes: Uint8Array, position: number | null = null): void {
  for (let at = 0; at < bytes.length; ) {
    at += writeSync(fd, bytes, at, bytes.length - at, position === null ? null : position + at)
  }
}
