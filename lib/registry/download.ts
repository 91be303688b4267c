/**
 * A blob as one stream, whatever its connections do: cut ones go on where they ended, at the same endpoint or another.
 *
 * No byte is handed out twice. The digest of the whole decides whether they were the right ones; when they were not,
 * the next stream comes from endpoints that had no part in it, and from one alone, so that it is known who lies.
 */
import { shortDigest } from '../digest.js'
import type { GrootError } from '../errors.js'
import type { Expected } from '../image/verify.js'
import { Attempts } from './attempts.js'
import { openBody, RangeRefusedError } from './blob-body.js'
import { type Course, Failover } from './failover.js'
import type { RegistryHost } from './registry-host.js'

/** A blob's bytes, and a way to say that they were not the right ones. */
export interface BlobStream {
  /**
   * Ends with an error when no endpoint has the blob, or none brings it to its end. To be read once.
   *
   * @throws {RegistryError | AuthError | NotFoundError | IntegrityError | AbortedError} with the fact `attempts`
   */
  readonly chunks: AsyncIterable<Uint8Array>
  /**
   * Says that the bytes were not what their digest says.
   *
   * @param error what was found
   * @returns null when another stream of this blob may bring others; else the error to throw, which says who was asked
   */
  refuse(error: GrootError): GrootError | null
}

/** So many bytes are progress: fewer, and an endpoint could keep us for ever. */
const PROGRESS_BYTES = 256 * 1024

/** One blob during one operation. */
export class BlobDownloads {
  readonly #blob: Expected
  readonly #course: Course
  readonly #attempts = new Attempts()
  /** Who may still be right. */
  #hosts: readonly RegistryHost[]
  /** Whether the bytes of several endpoints may be put together. */
  #isMixed = true

  constructor(blob: Expected, hosts: readonly RegistryHost[], course: Course) {
    this.#blob = blob
    this.#hosts = hosts
    this.#course = course
  }

  /** @param wholeMs limit for each connection, for blobs that are small */
  open(signal: AbortSignal, wholeMs?: number): BlobStream {
    const sources = new Set<RegistryHost>()
    return {
      chunks: this.#download(sources, signal, wholeMs),
      refuse: (error) => this.#refuse(sources, error),
    }
  }

  async *#download(
    sources: Set<RegistryHost>,
    signal: AbortSignal,
    wholeMs: number | undefined,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    const subject = { kind: 'blob', name: this.#blob.digest } as const
    const failover = new Failover(this.#hosts, subject, this.#course, this.#attempts)
    /** Who cannot send a part. */
    const wholesalers = new Set<RegistryHost>()
    let offset = 0
    let gained = 0
    for (;;) {
      const host = await failover.next(signal)
      try {
        const isRanged = offset > 0 && !wholesalers.has(host)
        for await (const piece of await openBody(host, this.#blob, offset, isRanged, signal, wholeMs)) {
          if (!this.#isMixed) failover.keepTo(host)
          sources.add(host)
          offset += piece.length
          gained += piece.length
          if (gained >= PROGRESS_BYTES) {
            gained = 0
            failover.progressed(host)
          }
          yield piece
        }
        sources.add(host)
        return
      } catch (thrown) {
        if (thrown instanceof RangeRefusedError) wholesalers.add(host)
        failover.failed(host, thrown)
      }
    }
  }

  #refuse(sources: ReadonlySet<RegistryHost>, error: GrootError): GrootError | null {
    const [first, ...others] = sources
    for (const host of sources) this.#attempts.add(host.origin, error)
    // When several had a part in it, nobody knows whose was wrong.
    if (others.length === 0) this.#hosts = this.#hosts.filter((host) => host !== first)
    this.#isMixed = false
    const [next] = this.#hosts
    if (first === undefined || next === undefined) return this.#attempts.report(error)
    this.#course.events({
      kind: 'retry',
      what: 'blob',
      name: this.#blob.digest,
      endpoint: first.origin,
      next: next.origin,
      attempt: this.#attempts.total,
      code: error.code,
      message: `The bytes of blob ${shortDigest(this.#blob.digest)} are others than its digest says`,
      waitMs: 0,
    })
    return null
  }
}

/** Asks for the first bytes at once, without waiting for somebody who reads. */
export function eager(chunks: AsyncIterable<Uint8Array>, onEnd: () => void): AsyncIterable<Uint8Array> {
  const pieces = chunks[Symbol.asyncIterator]()
  const first = pieces.next()
  first.catch(() => {}) // who reads hears of it
  return (async function* () {
    try {
      for (let next = await first; next.done !== true; next = await pieces.next()) yield next.value
    } finally {
      onEnd()
      await pieces.return?.()
    }
  })()
}
