/**
 * The answer to one request: status, headers, and a body that is read once, as it comes.
 */
import type { Readable } from 'node:stream'
import type { Response } from 'node-fetch'
import type { Watch } from './watch.js'

const MAX_DISCARD = 16 * 1024 // beyond that a new connection is cheaper than the rest of a body

export class Answer {
  readonly status: number
  /** Where it came from, after redirects. */
  readonly url: URL
  readonly #response: Response
  readonly #body: Readable | null
  readonly #watch: Watch

  constructor(response: Response, url: URL, watch: Watch) {
    this.status = response.status
    this.url = url
    this.#response = response
    this.#watch = watch
    // node-fetch declares the interface of streams; what it makes is a PassThrough.
    this.#body = response.body as Readable | null
    // An error may come while nobody reads, when the signal fires; the next read reports it.
    this.#body?.on('error', () => {})
  }

  /** A header, several of one name joined by `, `. */
  header(name: string): string | null {
    return this.#response.headers.get(name)
  }

  /** Content-Length, when there is a usable one. */
  get length(): number | null {
    const text = this.header('content-length')
    return text !== null && /^[0-9]{1,15}$/.test(text) ? Number(text) : null
  }

  /**
   * The body, piece by piece; the sender is held back while nobody asks. Leaving the loop closes the connection.
   *
   * @throws {RegistryError} `registry-unreachable` when it is cut, `registry-timeout` when nothing comes
   * @throws {AbortedError}
   */
  async *chunks(): AsyncGenerator<Uint8Array, void, undefined> {
    if (this.#body === null) return this.#watch.close()
    const pieces = this.#body[Symbol.asyncIterator]()
    try {
      for (;;) {
        const next = await this.#next(pieces)
        if (next === null) return
        yield next
      }
    } finally {
      this.abandon()
    }
  }

  /** The whole body; null when it has more than `maxBytes`. Throws as chunks() does. */
  async read(maxBytes: number): Promise<Uint8Array | null> {
    if (this.length !== null && this.length > maxBytes) {
      this.abandon()
      return null
    }
    const pieces: Uint8Array[] = []
    let size = 0
    for await (const piece of this.chunks()) {
      size += piece.length
      if (size > maxBytes) return null
      pieces.push(piece)
    }
    return Buffer.concat(pieces, size)
  }

  /** For a body that nobody needs: a short one is read, so that the connection can be used again. */
  async discard(): Promise<void> {
    if (this.length === null || this.length > MAX_DISCARD) return this.abandon()
    await this.read(MAX_DISCARD).catch(() => null) // what is not needed cannot be missed
  }

  /** Closes the connection if the body has not come to its end. */
  abandon(): void {
    this.#watch.close()
    this.#body?.destroy()
  }

  async #next(pieces: AsyncIterator<Uint8Array>): Promise<Uint8Array | null> {
    try {
      const { done, value } = await this.#watch.during('body', () => pieces.next())
      if (done) return null
      this.#watch.count(value.length)
      return value
    } catch (thrown) {
      throw this.#watch.explain(thrown)
    }
  }
}
