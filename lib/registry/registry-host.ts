/**
 * One endpoint of a registry during one operation: where it answers, what it gets to see, and how it has behaved.
 *
 * Asks once, and once more after a challenge. When to ask again, and whom, is decided in failover.ts.
 */
import type { Answer } from './answer.js'
import { type Authenticator, createAuthenticator } from './auth.js'
import { type Access, accessOf } from './connections.js'
import { type Base, endpointBase } from './endpoint.js'
import type { HostConfiguration, RegistryEndpoint } from './hosts.js'
import { readComplaint, statusError, type Wanted } from './status.js'
import type { Transport } from './transport.js'

/** What to ask of an endpoint: `manifests` or `blobs` of its repository. */
export interface Question {
  readonly kind: Wanted['kind']
  /** Tag or digest. */
  readonly reference: string
  readonly accept: string
  /** `bytes=N-` */
  readonly range?: string
  /** See Request. */
  readonly wholeMs?: number
  /** Statuses that are answers; all others are errors. */
  readonly statuses: readonly number[]
}

/** A mirror that is away costs its connect limit each time that it is asked. */
const DOWN_MS = 300_000

export class RegistryHost {
  readonly endpoint: RegistryEndpoint
  /** Whether it has answered anything in this operation. */
  hasAnswered = false
  /** Until when it does not want to be asked, by the clock of the operation. */
  restsUntil = Number.NEGATIVE_INFINITY
  #downUntil = Number.NEGATIVE_INFINITY
  readonly #transport: Transport
  readonly #access: Access
  readonly #base: Base
  readonly #auth: Authenticator
  #origin: string

  /** @param connectTimeoutMs for an endpoint that has none of its own */
  constructor(
    endpoint: RegistryEndpoint,
    hosts: HostConfiguration,
    transport: Transport,
    connectTimeoutMs: number | null,
  ) {
    this.endpoint = endpoint
    this.#transport = transport
    this.#access = accessOf(endpoint, connectTimeoutMs)
    this.#base = endpointBase(endpoint, this.#access, transport)
    this.#auth = createAuthenticator({
      transport,
      access: this.#access,
      credentials: (signal) => hosts.credentialsFor(endpoint, signal),
      mayUseHttp: (host) => hosts.mayUseHttp(host),
      secrets: Object.values(endpoint.headers ?? {}),
    })
    const scheme = endpoint.security === 'plain' || endpoint.security === 'loopback' ? 'http' : 'https'
    this.#origin = new URL(`${scheme}://${endpoint.host}`).origin
  }

  /** `https://host[:port]`, for people: what it is asked by, as far as that is known. */
  get origin(): string {
    return this.#origin
  }

  /** Whether it could not be reached a short while ago. */
  isDown(now: number): boolean {
    return now < this.#downUntil
  }

  /** Others are asked before it for a while. */
  isUnreachable(now: number): void {
    this.#downUntil = now + DOWN_MS
  }

  /**
   * @throws {RegistryError | NotFoundError | AuthError} for any status that was not asked for, and all that a transport throws
   * @throws {AbortedError}
   */
  async ask(question: Question, signal: AbortSignal): Promise<Answer> {
    const { host, repository } = this.endpoint
    const base = await this.#base(signal)
    this.#origin = base.origin
    const sent = this.#auth.header(repository)
    // Whoever answers from another origin, after a redirect, has no right to challenge us.
    const isOwn = ({ url }: Answer) => url.origin === base.origin
    let answer = await this.#send(question, base, sent, signal)
    if (answer.status === 401 && isOwn(answer)) {
      const challenge = answer.header('www-authenticate')
      await answer.discard()
      const authorization = await this.#auth.answer(challenge, sent, base, repository, signal)
      answer = await this.#send(question, base, authorization, signal)
    }
    if (question.statuses.includes(answer.status)) return answer
    const complaint = await readComplaint(answer, (text) => this.#auth.redact(text))
    if (isOwn(answer) && (answer.status === 401 || answer.status === 403)) {
      throw await this.#auth.denied(base, repository, answer.status, complaint, signal)
    }
    const { kind, reference } = question
    throw statusError(answer, { kind, registry: host, repository, reference }, complaint)
  }

  async #send(
    { kind, reference, accept, range, wholeMs }: Question,
    base: URL,
    authorization: string | undefined,
    signal: AbortSignal,
  ): Promise<Answer> {
    const { path, repository, namespace, headers } = this.endpoint
    const url = new URL(base)
    url.pathname = `${path}/${repository}/${kind}s/${reference}`
    if (namespace !== undefined) url.searchParams.set('ns', namespace)
    const answer = await this.#transport.send({
      url,
      headers: { accept, ...(range === undefined ? {} : { range }) },
      access: this.#access,
      signal,
      ...(headers === undefined ? {} : { ownHeaders: headers }),
      ...(authorization === undefined ? {} : { authorization }),
      ...(wholeMs === undefined ? {} : { wholeMs }),
    })
    this.hasAnswered = true
    return answer
  }
}
