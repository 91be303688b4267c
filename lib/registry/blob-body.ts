/**
 * The body of a blob, held against its descriptor while it streams: neither more bytes nor fewer.
 *
 * Whether they are the right bytes, the reader finds out, who hashes them anyway.
 */
import { shortDigest } from '../digest.js'
import { IntegrityError, isGrootError, RegistryError } from '../errors.js'
import type { Expected } from '../image/verify.js'
import type { Answer } from './answer.js'

/**
 * @throws {IntegrityError} `size-mismatch`, at once when Content-Length is another, else in the loop when it is longer
 * @throws {RegistryError} `blob-cut` in the loop, when it is shorter
 */
export function exactBody(answer: Answer, blob: Expected): AsyncIterable<Uint8Array> {
  if (answer.length !== null && answer.length !== blob.size) {
    answer.abandon()
    throw wrongSize(answer, blob, answer.length)
  }
  return count(answer, blob)
}

async function* count(answer: Answer, blob: Expected): AsyncGenerator<Uint8Array, void, undefined> {
  let received = 0
  try {
    for await (const piece of answer.chunks()) {
      received += piece.length
      if (received > blob.size) throw wrongSize(answer, blob, received)
      yield piece
    }
  } catch (thrown) {
    // A connection that ends badly after the last byte has done its work.
    if (!isGrootError(thrown) || thrown.code !== 'registry-unreachable') throw thrown
    if (received < blob.size) throw cut(answer, blob, received, thrown)
    return
  }
  if (received < blob.size) throw cut(answer, blob, received, undefined)
}

function wrongSize({ url }: Answer, { digest, size }: Expected, found: number): IntegrityError {
  const text = `it has ${found} bytes or more, its descriptor says ${size}`
  return new IntegrityError(
    'size-mismatch',
    `Cannot accept the blob ${shortDigest(digest)} from "${url.host}": ${text}`,
    {
      facts: { digest, expected: size, found, source: url.host },
    },
  )
}

function cut({ url }: Answer, { digest, size }: Expected, received: number, cause: unknown): RegistryError {
  const text = `it ended after ${received} of ${size} bytes`
  return new RegistryError(
    'blob-cut',
    `Cannot read the blob ${shortDigest(digest)} from "${url.host}": ${text}`,
    {
      facts: { digest, expected: size, received, registry: url.host },
      temporary: true,
      ...(cause === undefined ? {} : { cause }),
    },
  )
}
