/**
 * The system's ISA-L (libisal.so.2), where it is installed: it inflates about twice as fast as zlib does.
 *
 * Calls run on Node's thread pool. All memory that the library reads or writes belongs to JavaScript and is held as long as
 * a call lasts. Of `struct inflate_state` (igzip_lib.h) only the fields that are named here are touched; whether they are
 * where they should be is tried on a known stream when the library is loaded.
 */
import { gzipSync } from 'node:zlib'
import { loadKoffi } from './koffi.js'
import { callOnPool, MOVABLE_BYTES } from './thread-pool.js'

/** One decompression of what comes behind the headers of gzip members. Not for several calls at once. */
export interface IsalStream {
  /** What of the input was not used yet. */
  readonly unused: Uint8Array
  /** Gives the next input, when all before is used. It has to stay as it is until it is used. */
  give(input: Uint8Array): void
  /**
   * Inflates until the output is full, the input is used, or the member has ended.
   *
   * @throws {Error} with what is wrong with the data
   */
  inflate(output: Uint8Array): Promise<{ readonly made: number; readonly isEnd: boolean }>
  /** Begins the next member, after the end of one. What is unused is forgotten. */
  reset(): void
}

export interface Libisal {
  open(): IsalStream
}

interface Calls {
  readonly address: (memory: Uint8Array) => bigint
  readonly init: (state: Uint8Array) => void
  readonly reset: (state: Uint8Array) => void
  readonly inflate: (state: Uint8Array) => Promise<number>
}

const LIBRARY = 'libisal.so.2'
const STATE_BYTES = 256 * 1024 // the structure has 88 KiB; what else there may be in other versions has room too
const HUFF_LARGE_BYTES = 4 * (1 << 12) + 2 * 1264 // struct inflate_huff_code_large
const HUFF_SMALL_BYTES = 2 * (1 << 10) + 2 * 80 // struct inflate_huff_code_small
const TABLES = 40
const AT = {
  nextOut: 0,
  availableOut: 8,
  nextIn: 16,
  availableIn: 32,
  blockState: TABLES + HUFF_LARGE_BYTES + HUFF_SMALL_BYTES,
  crcFlag: TABLES + HUFF_LARGE_BYTES + HUFF_SMALL_BYTES + 12,
} as const
const ISAL_GZIP_NO_HDR_VER = 6 // without header, and with the trailer, which is checked
const ISAL_BLOCK_FINISH = 5
const HEADER_BYTES = 10 // of what zlib makes
const LITTLE_ENDIAN = true

/** What isal_inflate gives for bad data, in the words of zlib where it has some. */
const REASONS: Readonly<Record<number, string>> = {
  [-1]: 'invalid block',
  [-2]: 'invalid symbol',
  [-3]: 'invalid distance too far back',
  [-6]: 'incorrect data check',
}

let loading: Promise<Libisal | null> | undefined

/** Loads the library, once per thread; null where it is missing or another than is known here. */
export function loadLibisal(): Promise<Libisal | null> {
  loading ??= load()
  return loading
}

async function load(): Promise<Libisal | null> {
  try {
    const calls = loadCalls()
    const library: Libisal = { open: () => new Stream(calls) }
    return (await isAsKnown(library)) ? library : null
  } catch {
    // No such library, or not the calls that are needed: the caller has another way.
    return null
  }
}

function loadCalls(): Calls {
  const koffi = loadKoffi()
  const library = koffi.load(LIBRARY)
  const inflate = library.func('isal_inflate', 'int', ['void *'])
  return {
    address: (memory) => BigInt(koffi.address(memory)),
    init: library.func('isal_inflate_init', 'void', ['void *']),
    reset: library.func('isal_inflate_reset', 'void', ['void *']),
    inflate: (state) => callOnPool(inflate, [state]),
  }
}

/** Two members, the first larger than the output and given in two parts; something else behind them. */
async function isAsKnown(library: Libisal): Promise<boolean> {
  const plain = Buffer.from(Array.from({ length: 3000 }, (_, i) => (i * i) >> 7))
  const body = (bytes: Buffer) => gzipSync(bytes).subarray(HEADER_BYTES)
  const [first, second] = [body(plain), Buffer.concat([body(plain.subarray(0, 99)), Buffer.alloc(7)])]
  const stream = library.open()
  const found: Buffer[] = []
  for (const input of [first.subarray(0, 700), first.subarray(700), second]) {
    stream.give(input)
    for (const output = Buffer.allocUnsafeSlow(1024); ; ) {
      const { made, isEnd } = await stream.inflate(output)
      found.push(Buffer.from(output.subarray(0, made)))
      if (isEnd) found.push(Buffer.from(`end, ${stream.unused.length} unused`))
      if (isEnd) stream.reset()
      if (isEnd || made < output.length) break
    }
  }
  const expected = [plain, Buffer.from('end, 0 unused'), plain.subarray(0, 99), Buffer.from('end, 7 unused')]
  return Buffer.concat(found).equals(Buffer.concat(expected))
}

class Stream implements IsalStream {
  readonly #calls: Calls
  readonly #state = Buffer.alloc(STATE_BYTES)
  readonly #fields: DataView
  readonly #small = Buffer.allocUnsafeSlow(MOVABLE_BYTES)
  #input: Uint8Array = this.#small

  constructor(calls: Calls) {
    this.#calls = calls
    this.#fields = new DataView(this.#state.buffer, this.#state.byteOffset, STATE_BYTES)
    calls.init(this.#state)
    this.#setNumber(AT.crcFlag, ISAL_GZIP_NO_HDR_VER)
  }

  get unused(): Uint8Array {
    return this.#input.subarray(this.#input.length - this.#number(AT.availableIn))
  }

  give(input: Uint8Array): void {
    this.#input = input.length > MOVABLE_BYTES ? input : this.#copied(input)
    this.#setAddress(AT.nextIn, this.#input)
    this.#setNumber(AT.availableIn, input.length)
  }

  async inflate(output: Uint8Array): Promise<{ made: number; isEnd: boolean }> {
    const before = this.#number(AT.availableIn)
    this.#setAddress(AT.nextOut, output)
    this.#setNumber(AT.availableOut, output.length)
    const result = await this.#calls.inflate(this.#state)
    if (result < 0) throw new Error(REASONS[result] ?? `error ${result} of ISA-L`)
    const made = output.length - this.#number(AT.availableOut)
    const isEnd = this.#number(AT.blockState) === ISAL_BLOCK_FINISH
    if (!isEnd && made === 0 && before > 0 && this.#number(AT.availableIn) === before)
      throw new Error('nothing comes of it')
    return { made, isEnd }
  }

  reset(): void {
    this.#calls.reset(this.#state)
    this.#setNumber(AT.availableIn, 0)
    this.#setNumber(AT.crcFlag, ISAL_GZIP_NO_HDR_VER)
  }

  #copied(input: Uint8Array): Uint8Array {
    this.#small.set(input)
    return this.#small.subarray(0, input.length)
  }

  #number(at: number): number {
    return this.#fields.getUint32(at, LITTLE_ENDIAN)
  }

  #setNumber(at: number, value: number): void {
    this.#fields.setUint32(at, value, LITTLE_ENDIAN)
  }

  #setAddress(at: number, memory: Uint8Array): void {
    this.#fields.setBigUint64(at, this.#calls.address(memory), LITTLE_ENDIAN)
  }
}
