/**
 * Decompresses layers: gzip, zstd or plain, told by content and held against what the media type declared.
 *
 * Strict where common tools are lenient: a stream that is cut, bytes behind its end, and a media type that lies are
 * errors. Digests and the tar inside are not looked at here. Nothing is limited in length, because the consumer pulls:
 * of a bomb there is never more in memory than a few chunks.
 */
import { ImageError } from '../errors.js'
import { gunzip } from './gzip.js'
import { unzstd } from './zstd.js'

export type Compression = 'none' | 'gzip' | 'zstd'

/** Bytes that detectCompression wants to see; a shorter head is the whole stream. */
export const COMPRESSION_HEAD_BYTES = 4

/**
 * Tells a compression by its magic bytes (RFC 1952 2.3.1, RFC 8878 3.1.1 and 3.1.2). What is neither is `none`.
 *
 * @param head the first COMPRESSION_HEAD_BYTES of the stream or more
 */
export function detectCompression(head: Uint8Array): Compression {
  if (head[0] === 0x1f && head[1] === 0x8b) return 'gzip'
  if (head.length < 4) return 'none'
  const magic = (head[0]! | (head[1]! << 8) | (head[2]! << 16) | (head[3]! << 24)) >>> 0
  // A zstd stream may begin with a skippable frame: parallel compressors put their tables there.
  return magic === 0xfd2fb528 || magic >>> 4 === 0x184d2a5 ? 'zstd' : 'none'
}

/**
 * Decompresses a stream: gzip of many members, zstd of many frames, or plain.
 *
 * The chunks of the source have to stay as they are until it is asked for the next one; the same holds for the chunks
 * given: each belongs to the consumer until it calls `next()`, then its memory may be used again. Given chunks hold
 * 1 MiB or less, except that plain chunks pass as they come. Returning early ends the source and frees all memory.
 *
 * @param declared what the media type says, or null when nothing was said
 * @throws {ImageError} `compression-invalid` when the content is not of the declared kind, is cut or damaged, or is
 *   followed by bytes that do not belong to it; facts `declared` and `found`, or `compression` and `reason`.
 *   `limit-exceeded` when a zstd frame asks for a window of more than 128 MiB. Errors of the source pass unchanged
 */
export async function* decompress(
  chunks: AsyncIterable<Uint8Array>,
  declared: Compression | null,
): AsyncGenerator<Uint8Array, void, undefined> {
  const source = chunks[Symbol.asyncIterator]()
  let isHandedOver = false
  try {
    const head = await readHead(source)
    const found = detectCompression(head)
    if (declared !== null && declared !== found) throw notAsDeclared(declared, found)
    isHandedOver = true
    yield* decompressAs(found, rejoin(head, source))
  } finally {
    // Whoever it was handed to ends it: only they know whether it is being waited for.
    if (!isHandedOver) await source.return?.()
  }
}

function decompressAs(
  compression: Compression,
  chunks: AsyncIterable<Uint8Array>,
): AsyncIterable<Uint8Array> {
  switch (compression) {
    case 'none':
      return chunks
    case 'gzip':
      return gunzip(chunks)
    case 'zstd':
      return unzstd(chunks)
  }
}

/** Reads until detection is possible: the first chunk itself when it is long enough, else a copy of the first few. */
async function readHead(source: AsyncIterator<Uint8Array>): Promise<Uint8Array> {
  let head: Uint8Array = new Uint8Array(0)
  while (head.length < COMPRESSION_HEAD_BYTES) {
    const next = await source.next()
    if (next.done === true) return head
    // Copied, because asking for the next chunk gives this one back.
    head =
      next.value.length >= COMPRESSION_HEAD_BYTES && head.length === 0 ? next.value : join(head, next.value)
  }
  return head
}

function join(a: Uint8Array, b: Uint8Array): Uint8Array {
  const joined = new Uint8Array(a.length + b.length)
  joined.set(a)
  joined.set(b, a.length)
  return joined
}

/** The whole stream again. Not a generator, since one that was never asked for anything would not end its source. */
function rejoin(head: Uint8Array, source: AsyncIterator<Uint8Array>): AsyncIterableIterator<Uint8Array> {
  let isFirst = head.length > 0
  return {
    async next() {
      if (!isFirst) return source.next()
      isFirst = false
      return { done: false, value: head }
    },
    async return() {
      await source.return?.()
      return { done: true, value: undefined }
    },
    [Symbol.asyncIterator]() {
      return this
    },
  }
}

const NAMES = { none: 'a plain tar', gzip: 'gzip', zstd: 'zstd' } as const satisfies Record<
  Compression,
  string
>

function notAsDeclared(declared: Compression, found: Compression): ImageError {
  return new ImageError(
    'compression-invalid',
    `Cannot decompress the tar: its media type says ${NAMES[declared]}, its content is ${NAMES[found]}`,
    { facts: { declared, found } },
  )
}
