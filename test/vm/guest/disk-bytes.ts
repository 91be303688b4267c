/**
 * Changing bytes of a file behind the filesystem's back, as a failing disk or somebody with the disk in hand does: on the
 * block device.
 */
import { execFileSync } from 'node:child_process'
import { closeSync, constants, fsyncSync, openSync, readSync, writeSync } from 'node:fs'
import { forgetCaches, mountAt } from './mounts.js'

const BLOCK = 4096
const CHUNK = 4 * 1024 * 1024

/**
 * Inverts one byte of a file, wherever on the disk the block with it stands.
 *
 * Filesystems put blocks of files at multiples of the block size, and a block of a file that is not of zeroes is found by
 * what is in it. That holds for all filesystems alike.
 *
 * @param disk where the filesystem is mounted
 * @returns puts the byte back
 */
export function invertByteOnDisk(disk: string, path: string, offset: number): () => void {
  const block = blockAround(path, offset)
  const device = mountAt(disk).source
  execFileSync('sync')
  // Also what is cached of the device: the filesystem writes past it.
  forgetCaches()
  const fd = openSync(device, constants.O_RDWR)
  try {
    const places = placesOf(fd, block)
    if (places.length === 0) throw new Error(`Cannot find the block at ${offset} of ${path} on ${device}`)
    const inverted = Buffer.of(~block[offset % BLOCK]! & 0xff)
    const original = block.subarray(offset % BLOCK, (offset % BLOCK) + 1)
    const writeAll = (byte: Buffer): void => {
      const target = openSync(device, constants.O_RDWR)
      try {
        for (const place of places) writeSync(target, byte, 0, 1, place + (offset % BLOCK))
        fsyncSync(target)
      } finally {
        closeSync(target)
      }
      forgetCaches()
    }
    writeAll(inverted)
    return () => writeAll(original)
  } finally {
    closeSync(fd)
  }
}

/** The whole block that a byte of a file stands in; after the file's end there are zeroes. */
function blockAround(path: string, offset: number): Buffer {
  const block = Buffer.alloc(BLOCK)
  const fd = openSync(path, 'r')
  try {
    readSync(fd, block, 0, BLOCK, offset - (offset % BLOCK))
    return block
  } finally {
    closeSync(fd)
  }
}

function placesOf(device: number, block: Buffer): number[] {
  const places: number[] = []
  const chunk = Buffer.alloc(CHUNK)
  for (let start = 0; ; start += CHUNK) {
    const length = readSync(device, chunk, 0, CHUNK, start)
    const read = chunk.subarray(0, length)
    for (let at = read.indexOf(block); at !== -1; at = read.indexOf(block, at + 1))
      if (at % BLOCK === 0) places.push(start + at)
    if (length < CHUNK) return places
  }
}
