/**
 * fs-verity digests, as the kernel measures them (Documentation/filesystems/fsverity.rst): a Merkle tree over 4096-byte
 * blocks with SHA-256 or SHA-512 and no salt, then the hash of a descriptor that holds the tree's root and the file's size.
 *
 * Pure computation; switching fs-verity on for a file is in lib/linux.
 */
import { hash } from 'node:crypto'
import { asBuffer, type ByteString, fromBytes } from '../bytes.js'
import type { VerityDigest } from '../digest.js'

export type VerityAlgorithm = 'sha256' | 'sha512'
/** An fs-verity digest by SHA-512, lower-case hex without a prefix: 128 digits. */
export type Verity512Digest = string & { readonly __brand: 'Verity512Digest' }
export type VerityDigestBy<A extends VerityAlgorithm> = A extends 'sha512' ? Verity512Digest : VerityDigest

const BLOCK = 4096
const ZERO_BLOCK = Buffer.alloc(BLOCK)
/** Struct fsverity_descriptor, one at a time. */
const DESCRIPTOR = Buffer.alloc(256)
/** For blocks that are not full, one at a time. */
const PADDED = Buffer.alloc(BLOCK)

/** What the algorithms differ in. */
interface Algorithm {
  readonly name: VerityAlgorithm
  /** Its number in the kernel's interface (include/uapi/linux/fsverity.h). */
  readonly number: 1 | 2
  readonly digestBytes: 32 | 64
  readonly zeroBlockHash: ByteString
}

const ALGORITHMS: Readonly<Record<VerityAlgorithm, Algorithm>> = {
  sha256: { name: 'sha256', number: 1, digestBytes: 32, zeroBlockHash: hashOf('sha256', ZERO_BLOCK) },
  sha512: { name: 'sha512', number: 2, digestBytes: 64, zeroBlockHash: hashOf('sha512', ZERO_BLOCK) },
}

/**
 * Hashes whole blocks by SHA-256.
 *
 * @param blocks a multiple of 4096 bytes
 * @param into where their hashes go, one after the other, from `at` on
 */
export type BlockHasher = (blocks: Uint8Array, into: Buffer, at: number) => void

let blockHasher: BlockHasher = (blocks, into, at) => hashOneByOne('sha256', blocks, into, at)

/** Has blocks hashed by somebody who is faster with several, in this thread. */
export function useBlockHasher(hasher: BlockHasher): void {
  blockHasher = hasher
}

function hashBlocks(by: Algorithm, blocks: Uint8Array, into: Buffer, at: number): void {
  if (blocks.length > BLOCK && by.name === 'sha256') blockHasher(blocks, into, at)
  else hashOneByOne(by.name, blocks, into, at)
}

function hashOneByOne(algorithm: VerityAlgorithm, blocks: Uint8Array, into: Buffer, at: number): void {
  let to = at
  for (let from = 0; from < blocks.length; from += BLOCK)
    to += into.write(hashOf(algorithm, blocks.subarray(from, from + BLOCK)), to, 'latin1')
}

/** Digest of a content that is at hand as a whole; SHA-256 unless another algorithm is named. */
export function verityDigest(content: Uint8Array): VerityDigest
export function verityDigest<A extends VerityAlgorithm>(content: Uint8Array, algorithm: A): VerityDigestBy<A>
export function verityDigest(
  content: Uint8Array,
  algorithm: VerityAlgorithm = 'sha256',
): VerityDigestBy<VerityAlgorithm> {
  const by = ALGORITHMS[algorithm]
  return describe(by, content.length, content.length === 0 ? noRoot(by) : rootOf(by, content))
}

/** The root of the tree over some bytes: the hash of their block, or of the hashes of their blocks, level by level. */
function rootOf(by: Algorithm, bytes: Uint8Array): ByteString {
  if (bytes.length <= BLOCK) return hashBlock(by.name, bytes)
  const hashes = Buffer.allocUnsafe(Math.ceil(bytes.length / BLOCK) * by.digestBytes)
  const whole = bytes.length - (bytes.length % BLOCK)
  hashBlocks(by, bytes.subarray(0, whole), hashes, 0)
  if (whole < bytes.length)
    hashes.write(hashBlock(by.name, bytes.subarray(whole)), hashes.length - by.digestBytes, 'latin1')
  return rootOf(by, hashes)
}

/** Digest of an image file, given whole or as the pieces that it is written in; the identity of a composefs image. */
export function imageFsVerity(image: Uint8Array | Iterable<Uint8Array>): VerityDigest
export function imageFsVerity<A extends VerityAlgorithm>(
  image: Uint8Array | Iterable<Uint8Array>,
  algorithm: A,
): VerityDigestBy<A>
export function imageFsVerity(
  image: Uint8Array | Iterable<Uint8Array>,
  algorithm: VerityAlgorithm = 'sha256',
): VerityDigestBy<VerityAlgorithm> {
  const hasher = new VerityHasher(algorithm)
  // A Uint8Array is an iterable too, of numbers.
  if (image instanceof Uint8Array) hasher.update(image)
  else for (const piece of image) hasher.update(piece)
  return hasher.digest()
}

