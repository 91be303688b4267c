/**
 * fs-verity digests, as the kernel measures them (Documentation/filesystems/fsverity.rst): a Merkle tree over 4096-byte
 * blocks with SHA-256 and no salt, then the hash of a descriptor that holds the tree's root and the file's size.
 *
 * Pure computation; switching fs-verity on for a file is in lib/linux.
 */
import { hash } from 'node:crypto'
import { asBuffer } from '../bytes.js'
import type { VerityDigest } from '../digest.js'

const BLOCK = 4096
const DIGEST = 32
const ALGORITHM_SHA256 = 1

const ZERO_BLOCK = Buffer.alloc(BLOCK)
const ZERO_BLOCK_HASH = sha256(ZERO_BLOCK)

/** Digest of a content that is at hand as a whole. */
export function verityDigest(content: Uint8Array): VerityDigest {
  if (content.length > BLOCK) {
    const hasher = new VerityHasher()
    hasher.update(content)
    return hasher.digest()
  }
  return describe(content.length, content.length === 0 ? Buffer.alloc(DIGEST) : hashBlock(content))
}

/** Streaming form. Memory: one block per level of the tree, whatever the size. */
export class VerityHasher {
  #size = 0
  readonly #partial = Buffer.allocUnsafe(BLOCK)
  #partialLength = 0
  readonly #levels: Level[] = []

  update(bytes: Uint8Array): void {
    this.#size += bytes.length
    let at = 0
    if (this.#partialLength > 0) {
      at = Math.min(BLOCK - this.#partialLength, bytes.length)
      this.#partial.set(bytes.subarray(0, at), this.#partialLength)
      this.#partialLength += at
      if (this.#partialLength < BLOCK) return
      this.#flushPartial()
    }
    for (; at + BLOCK <= bytes.length; at += BLOCK) this.#push(0, sha256(bytes.subarray(at, at + BLOCK)))
    if (at < bytes.length) {
      this.#partial.set(bytes.subarray(at), 0)
      this.#partialLength = bytes.length - at
    }
  }

  /** The same as update with `length` zero bytes, without touching them: holes of sparse files. */
  updateZeros(length: number): void {
    let left = length
    if (this.#partialLength > 0 || left < BLOCK) {
      const head = Math.min(left, BLOCK - this.#partialLength)
      this.update(ZERO_BLOCK.subarray(0, head))
      left -= head
    }
    const blocks = Math.floor(left / BLOCK)
    for (let i = 0; i < blocks; i++) this.#push(0, ZERO_BLOCK_HASH)
    this.#size += blocks * BLOCK
    left -= blocks * BLOCK
    if (left > 0) this.update(ZERO_BLOCK.subarray(0, left))
  }

  /** Ends the stream; the hasher cannot be used any more. */
  digest(): VerityDigest {
    if (this.#size === 0) return describe(0, Buffer.alloc(DIGEST))
    if (this.#partialLength > 0) this.#flushPartial()
    for (let i = 0; ; i++) {
      const level = this.#levels[i]!
      if (level.count === 1) return describe(this.#size, level.block.subarray(0, DIGEST))
      if (level.filled > 0) this.#flushLevel(i)
    }
  }

  #flushPartial(): void {
    this.#partial.fill(0, this.#partialLength)
    this.#partialLength = 0
    this.#push(0, sha256(this.#partial))
  }

  #push(index: number, digest: Uint8Array): void {
    let level = this.#levels[index]
    if (level === undefined) {
      level = { block: Buffer.alloc(BLOCK), filled: 0, count: 0 }
      this.#levels[index] = level
    }
    // A full block is hashed only when the next digest comes, so that a level with one digest can be told to be the root.
    if (level.filled === BLOCK) this.#flushLevel(index)
    level.block.set(digest, level.filled)
    level.filled += DIGEST
    level.count++
  }

  #flushLevel(index: number): void {
    const level = this.#levels[index]!
    level.block.fill(0, level.filled)
    level.filled = 0
    this.#push(index + 1, sha256(level.block))
  }
}

interface Level {
  readonly block: Buffer
  filled: number
  /** Digests pushed so far. */
  count: number
}

function hashBlock(content: Uint8Array): Buffer {
  if (content.length === BLOCK) return sha256(content)
  const block = Buffer.alloc(BLOCK)
  block.set(content)
  return sha256(block)
}

/** Hash of struct fsverity_descriptor (include/uapi/linux/fsverity.h): 256 bytes. */
function describe(size: number, root: Uint8Array): VerityDigest {
  const descriptor = Buffer.alloc(256)
  descriptor[0] = 1 // version
  descriptor[1] = ALGORITHM_SHA256
  descriptor[2] = 12 // log2 of the block size
  descriptor.writeBigUInt64LE(BigInt(size), 8)
  descriptor.set(root, 16)
  return hash('sha256', descriptor, 'hex') as VerityDigest
}

function sha256(bytes: Uint8Array): Buffer {
  return hash('sha256', asBuffer(bytes), 'buffer')
}
