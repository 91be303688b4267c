/**
 * One body with a blob or with the rest of one, held against its descriptor while it streams: neither more bytes nor
 * fewer, and from the right place.
 *
 * Whether they are the right bytes, the reader finds out, who hashes them anyway.
 */
import { shortDigest } from '../digest.js'
import { IntegrityError, isGrootError, RegistryError } from '../errors.js'
import { quote } from '../image/json.js'
import type { Expected } from '../image/verify.js'
import type { Answer } from './answer.js'
import type { RegistryHost } from './registry-host.js'

/** A request for the rest of a blob was answered in a way that leaves open which bytes these are; for the whole one can ask. */
export class RangeRefusedError extends RegistryError {}

/**
 * Asks for a blob from an offset on.
 *
 * @param isRanged whether to ask for the rest only; otherwise, and when the whole comes all the same, what is before the
 *   offset is read and dropped
 * @returns the bytes from the offset to the blob's end
 * @throws {IntegrityError} `size-mismatch`, at once when Content-Length is another, else in the loop when it is longer
 * @throws {RegistryError} `blob-cut` in the loop, when it is shorter; as RangeRefusedError when the rest cannot be had like this
 */
export async function openBody(
  host: RegistryHost,
  blob: Expected,
  offset: number,
  isRanged: boolean,
  signal: AbortSignal,
  wholeMs?: number,
): Promise<AsyncGenerator<Uint8Array, void, undefined>> {
  const answer = await host.ask(
    {
      kind: 'blob',
      reference: blob.digest,
      accept: '*/*',
      statuses: isRanged ? [200, 206, 416] : [200],
      ...(isRanged ? { range: `bytes=${offset}-` } : {}),
      ...(wholeMs === undefined ? {} : { wholeMs }),
    },
    signal,
  )
  if (answer.status === 200) {
    if (answer.length !== null && answer.length !== blob.size) {
      answer.abandon()
      throw wrongSize(answer, blob, answer.length)
    }
    return bytesFrom(answer, blob, 0, offset)
  }
  const problem = rangeProblem(answer, blob, offset)
  if (problem === null) return bytesFrom(answer, blob, offset, offset)
  answer.abandon()
  throw new RangeRefusedError(
    'registry-protocol',
    `Cannot go on with the blob ${shortDigest(blob.digest)} at byte ${offset} of "${answer.url.host}": ${problem}`,
    {
      facts: {
        digest: blob.digest,
        offset,
        registry: answer.url.host,
        found: shown(answer.header('content-range')),
      },
      temporary: true,
    },
  )
}

/** What is wrong with the answer to a Range (RFC 9110, section 14.4). */
function rangeProblem(answer: Answer, { size }: Expected, offset: number): string | null {
  if (answer.status === 416) return 'it does not have that range'
  const [, first, last, whole] =
    /^bytes ([0-9]{1,15})-([0-9]{1,15})\/([0-9]{1,15}|\*)$/.exec(answer.header('content-range') ?? '') ?? []
  if (first === undefined || last === undefined) return 'it does not say which bytes these are'
  const isRest = Number(first) === offset && Number(last) >= offset && Number(last) < size
  if (!isRest || (whole !== '*' && Number(whole) !== size)) return 'it sends other bytes than these'
  const length = Number(last) - Number(first) + 1
  return answer.length === null || answer.length === length ? null : 'its length is not that of the bytes'
}

/**
 * @param start where in the blob the body begins
 * @param from where in the blob the reader goes on
 */
async function* bytesFrom(
  answer: Answer,
  blob: Expected,
  start: number,
  from: number,
): AsyncGenerator<Uint8Array, void, undefined> {
  let at = start
  try {
    for await (const piece of answer.chunks()) {
      const begin = at
      at += piece.length
      if (at > blob.size) throw wrongSize(answer, blob, at)
      if (at > from) yield begin >= from ? piece : piece.subarray(from - begin)
    }
  } catch (thrown) {
    if (!isGrootError(thrown)) throw thrown
    const isBroken = thrown.code === 'registry-unreachable'
    // A connection that ends badly or not at all after the last byte has done its work.
    if (at === blob.size && (isBroken || thrown.code === 'registry-timeout')) return
    throw isBroken ? cut(answer, blob, at, thrown) : thrown
  }
  if (at < blob.size) throw cut(answer, blob, at, undefined)
}

function shown(header: string | null): string | null {
  return header === null ? null : quote(header)
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