/** Streaming form. Memory: one block per level of the tree, whatever the size. */
export class VerityHasher<A extends VerityAlgorithm = 'sha256'> {
  readonly #by: Algorithm
  #size = 0
  readonly #partial = Buffer.allocUnsafe(BLOCK)
  #partialLength = 0
  readonly #levels: Level[] = []

  /** @param algorithm SHA-256 unless another is named */
  constructor(algorithm?: A) {
    this.#by = ALGORITHMS[algorithm ?? 'sha256']
  }

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
    at = this.#pushBlocks(bytes, at)
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
    for (let i = 0; i < blocks; i++) this.#push(0, this.#by.zeroBlockHash)
    this.#size += blocks * BLOCK
    left -= blocks * BLOCK
    if (left > 0) this.update(ZERO_BLOCK.subarray(0, left))
  }

  /** Ends the stream; the hasher cannot be used any more. */
  digest(): VerityDigestBy<A> {
    if (this.#size === 0) return this.#describe(noRoot(this.#by))
    if (this.#partialLength > 0) this.#flushPartial()
    for (let i = 0; ; i++) {
      const level = this.#levels[i]!
      if (level.count === 1) return this.#describe(fromBytes(level.block, 0, this.#by.digestBytes))
      if (level.filled > 0) this.#flushLevel(i)
    }
  }

  #describe(root: ByteString): VerityDigestBy<A> {
    return describe(this.#by, this.#size, root) as VerityDigestBy<A>
  }

  #flushPartial(): void {
    this.#partial.fill(0, this.#partialLength)
    this.#partialLength = 0
    this.#push(0, hashOf(this.#by.name, this.#partial))
  }

  /** @returns where the first byte stands that is not in a whole block */
  #pushBlocks(bytes: Uint8Array, from: number): number {
    let at = from
    while (at + BLOCK <= bytes.length) {
      const level = this.#levelWithRoom(0)
      const room = (BLOCK - level.filled) / this.#by.digestBytes
      const count = Math.min(room, Math.floor((bytes.length - at) / BLOCK))
      hashBlocks(this.#by, bytes.subarray(at, at + count * BLOCK), level.block, level.filled)
      level.filled += count * this.#by.digestBytes
      level.count += count
      at += count * BLOCK
    }
    return at
  }

  #push(index: number, digest: ByteString): void {
    const level = this.#levelWithRoom(index)
    level.filled += level.block.write(digest, level.filled, 'latin1')
    level.count++
  }

  #levelWithRoom(index: number): Level {
    this.#levels[index] ??= { block: Buffer.alloc(BLOCK), filled: 0, count: 0 }
    const level = this.#levels[index]
    // A full block is hashed only when the next digest comes, so that a level with one digest can be told to be the root.
    if (level.filled === BLOCK) this.#flushLevel(index)
    return level
  }

  #flushLevel(index: number): void {
    const level = this.#levels[index]!
    level.block.fill(0, level.filled)
    level.filled = 0
    this.#push(index + 1, hashOf(this.#by.name, level.block))
  }
}

interface Level {
  readonly block: Buffer
  filled: number
  /** Digests pushed so far. */
  count: number
}

function hashBlock(algorithm: VerityAlgorithm, content: Uint8Array): ByteString {
  if (content.length === BLOCK) return hashOf(algorithm, content)
  PADDED.set(content)
  PADDED.fill(0, content.length)
  return hashOf(algorithm, PADDED)
}

/** Hash of struct fsverity_descriptor (include/uapi/linux/fsverity.h): 256 bytes. */
function describe(by: Algorithm, size: number, root: ByteString): VerityDigestBy<VerityAlgorithm> {
  DESCRIPTOR.fill(0)
  DESCRIPTOR[0] = 1 // version
  DESCRIPTOR[1] = by.number
  DESCRIPTOR[2] = 12 // log2 of the block size
  DESCRIPTOR.writeBigUInt64LE(BigInt(size), 8)
  DESCRIPTOR.write(root, 16, 'latin1')
  return hash(by.name, DESCRIPTOR, 'hex') as VerityDigestBy<VerityAlgorithm>
}

/** What a tree of no blocks has in place of a root. */
function noRoot({ digestBytes }: Algorithm): ByteString {
  return '\0'.repeat(digestBytes) as ByteString
}

/** As a string, which Node makes faster than a buffer of its own for each block. */
function hashOf(algorithm: VerityAlgorithm, bytes: Uint8Array): ByteString {
  return hash(algorithm, asBuffer(bytes), 'binary') as ByteString
}
