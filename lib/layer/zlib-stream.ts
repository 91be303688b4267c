/**
 * Runs chunks through one of Node's decompressing streams, with the strictness that these streams lack.
 *
 * The decompressor works on Node's thread pool, so the next chunk is made while the consumer works on this one. Node
 * ends such a stream without an error when bytes follow the compressed data; here that is told by what it left unread.
 */
import type { Transform } from 'node:stream'
import { ImageError } from '../errors.js'

/** A stream of node:zlib. `bytesWritten` counts the input that was used. */
export type ZlibStream = Transform & { readonly bytesWritten: number }

/**
 * Feeds the engine from the source, one chunk ahead of the consumer, and gives what comes out.
 *
 * The engine is destroyed at the end, however that comes about. When the consumer returns early while the source is
 * being waited for, the source is ended as soon as it answers, and nobody waits for that.
 *
 * @param compression for messages and facts
 * @throws {ImageError} `compression-invalid`; errors of the source pass unchanged
 */
export async function* throughZlib(
  compression: string,
  engine: ZlibStream,
  chunks: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array, void, undefined> {
  const feeder = new Feeder(engine, chunks[Symbol.asyncIterator]())
  const feeding = feeder.run()
  try {
    try {
      for await (const chunk of engine) yield chunk as Uint8Array
    } catch (error) {
      if (feeder.failure !== null) throw feeder.failure.error
      throw streamError(compression, error, feeder.fed)
    }
    if (!feeder.ended || engine.bytesWritten !== feeder.fed) throw trailing(compression, engine.bytesWritten)
  } finally {
    engine.destroy()
    if (!feeder.isPulling) await feeding
  }
}

/** The writing side. Never rejects: what the source threw is kept and ends the engine. */
class Feeder {
  /** Bytes given to the engine. */
  fed = 0
  /** Whether the source ended and all of it was given to the engine. */
  ended = false
  /** Whether the source is being waited for. */
  isPulling = false
  failure: { readonly error: unknown } | null = null
  readonly #engine: ZlibStream
  readonly #source: AsyncIterator<Uint8Array>

  constructor(engine: ZlibStream, source: AsyncIterator<Uint8Array>) {
    this.#engine = engine
    this.#source = source
    // The reading side reports errors; an error after it has left must not end the process.
    engine.on('error', () => {})
  }

  async run(): Promise<void> {
    try {
      await this.#feed()
    } catch (error) {
      this.failure = { error }
      // The engine gets an error so that the reading side stops; the source's own is thrown there.
      this.#engine.destroy(new Error('The source failed'))
    }
  }

  async #feed(): Promise<void> {
    while (!this.#engine.destroyed) {
      this.isPulling = true
      const next = await this.#source.next().finally(() => {
        this.isPulling = false
      })
      if (next.done === true) {
        this.ended = true
        this.#engine.end()
        return
      }
      this.fed += next.value.length
      await this.#write(next.value)
    }
    await this.#source.return?.()
  }

  /** Resolves when the engine has used the chunk, or has come to its end without it. */
  #write(chunk: Uint8Array): Promise<void> {
    return new Promise((resolve) => {
      if (this.#engine.destroyed) return resolve()
      const finish = () => {
        this.#engine.off('close', finish)
        resolve()
      }
      this.#engine.on('close', finish)
      this.#engine.write(chunk, finish)
    })
  }
}

function streamError(compression: string, error: unknown, bytes: number): ImageError {
  const { code, message } = error as { code?: unknown; message?: unknown }
  // zlib's own words are short and exact ("incorrect data check"); a cut stream is the one that people meet.
  const reason = code === 'Z_BUF_ERROR' ? 'it is cut' : String(message)
  return compressionInvalid(compression, reason, bytes, error)
}

/** What is wrong with a stream. @param bytes of it that were read */
export function compressionInvalid(
  compression: string,
  reason: string,
  bytes: number,
  cause?: unknown,
): ImageError {
  return new ImageError('compression-invalid', `Cannot decompress the tar: ${reason} (${compression})`, {
    facts: { compression, reason, bytes },
    cause,
  })
}

/** @param used bytes before those that do not belong to it */
export function trailing(compression: string, used: number): ImageError {
  const reason = `bytes that are not ${compression} follow at offset ${used}`
  return new ImageError('compression-invalid', `Cannot decompress the tar: ${reason}`, {
    facts: { compression, reason, bytes: used },
  })
}
