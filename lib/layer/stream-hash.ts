/**
 * The digest of a stream that passes. Chunks are hashed on Node's thread pool where that is possible, beside whatever else is
 * done with them.
 */
import { createHash } from 'node:crypto'
import type { DigestAlgorithm } from '../digest.js'
import { type Libcrypto, loadLibcrypto, type PoolHash } from '../linux/libcrypto.js'

export class StreamHash implements AsyncDisposable {
  readonly #hash: PoolHash
  #hashing: Promise<void> = Promise.resolve()

  private constructor(hash: PoolHash) {
    this.#hash = hash
  }

  /** @param known who hashes on the pool, for tests; null for nobody */
  static async of(algorithm: DigestAlgorithm, known?: Libcrypto | null): Promise<StreamHash> {
    const library = known === undefined ? await loadLibcrypto() : known
    return new StreamHash(library === null ? hashHere(algorithm) : library.open(algorithm))
  }

  /** Takes the next chunk, which has to stay as it is until `ready` returns; nothing was taken since that did. */
  update(chunk: Uint8Array): void {
    this.#hashing = this.#hash.update(chunk)
    // Told by `ready`, which may be called much later.
    this.#hashing.catch(() => {})
  }

  /** Waits until the last chunk is hashed. */
  ready(): Promise<void> {
    return this.#hashing
  }

  /** Lower-case hex digits; afterwards it cannot be used any more. */
  async digest(): Promise<string> {
    await this.#hashing
    return this.#hash.digest()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#hashing.catch(() => {})
    this.#hash.free()
  }
}

function hashHere(algorithm: DigestAlgorithm): PoolHash {
  const hash = createHash(algorithm)
  return {
    update: async (bytes) => void hash.update(bytes),
    digest: () => hash.digest('hex'),
    free: () => {},
  }
}
