/**
 * The system's libzstd, for versions of Node that cannot decompress zstd themselves.
 *
 * Only the stable streaming interface is used (zstd.h, "Streaming decompression"). Memory that the library writes to
 * belongs to JavaScript, so nothing that was handed out can point to freed memory.
 */
import { loadKoffi } from './koffi.js'

/** One decompression. Not for several callers at once. */
export interface LibzstdStream {
  /**
   * Decompresses a chunk. What it gives is overwritten by the next; ask for all of it before the next chunk.
   *
   * @throws {Error} with the library's words when the data is damaged
   */
  decompress(chunk: Uint8Array): Generator<Uint8Array, void, undefined>
  /** Frees the library's memory. May be called twice. */
  close(): void
}

export interface Libzstd {
  /** @throws {Error} when there is no memory */
  open(windowLogMax: number, outputBytes: number): LibzstdStream
}

interface Calls {
  readonly address: (buffer: Uint8Array) => bigint
  readonly create: () => unknown
  readonly free: (stream: unknown) => bigint
  readonly setParameter: (stream: unknown, parameter: number, value: number) => bigint
  readonly decompress: (stream: unknown, output: Uint8Array, input: Uint8Array) => bigint
  readonly isError: (result: bigint) => number
  readonly errorName: (result: bigint) => string
}

const LIBRARY = 'libzstd.so.1'
const WINDOW_LOG_MAX = 100 // ZSTD_d_windowLogMax

/** Loads the library; null where it is missing or older than 1.4. */
export function loadLibzstd(): Libzstd | null {
  const calls = loadCalls()
  if (calls === null) return null
  return { open: (windowLogMax, outputBytes) => new Stream(calls, windowLogMax, outputBytes) }
}

function loadCalls(): Calls | null {
  try {
    const koffi = loadKoffi()
    const library = koffi.load(LIBRARY)
    return {
      address: (buffer) => BigInt(koffi.address(buffer)),
      create: library.func('ZSTD_createDStream', 'void *', []),
      free: library.func('ZSTD_freeDStream', 'size_t', ['void *']),
      setParameter: sized(library.func('ZSTD_DCtx_setParameter', 'size_t', ['void *', 'int', 'int'])),
      decompress: sized(library.func('ZSTD_decompressStream', 'size_t', ['void *', 'void *', 'void *'])),
      isError: library.func('ZSTD_isError', 'unsigned int', ['size_t']),
      errorName: library.func('ZSTD_getErrorName', 'const char *', ['size_t']),
    }
  } catch {
    // No such library, or not the calls that are needed: the caller has another way.
    return null
  }
}

/** koffi gives a size_t as a number when it is small; the errors of zstd are at the very top of the range. */
function sized<Arguments extends unknown[]>(call: (...values: Arguments) => number | bigint) {
  return (...values: Arguments): bigint => BigInt(call(...values))
}

class Stream implements LibzstdStream {
  readonly #calls: Calls
  #handle: unknown = null
  readonly #output: Uint8Array
  // ZSTD_outBuffer and ZSTD_inBuffer: { void *address; size_t size; size_t position }
  readonly #to: BigUint64Array
  readonly #from = new BigUint64Array(3)
  readonly #toBytes: Uint8Array
  readonly #fromBytes: Uint8Array

  constructor(calls: Calls, windowLogMax: number, outputBytes: number) {
    this.#calls = calls
    this.#output = Buffer.allocUnsafeSlow(outputBytes)
    this.#to = BigUint64Array.of(calls.address(this.#output), BigInt(outputBytes), 0n)
    this.#toBytes = new Uint8Array(this.#to.buffer)
    this.#fromBytes = new Uint8Array(this.#from.buffer)
    this.#handle = calls.create()
    if (this.#handle === null) throw new Error('There is no memory for a zstd stream')
    this.#check(calls.setParameter(this.#handle, WINDOW_LOG_MAX, windowLogMax))
  }

  *decompress(chunk: Uint8Array): Generator<Uint8Array, void, undefined> {
    this.#from[0] = this.#calls.address(chunk)
    this.#from[1] = BigInt(chunk.length)
    this.#from[2] = 0n
    let isFull = true
    // A full output buffer means that the library may hold more, also when all input is used.
    while (Number(this.#from[2]) < chunk.length || isFull) {
      this.#to[2] = 0n
      const before: bigint = this.#from[2]!
      this.#check(this.#calls.decompress(this.#handle, this.#toBytes, this.#fromBytes))
      const made = Number(this.#to[2])
      isFull = made === this.#output.length
      if (made > 0) yield this.#output.subarray(0, made)
      else if (this.#from[2] === before) return
    }
  }

  close(): void {
    if (this.#handle !== null) this.#calls.free(this.#handle)
    this.#handle = null
  }

  #check(result: bigint): void {
    if (this.#calls.isError(result) !== 0) throw new Error(this.#calls.errorName(result))
  }
}
