/**
 * The caller's side of the engine thread: the library's interface, whose work never blocks the caller's event loop.
 *
 * The thread keeps the process alive only while a call is running.
 */
import type { Worker } from 'node:worker_threads'
import { programFile } from '../driver/program.js'
import { AbortedError, BugError } from '../errors.js'
import type { EventSink } from '../events.js'
import type {
  CallOptions,
  CheckOptions,
  CleanRequest,
  CreateRequest,
  DigestRequest,
  GrootStore,
  LimitRequest,
  OpenStoreOptions,
  PullRequest,
  RemoveImagesRequest,
} from '../operations/api.js'
import { startThread } from '../worker/threads.js'
import { fromWire } from '../worker/wire-error.js'
import type {
  Call,
  CallResult,
  FromEngine,
  PlainCallOptions,
  PlainCleanRequest,
  PlainCreateRequest,
  PlainDigestRequest,
  PlainLimitRequest,
  PlainRemoveImagesRequest,
  ToEngine,
} from './protocol.js'

/** Opens a store on an engine thread of its own. Throws what the opening there throws. */
export async function openStoreOnEngine(options: OpenStoreOptions): Promise<GrootStore> {
  const engine = new Engine()
  try {
    const { path, driver } = await engine.open(options)
    return new EngineStore(engine, path, driver)
  } catch (error) {
    await engine.close()
    throw error
  }
}

class EngineStore implements GrootStore {
  readonly path: string
  readonly driver: string
  readonly #engine: Engine

  constructor(engine: Engine, path: string, driver: string) {
    this.#engine = engine
    this.path = path
    this.driver = driver
  }

  create(request: CreateRequest) {
    const { signal: _signal, onEvent: _onEvent, ...plain } = request
    return this.#engine.call<'create'>(
      { method: 'create', request: plain satisfies PlainCreateRequest },
      request,
    )
  }
  delete(id: string, options: CallOptions = {}) {
    return this.#engine.call<'delete'>(
      { method: 'delete', bundle: id, options: plainOptions(options) },
      options,
    )
  }
  stats(id: string, options: CallOptions = {}) {
    return this.#engine.call<'stats'>(
      { method: 'stats', bundle: id, options: plainOptions(options) },
      options,
    )
  }
  limit(id: string, request: LimitRequest) {
    const { signal: _signal, onEvent: _onEvent, ...plain } = request
    return this.#engine.call<'limit'>(
      { method: 'limit', bundle: id, request: plain satisfies PlainLimitRequest },
      request,
    )
  }
  digest(request: DigestRequest) {
    const { signal: _signal, onEvent: _onEvent, ...plain } = request
    return this.#engine.call<'digest'>(
      { method: 'digest', request: plain satisfies PlainDigestRequest },
      request,
    )
  }
  pull(request: PullRequest) {
    const { signal: _signal, onEvent: _onEvent, ...plain } = request
    return this.#engine.call<'pull'>({ method: 'pull', request: plain satisfies PlainDigestRequest }, request)
  }
  mount(id: string, options: CallOptions = {}) {
    return this.#engine.call<'mount'>(
      { method: 'mount', bundle: id, options: plainOptions(options) },
      options,
    )
  }
  unmount(id: string, options: CallOptions = {}) {
    return this.#engine.call<'unmount'>(
      { method: 'unmount', bundle: id, options: plainOptions(options) },
      options,
    )
  }
  list(options: CallOptions = {}) {
    return this.#engine.call<'list'>({ method: 'list', options: plainOptions(options) }, options)
  }
  check(options: CheckOptions = {}) {
    const { repair = false } = options
    return this.#engine.call<'check'>(
      { method: 'check', options: { ...plainOptions(options), repair } },
      options,
    )
  }
  clean(request: CleanRequest = {}) {
    const { signal: _signal, onEvent: _onEvent, ...plain } = request
    return this.#engine.call<'clean'>(
      { method: 'clean', request: plain satisfies PlainCleanRequest },
      request,
    )
  }
  images(options: CallOptions = {}) {
    return this.#engine.call<'images'>({ method: 'images', options: plainOptions(options) }, options)
  }
  removeImages(request: RemoveImagesRequest) {
    const { signal: _signal, onEvent: _onEvent, ...plain } = request
    return this.#engine.call<'removeImages'>(
      { method: 'removeImages', request: plain satisfies PlainRemoveImagesRequest },
      request,
    )
  }
  pin(image: string, options: CallOptions = {}) {
    return this.#engine.call<'pin'>({ method: 'pin', image, options: plainOptions(options) }, options)
  }
  unpin(image: string, options: CallOptions = {}) {
    return this.#engine.call<'unpin'>({ method: 'unpin', image, options: plainOptions(options) }, options)
  }
  locks(options: CallOptions = {}) {
    return this.#engine.call<'locks'>({ method: 'locks', options: plainOptions(options) }, options)
  }
  close(): Promise<void> {
    return this.#engine.close()
  }
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }
}

