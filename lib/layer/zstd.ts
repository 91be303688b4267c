/**
 * Decompresses zstd with Node's own decoder, else with the system's libzstd.
 *
 * What both must agree on, frames, their ends and their windows, is checked in zstd-frames.ts; a decoder here only turns
 * pieces into bytes. There is no third one in JavaScript: the one there is moves its whole window for each block,
 * however small, and takes damaged blocks without a word, so hostile layers would cost hours.
 */
import * as zlib from 'node:zlib'
import { ImageError, isGrootError, UnsupportedError } from '../errors.js'
import { loadLibzstd } from '../linux/libzstd.js'
import { throughZlib, type ZlibStream } from './zlib-stream.js'
import { MAX_WINDOW_LOG, ZstdFrames } from './zstd-frames.js'

export type ZstdEngine = 'node' | 'libzstd'

type Chunks = AsyncGenerator<Uint8Array, void, undefined>
type Decoder = (source: AsyncIterable<Uint8Array>) => Chunks

const OUTPUT_BYTES = 1024 * 1024

/**
 * Decompresses a stream of frames; the contract of the chunks is that of `decompress`.
 *
 * @param engine which decoder, for tests; default: the first of zstdEngines()
 * @throws {ImageError} `compression-invalid`, `limit-exceeded`
 * @throws {UnsupportedError} `compression-unsupported` when there is no decoder
 */
export async function* unzstd(source: AsyncIterable<Uint8Array>, engine?: ZstdEngine): Chunks {
  const decoder = await (engine === undefined ? bestDecoder() : DECODERS[engine]())
  if (decoder === null) {
    await source[Symbol.asyncIterator]().return?.()
    throw noDecoder()
  }
  yield* decoder(source)
}

/** Which decoders this machine has, the preferred one first. */
export async function zstdEngines(): Promise<ZstdEngine[]> {
  const engines: ZstdEngine[] = []
  for (const engine of ['node', 'libzstd'] as const) {
    if ((await DECODERS[engine]()) !== null) engines.push(engine)
  }
  return engines
}

const DECODERS: Readonly<Record<ZstdEngine, () => Promise<Decoder | null>>> = {
  node: async () => nodeDecoder(),
  libzstd: libzstdDecoder,
}

async function bestDecoder(): Promise<Decoder | null> {
  return nodeDecoder() ?? (await libzstdDecoder())
}

function noDecoder(): UnsupportedError {
  const node = process.versions.node
  return new UnsupportedError(
    'compression-unsupported',
    `Cannot decompress zstd: Node ${node} cannot, and there is no libzstd.so.1; ` +
      'install libzstd (1.4 or later), or use Node 22.15 or later',
    { facts: { compression: 'zstd', node } },
  )
}

/** The pieces of all frames, checked; ends with an error when the stream does not end with a frame. */
async function* framePieces(source: AsyncIterable<Uint8Array>): Chunks {
  const frames = new ZstdFrames()
  for await (const chunk of source) yield* frames.split(chunk)
  frames.finish()
}

interface NodeZstd {
  createZstdDecompress?: (options: {
    readonly chunkSize: number
    readonly params: Readonly<Record<number, number>>
  }) => ZlibStream
  readonly constants: { readonly ZSTD_d_windowLogMax?: number }
}

/** From Node 22.15. It stops at the end of a frame within a chunk, so the pieces must not reach over one. */
function nodeDecoder(): Decoder | null {
  // The types are those of the oldest Node that is supported, which has no zstd.
  const { createZstdDecompress, constants } = zlib as NodeZstd
  const windowLogMax = constants.ZSTD_d_windowLogMax
  if (createZstdDecompress === undefined || windowLogMax === undefined) return null
  const options = { chunkSize: OUTPUT_BYTES, params: { [windowLogMax]: MAX_WINDOW_LOG } }
  return (source) => throughZlib('zstd', createZstdDecompress(options), framePieces(source))
}

async function libzstdDecoder(): Promise<Decoder | null> {
  const library = loadLibzstd()
  if (library === null) return null
  return async function* decode(source) {
    const stream = library.open(MAX_WINDOW_LOG, OUTPUT_BYTES)
    try {
      for await (const piece of framePieces(source)) {
        yield* guarded(stream.decompress(piece))
      }
    } finally {
      stream.close()
    }
  }
}

/** Gives decoder errors groot's form. */
function* guarded(chunks: Iterable<Uint8Array>): Generator<Uint8Array, void, undefined> {
  try {
    yield* chunks
  } catch (error) {
    if (isGrootError(error)) throw error
    const reason = error instanceof Error ? error.message : String(error)
    throw new ImageError('compression-invalid', `Cannot decompress the tar: ${reason} (zstd)`, {
      facts: { compression: 'zstd', reason },
      cause: error,
    })
  }
}
