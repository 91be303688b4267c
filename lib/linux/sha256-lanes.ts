/**
 * SHA-256 of several blocks at once, by the OpenSSL that Node brings: a processor hashes two streams side by side in nearly
 * the time of one, because each step of a hash waits for the one before it.
 *
 * OpenSSL has this for its own records of TLS (crypto/sha/asm/sha256-mb-x86_64.pl) and promises nobody anything, so it is
 * tried on blocks whose hashes are known before it is used.
 */
import { createHash, hash } from 'node:crypto'
import { closeSync, openSync, readSync } from 'node:fs'
import { useBlockHasher } from '../composefs/verity.js'
import { type Koffi, loadKoffi } from './koffi.js'
import { MOVABLE_BYTES } from './thread-pool.js'

/** void sha256_multi_block(SHA256_MB_CTX *context, const HASH_DESC *streams, int quarters) */
type MultiBlock = (context: Uint8Array, streams: Uint8Array, quarters: number) => void
type Address = (memory: Uint8Array) => bigint | number

const LANES = 8
const WORDS = 8
const DIGEST_BYTES = 32
const BLOCK = 4096
/** SHA-256 itself works on blocks of 64 bytes. */
const STEP = 64
/** Struct HASH_DESC: a pointer, and an int that says how many steps. */
const STREAM_BYTES = 16
/** What the state of a hash begins with (FIPS 180-4, 5.3.3). */
const INITIAL = [
  0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
] as const

let areThere: boolean | undefined

/**
 * From now on, fs-verity digests of this thread are computed so, where that is possible.
 *
 * @returns whether it is
 */
export function hashBlocksTogether(): boolean {
  areThere ??= load()
  return areThere
}

function load(): boolean {
  try {
    if (process.arch !== 'x64' || !hasShuffles()) return false
    const native = loadKoffi()
    const lanes = new Sha256Lanes(multiBlock(native), (memory) => native.address(memory))
    if (!isAsKnown(lanes)) return false
    useBlockHasher((blocks, into, at) => lanes.hash(blocks, into, at))
    return true
  } catch {
    // A Node without OpenSSL, or with one that hides its functions: one block after the other then.
    return false
  }
}

function multiBlock(native: Koffi): MultiBlock {
  return native.load(null).func('sha256_multi_block', 'void', ['void *', 'void *', 'int'])
}

/** All that the function asks of a processor without asking; of the better ones it finds out what they have. */
function hasShuffles(): boolean {
  const fd = openSync('/proc/cpuinfo', 'r')
  try {
    const first = Buffer.alloc(BLOCK)
    return /^flags\s*:.*\bssse3\b/m.test(first.toString('latin1', 0, readSync(fd, first)))
  } finally {
    closeSync(fd)
  }
}

class Sha256Lanes {
  readonly #call: MultiBlock
  readonly #address: Address
  /** States of all lanes: first words first. */
  readonly #context = fixed(LANES * DIGEST_BYTES)
  readonly #state: Uint32Array
  readonly #initial = Uint32Array.from({ length: LANES * WORDS }, (_, i) => INITIAL[Math.floor(i / LANES)]!)
  readonly #streams = new Streams(BLOCK / STEP)
  /** The end of each hash is the same, as all blocks have one length. */
  readonly #ends = new Streams(1)
  readonly #end = lastStep()

  constructor(call: MultiBlock, address: Address) {
    this.#call = call
    this.#address = address
    this.#state = new Uint32Array(this.#context.buffer, this.#context.byteOffset, LANES * WORDS)
    const end = Number(address(this.#end))
    for (let lane = 0; lane < LANES; lane++) this.#ends.set(lane, end)
  }

  /** Hashes whole blocks, and writes their hashes one after the other. */
  hash(blocks: Uint8Array, into: Uint8Array, at: number): void {
    const first = Number(this.#address(blocks))
    const out = new DataView(into.buffer, into.byteOffset + at)
    // Asked of the blocks themselves each time, after the last call too, so that nobody collects them before.
    for (let done = 0; done * BLOCK < blocks.length; done += LANES) {
      const lanes = Math.min(LANES, blocks.length / BLOCK - done)
      this.#hashLanes(first + done * BLOCK, lanes)
      for (let lane = 0; lane < lanes; lane++)
        for (let word = 0; word < WORDS; word++)
          out.setUint32((done + lane) * DIGEST_BYTES + word * 4, this.#state[word * LANES + lane]!)
    }
  }

  #hashLanes(address: number, lanes: number): void {
    this.#state.set(this.#initial)
    for (let lane = 0; lane < lanes; lane++) this.#streams.set(lane, address + lane * BLOCK)
    this.#streams.use(lanes)
    this.#ends.use(lanes)
    const quarters = lanes > LANES / 2 ? 2 : 1
    this.#call(this.#context, this.#streams.bytes, quarters)
    this.#call(this.#context, this.#ends.bytes, quarters)
  }
}

/** An array of struct HASH_DESC, one for each lane, all of one length or empty. */
class Streams {
  readonly bytes = fixed(LANES * STREAM_BYTES)
  readonly #words: Uint32Array
  readonly #steps: number
  #used = 0

  constructor(steps: number) {
    this.#steps = steps
    this.#words = new Uint32Array(this.bytes.buffer, this.bytes.byteOffset, (LANES * STREAM_BYTES) / 4)
  }

  set(lane: number, address: number): void {
    this.#words[lane * 4] = address
    this.#words[lane * 4 + 1] = Math.floor(address / 2 ** 32)
  }

  /** The first lanes are hashed, the others are not. */
  use(lanes: number): void {
    if (lanes === this.#used) return
    for (let lane = 0; lane < LANES; lane++) this.#words[lane * 4 + 2] = lane < lanes ? this.#steps : 0
    this.#used = lanes
  }
}

/** What follows the bytes of a block: a one, zeros, and how many bits there were (FIPS 180-4, 5.1.1). */
function lastStep(): Buffer {
  const step = fixed(STEP)
  step[0] = 0x80
  step.writeUInt32BE(BLOCK * 8, STEP - 4)
  return step
}

/** Zeroed memory that the garbage collector leaves where it is. */
function fixed(bytes: number): Buffer {
  return Buffer.from(new ArrayBuffer(Math.max(bytes, MOVABLE_BYTES + 1)), 0, bytes)
}

/** As many blocks at once as there are ways to fill the lanes, at an odd address. */
function isAsKnown(lanes: Sha256Lanes): boolean {
  const most = LANES + 2
  const blocks = createHash('shake128', { outputLength: most * BLOCK + 1 }).digest()
  for (let count = 1; count <= most; count++) {
    const some = blocks.subarray(1, 1 + count * BLOCK)
    const found = Buffer.alloc(count * DIGEST_BYTES)
    lanes.hash(some, found, 0)
    for (let i = 0; i < count; i++) {
      const known = hash('sha256', some.subarray(i * BLOCK, (i + 1) * BLOCK), 'hex')
      if (found.toString('hex', i * DIGEST_BYTES, (i + 1) * DIGEST_BYTES) !== known) return false
    }
  }
  return true
}
