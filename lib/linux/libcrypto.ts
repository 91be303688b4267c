/**
 * Hashes that are computed on Node's thread pool, by the OpenSSL that Node brings: node:crypto computes on the thread that asks.
 *
 * Memory that is given is read until the promise of `update` is settled.
 */

import { type Koffi, loadKoffi } from './koffi.js'
import { callOnPool, MOVABLE_BYTES, type PoolFunction } from './thread-pool.js'

export type PoolHashAlgorithm = 'sha256' | 'sha512'

/** One hash. Not for several calls at once. */
export interface PoolHash {
  /** Begins to hash some bytes; they have to stay as they are until it is done. */
  update(bytes: Uint8Array): Promise<void>
  /** @returns lower-case hex digits. Nothing may be under way; the hash cannot be used any more */
  digest(): string
  /** Lets go of it. Nothing may be under way. */
  free(): void
}

export interface Libcrypto {
  open(algorithm: PoolHashAlgorithm): PoolHash
}

type Pointer = unknown
type UpdateValues = [context: Pointer, bytes: Uint8Array, length: number]

interface Calls {
  readonly create: () => Pointer
  readonly free: (context: Pointer) => void
  readonly begin: (context: Pointer, algorithm: Pointer, engine: null) => number
  readonly update: ((...values: UpdateValues) => number) & PoolFunction<UpdateValues>
  readonly end: (context: Pointer, into: Uint8Array, length: null) => number
  readonly algorithms: Readonly<Record<PoolHashAlgorithm, () => Pointer>>
}

const DIGEST_BYTES = { sha256: 32, sha512: 64 } as const satisfies Record<PoolHashAlgorithm, number>
const SMALL_BYTES = 32 * 1024 // is hashed in the time that handing it over takes

let loading: Promise<Libcrypto | null> | undefined

/** Loads it, once per thread; null where Node does not show its OpenSSL, or it does not do what is expected. */
export function loadLibcrypto(): Promise<Libcrypto | null> {
  loading ??= load()
  return loading
}

async function load(): Promise<Libcrypto | null> {
  try {
    const calls = loadCalls(loadKoffi())
    const library: Libcrypto = { open: (algorithm) => new Hash(calls, algorithm) }
    return (await isAsKnown(library)) ? library : null
  } catch {
    // A Node without OpenSSL, or with one that hides its functions: the caller has another way.
    return null
  }
}

function loadCalls(native: Koffi): Calls {
  const library = native.load(null)
  const pointer = 'void *'
  return {
    create: library.func('EVP_MD_CTX_new', pointer, []),
    free: library.func('EVP_MD_CTX_free', 'void', [pointer]),
    begin: library.func('EVP_DigestInit_ex', 'int', [pointer, pointer, pointer]),
    update: library.func('EVP_DigestUpdate', 'int', [pointer, pointer, 'size_t']) as Calls['update'],
    end: library.func('EVP_DigestFinal_ex', 'int', [pointer, pointer, pointer]),
    algorithms: {
      sha256: library.func('EVP_sha256', pointer, []),
      sha512: library.func('EVP_sha512', pointer, []),
    },
  }
}

/** FIPS 180-4's own example, as small bytes and as many. */
async function isAsKnown(library: Libcrypto): Promise<boolean> {
  const small = library.open('sha256')
  await small.update(Buffer.from('abc'))
  const large = library.open('sha256')
  await large.update(Buffer.alloc(1_000_000, 'a'))
  return (
    small.digest() === 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad' &&
    large.digest() === 'cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0'
  )
}

class Hash implements PoolHash {
  readonly #calls: Calls
  readonly #digestBytes: number
  #context: Pointer | null
  /** What is being read on another thread. */
  #held: Uint8Array | null = null

  constructor(calls: Calls, algorithm: PoolHashAlgorithm) {
    this.#calls = calls
    this.#digestBytes = DIGEST_BYTES[algorithm]
    const context = calls.create()
    if (!context) throw new Error('EVP_MD_CTX_new gives nothing')
    this.#context = context
    if (calls.begin(context, calls.algorithms[algorithm](), null) === 1) return
    this.free()
    throw new Error(`EVP_DigestInit_ex does not take ${algorithm}`)
  }

  async update(bytes: Uint8Array): Promise<void> {
    if (bytes.length <= SMALL_BYTES) {
      const still =
        bytes.length <= MOVABLE_BYTES ? Buffer.concat([bytes, Buffer.alloc(MOVABLE_BYTES + 1)]) : bytes
      return check(this.#calls.update(this.#context, still, bytes.length))
    }
    this.#held = bytes
    try {
      check(await callOnPool(this.#calls.update, [this.#context, bytes, bytes.length]))
    } finally {
      this.#held = null
    }
  }

  digest(): string {
    const into = Buffer.alloc(MOVABLE_BYTES + 1)
    check(this.#calls.end(this.#context, into, null))
    this.free()
    return into.toString('hex', 0, this.#digestBytes)
  }

  free(): void {
    const context = this.#context
    if (context === null) return
    if (this.#held !== null) throw new Error('a hash is not to be freed while it reads')
    this.#context = null
    this.#calls.free(context)
  }
}

function check(result: number): void {
  if (result !== 1) throw new Error('OpenSSL does not hash')
}
