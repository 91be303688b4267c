/**
 * xxHash, the 32-bit form (xxHash specification, "XXH32"), of short byte strings: EROFS puts it in its xattr name filters.
 */
import type { ByteString } from '../bytes.js'

const PRIME1 = 0x9e3779b1
const PRIME2 = 0x85ebca77
const PRIME3 = 0xc2b2ae3d
const PRIME4 = 0x27d4eb2f
const PRIME5 = 0x165667b1
const STRIPE = 16

/**
 * @param seed 32 bits
 * @returns 32 bits, unsigned
 */
export function xxh32(bytes: ByteString, seed: number): number {
  let at = 0
  let hash = (seed + PRIME5) | 0
  if (bytes.length >= STRIPE) {
    const lanes: [number, number, number, number] = [
      seed + PRIME1 + PRIME2,
      seed + PRIME2,
      seed,
      seed - PRIME1,
    ]
    for (; at + STRIPE <= bytes.length; at += STRIPE) {
      for (let lane = 0; lane < 4; lane++) lanes[lane] = round(lanes[lane]!, word(bytes, at + 4 * lane))
    }
    hash = rotate(lanes[0], 1) + rotate(lanes[1], 7) + rotate(lanes[2], 12) + rotate(lanes[3], 18)
  }
  hash = (hash + bytes.length) | 0
  for (; at + 4 <= bytes.length; at += 4) {
    hash = Math.imul(rotate((hash + Math.imul(word(bytes, at), PRIME3)) | 0, 17), PRIME4)
  }
  for (; at < bytes.length; at++) {
    hash = Math.imul(rotate((hash + Math.imul(bytes.charCodeAt(at), PRIME5)) | 0, 11), PRIME1)
  }
  hash = Math.imul(hash ^ (hash >>> 15), PRIME2)
  hash = Math.imul(hash ^ (hash >>> 13), PRIME3)
  return (hash ^ (hash >>> 16)) >>> 0
}

function round(lane: number, input: number): number {
  return Math.imul(rotate((lane + Math.imul(input, PRIME2)) | 0, 13), PRIME1)
}

function word(bytes: ByteString, at: number): number {
  return (
    bytes.charCodeAt(at) |
    (bytes.charCodeAt(at + 1) << 8) |
    (bytes.charCodeAt(at + 2) << 16) |
    (bytes.charCodeAt(at + 3) << 24)
  )
}

function rotate(value: number, bits: number): number {
  return (value << bits) | (value >>> (32 - bits))
}
