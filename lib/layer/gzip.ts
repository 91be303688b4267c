/**
 * Decompresses gzip with the system's ISA-L, else with Node's own zlib. Both take the same streams, of one member or many,
 * and refuse the same: cut ones, damaged ones, and bytes behind the end.
 */
import { setImmediate } from 'node:timers/promises'
import { createGunzip } from 'node:zlib'
import type { ImageError } from '../errors.js'
import { type IsalStream, type Libisal, loadLibisal } from '../linux/libisal.js'
import { GzipHeader } from './gzip-header.js'
import { compressionInvalid, throughZlib, trailing } from './zlib-stream.js'

export type GzipEngine = 'isal' | 'node'

type Chunks = AsyncGenerator<Uint8Array, void, undefined>

const CHUNK_BYTES = 1024 * 1024 // zlib's default of 16 KiB halves the throughput
/** Made at once, so that the library gets ahead of a consumer that is slow with some bytes and fast with others. */
const OUTPUT_BYTES = 2 * CHUNK_BYTES
const NOTHING = new Uint8Array(0)
const FIRST_BYTE = 0x1f // of a member: RFC 1952 2.3.1

/**
 * Decompresses a stream of members; the contract of the chunks is that of `decompress`.
 *
 * @param engine which decoder, for tests; default: the first of gzipEngines()
 * @throws {ImageError} `compression-invalid`
 */
export async function* gunzip(source: AsyncIterable<Uint8Array>, engine?: GzipEngine): Chunks {
  const library = engine === 'node' ? null : await loadLibisal()
  yield* library === null
    ? throughZlib('gzip', createGunzip({ chunkSize: CHUNK_BYTES }), source)
    : throughIsal(library, source)
}

/** Which decoders this machine has, the preferred one first. */
export async function gzipEngines(): Promise<GzipEngine[]> {
  return (await loadLibisal()) === null ? ['node'] : ['isal', 'node']
}

/** Outputs of decompressions that are over, for the next ones of this thread: V8 looks for what it can free as such memory is made. */
const spare: Buffer[] = []
/** Small layers are read some at once, and need one each, of which they touch little. */
const MAX_SPARE = 8

/** One output is filled while the consumer works on the other. */
async function* throughIsal(library: Libisal, source: AsyncIterable<Uint8Array>): Chunks {
  const outputs: Buffer[] = []
  const outputOf = (turn: number) => () => (outputs[turn % 2] ??= takeOutput())
  const filler = new Filler(library.open(), source[Symbol.asyncIterator]())
  let filling = filler.fill(outputOf(0))
  try {
    for (let turn = 1; ; turn++) {
      const made = await filling
      if (made.length === 0) {
        // Here alone it is sure that nothing is at work on them.
        spare.push(...outputs.slice(0, MAX_SPARE - spare.length))
        return
      }
      filling = filler.fill(outputOf(turn))
      // What is wrong is told when the consumer comes for it, which may be later.
      filling.catch(() => {})
      // So that the library is at work before the consumer is, who may not let anybody else in for long.
      await setImmediate()
      for (let at = 0; at < made.length; at += CHUNK_BYTES) yield made.subarray(at, at + CHUNK_BYTES)
    }
  } finally {
    // What is wrong behind the point where the consumer stopped is nobody's concern.
    const filled = filling.catch(() => {})
    // The library may be at work on what is ours; a source that is silent may be so for long.
    await (filler.isPulling ? Promise.race([filled, setImmediate()]) : filled)
    await filler.close()
  }
}

function takeOutput(): Buffer {
  return spare.pop() ?? Buffer.allocUnsafeSlow(OUTPUT_BYTES)
}

/** Fills outputs from a source. */
class Filler {
  /** Whether the source is being waited for. */
  isPulling = false
  readonly #stream: IsalStream
  readonly #source: AsyncIterator<Uint8Array>
  /** Bytes of the source so far. */
  #fed = 0
  /** Whole members so far. */
  #members = 0
  /** Of the member that is being read. */
  #header = new GzipHeader()
  /** What of the source comes behind the last member; empty where that is not known yet. */
  #rest: Uint8Array = new Uint8Array(0)
  /** Whether the library may have more to give without further input. */
  #mayHoldMore = false
  /** Whether there is no more to be had from the source. */
  #isDone = false
  #isClosed = false

  constructor(stream: IsalStream, source: AsyncIterator<Uint8Array>) {
    this.#stream = stream
    this.#source = source
  }

  /**
   * @param outputOf memory to fill, asked for when there is something for it
   * @returns what could be made without waiting for the source any longer; nothing at the end
   */
  async fill(outputOf: () => Uint8Array): Promise<Uint8Array> {
    let filled = 0
    if (!(await this.#hasInput())) return NOTHING
    const output = outputOf()
    while (filled < output.length && !(filled > 0 && this.#needsInput) && (await this.#hasInput())) {
      const { made, isEnd } = await this.#inflate(output.subarray(filled))
      filled += made
      this.#mayHoldMore = filled === output.length && !isEnd
      if (isEnd) this.#endMember()
    }
    return output.subarray(0, filled)
  }

  /** Ends the source, when it answers if it is being waited for. */
  async close(): Promise<void> {
    this.#isClosed = true
    if (this.isPulling || this.#isDone) return
    this.#isDone = true
    await this.#source.return?.()
  }

  get #needsInput(): boolean {
    return !this.#header.isRead || (this.#stream.unused.length === 0 && !this.#mayHoldMore)
  }

  /** False at the end of the source, which has to be that of a member. */
  async #hasInput(): Promise<boolean> {
    while (this.#needsInput) {
      const next = this.#rest.length > 0 ? this.#rest : await this.#pull()
      this.#rest = new Uint8Array(0)
      if (next === null) {
        const isBetween = this.#header.isFresh && this.#members > 0
        if (!isBetween && !this.#isClosed) throw compressionInvalid('gzip', 'it is cut', this.#fed)
        return false
      }
      const body = next.subarray(this.#readHeader(next))
      if (body.length > 0) this.#stream.give(body)
    }
    return true
  }

  #readHeader(bytes: Uint8Array): number {
    const isOther = this.#header.isFresh && this.#members > 0 && bytes.length > 0 && bytes[0] !== FIRST_BYTE
    if (isOther) throw trailing('gzip', this.#fed - bytes.length)
    try {
      return this.#header.read(bytes)
    } catch (error) {
      throw this.#invalid(error)
    }
  }

  #endMember(): void {
    this.#members++
    this.#header = new GzipHeader()
    this.#rest = this.#stream.unused
    this.#stream.reset()
  }

  async #inflate(output: Uint8Array): ReturnType<IsalStream['inflate']> {
    try {
      return await this.#stream.inflate(output)
    } catch (error) {
      throw this.#invalid(error)
    }
  }

  #invalid(error: unknown): ImageError {
    return compressionInvalid(
      'gzip',
      error instanceof Error ? error.message : String(error),
      this.#fed,
      error,
    )
  }

  async #pull(): Promise<Uint8Array | null> {
    if (this.#isDone) return null
    this.isPulling = true
    try {
      const next = await this.#source.next()
      this.#isDone = next.done === true
      if (next.done === true) return null
      this.#fed += next.value.length
      if (!this.#isClosed) return next.value
      this.#isDone = true
      await this.#source.return?.()
      return null
    } catch (error) {
      this.#isDone = true
      throw error
    } finally {
      this.isPulling = false
    }
  }
}