function plainOptions({ lockTimeoutMs }: CallOptions): PlainCallOptions {
  return lockTimeoutMs === undefined ? {} : { lockTimeoutMs }
}

interface Pending {
  readonly resolve: (value: never) => void
  readonly reject: (error: unknown) => void
  readonly onEvent: EventSink | undefined
}

class Engine {
  readonly #worker: Worker
  readonly #pending = new Map<number, Pending>()
  #lastId = 0
  #lost: Error | null = null
  #onSettled: (() => void) | null = null

  constructor() {
    this.#worker = startThread('#engine')
    this.#worker.on('message', (message: FromEngine) => this.#receive(message))
    this.#worker.on('error', (error) => this.#fail(error))
    this.#worker.on('exit', () => this.#fail(new Error('it was closed')))
  }

  open(options: OpenStoreOptions): Promise<{ readonly path: string; readonly driver: string }> {
    return this.#ask(OPENING, { kind: 'open', options, program: programFile() }, undefined)
  }

  async call<M extends Call['method']>(
    call: Call & { method: M },
    options: CallOptions,
  ): Promise<CallResult<M>> {
    const { signal, onEvent } = options
    if (signal?.aborted) throw new AbortedError(undefined, { cause: signal.reason })
    const id = ++this.#lastId
    const abort = () => this.#send({ kind: 'abort', id })
    signal?.addEventListener('abort', abort, { once: true })
    try {
      return await this.#ask(id, { kind: 'call', id, call, wantsEvents: onEvent !== undefined }, onEvent)
    } finally {
      signal?.removeEventListener('abort', abort)
    }
  }

  /** Ends the thread. Calls that are still running are aborted first, so that they leave nothing behind. */
  async close(): Promise<void> {
    for (const id of this.#pending.keys()) this.#send({ kind: 'abort', id })
    while (this.#pending.size > 0) {
      await new Promise<void>((resolve) => {
        this.#onSettled = resolve
      })
    }
    // What a thread has open stays open when the thread ends.
    if (this.#lost === null) await this.#ask(CLOSING, { kind: 'close' }, undefined).catch(() => {})
    await this.#worker.terminate()
  }

  #ask<T>(id: number, message: ToEngine, onEvent: EventSink | undefined): Promise<T> {
    if (this.#lost !== null) return Promise.reject(engineLost(this.#lost))
    return new Promise<T>((resolve, reject) => {
      this.#worker.ref()
      this.#pending.set(id, { resolve, reject, onEvent })
      try {
        this.#send(message)
      } catch (error) {
        // It holds what cannot be sent to a thread.
        this.#settle(id, () => reject(error))
      }
    })
  }

  #send(message: ToEngine): void {
    this.#worker.postMessage(message)
  }

  #receive(message: FromEngine): void {
    switch (message.kind) {
      case 'opened':
        return this.#settle(OPENING, (pending) => pending.resolve(message as never))
      case 'open-failed':
        return this.#settle(OPENING, (pending) => pending.reject(fromWire(message.error)))
      case 'closed':
        return this.#settle(CLOSING, (pending) => pending.resolve(undefined as never))
      case 'event':
        return this.#pending.get(message.id)?.onEvent?.(message.event)
      case 'result':
        return this.#settle(message.id, (pending) => pending.resolve(message.value as never))
      case 'failed':
        return this.#settle(message.id, (pending) => pending.reject(fromWire(message.error)))
      default:
        message satisfies never
    }
  }

  #settle(id: number, act: (pending: Pending) => void): void {
    const pending = this.#pending.get(id)
    if (pending === undefined) return
    this.#pending.delete(id)
    if (this.#pending.size === 0) this.#worker.unref()
    act(pending)
    this.#onSettled?.()
  }

  #fail(cause: Error): void {
    this.#lost ??= cause
    for (const id of [...this.#pending.keys()])
      this.#settle(id, (pending) => pending.reject(engineLost(cause)))
  }
}

const OPENING = 0
const CLOSING = -1

function engineLost(cause: Error): BugError {
  return new BugError(`Cannot finish the call: the engine thread ended: ${cause.message}`, { cause })
}
