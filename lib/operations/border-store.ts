/**
 * An opened store as callers have it: every call goes over the border.
 */
import { UsageError } from '../errors.js'
import type {
  CallOptions,
  CheckOptions,
  CleanRequest,
  CreateRequest,
  DigestRequest,
  GrootStore,
  LimitRequest,
  PullRequest,
  RemoveImagesRequest,
} from './api.js'
import { atBorder } from './border.js'
import {
  CALL,
  CHECK,
  CLEAN,
  CREATE,
  DIGEST,
  type Fields,
  ID,
  IMAGE,
  LIMIT,
  PULL,
  REMOVE_IMAGES,
  takeFields,
} from './request-fields.js'

export class BorderStore implements GrootStore {
  readonly #store: GrootStore
  readonly #isCallers: boolean
  /** Of the caller's own thread: an engine thread sees to its calls itself when it is closed. */
  readonly #running = new Set<Promise<unknown>>()
  readonly #end = new AbortController()
  #closing: Promise<void> | null = null

  /** @param isCallers whether the store works on the caller's thread */
  constructor(store: GrootStore, isCallers: boolean) {
    this.#store = store
    this.#isCallers = isCallers
  }

  get path(): string {
    return this.#store.path
  }
  get driver(): string {
    return this.#store.driver
  }

  create(request: CreateRequest) {
    return this.#call(CREATE, request, (taken) => this.#store.create(taken))
  }
  delete(id: string, options: CallOptions = {}) {
    return this.#atBundle(id, options, (taken) => this.#store.delete(id, taken))
  }
  list(options: CallOptions = {}) {
    return this.#call(CALL, options, (taken) => this.#store.list(taken))
  }
  stats(id: string, options: CallOptions = {}) {
    return this.#atBundle(id, options, (taken) => this.#store.stats(id, taken))
  }
  async limit(id: string, request: LimitRequest) {
    takeFields(ID, { id })
    return await this.#call(LIMIT, request, (taken) => this.#store.limit(id, taken))
  }
  digest(request: DigestRequest) {
    return this.#call(DIGEST, request, (taken) => this.#store.digest(taken))
  }
  pull(request: PullRequest) {
    return this.#call(PULL, request, (taken) => this.#store.pull(taken))
  }
  mount(id: string, options: CallOptions = {}) {
    return this.#atBundle(id, options, (taken) => this.#store.mount(id, taken))
  }
  unmount(id: string, options: CallOptions = {}) {
    return this.#atBundle(id, options, (taken) => this.#store.unmount(id, taken))
  }
  check(options: CheckOptions = {}) {
    return this.#call(CHECK, options, (taken) => this.#store.check(taken))
  }
  clean(request: CleanRequest = {}) {
    return this.#call(CLEAN, request, (taken) => this.#store.clean(taken))
  }
  images(options: CallOptions = {}) {
    return this.#call(CALL, options, (taken) => this.#store.images(taken))
  }
  removeImages(request: RemoveImagesRequest) {
    return this.#call(REMOVE_IMAGES, request, (taken) => this.#store.removeImages(taken))
  }
  pin(image: string, options: CallOptions = {}) {
    return this.#atImage(image, options, (taken) => this.#store.pin(image, taken))
  }
  unpin(image: string, options: CallOptions = {}) {
    return this.#atImage(image, options, (taken) => this.#store.unpin(image, taken))
  }
  locks(options: CallOptions = {}) {
    return this.#call(CALL, options, (taken) => this.#store.locks(taken))
  }
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async #close(): Promise<void> {
    if (!this.#isCallers) return await this.#store.close()
    this.#end.abort()
    await Promise.allSettled(this.#running)
    await this.#store.close()
  }

  async #atBundle<R>(id: string, options: CallOptions, work: (options: CallOptions) => Promise<R>) {
    takeFields(ID, { id })
    return await this.#call(CALL, options, work)
  }

  async #atImage<R>(image: string, options: CallOptions, work: (options: CallOptions) => Promise<R>) {
    takeFields(IMAGE, { image })
    return await this.#call(CALL, options, work)
  }

  /** @throws {UsageError} `store-closed` */
  async #call<T extends CallOptions, R>(
    fields: Fields<T>,
    request: T,
    work: (request: T) => Promise<R>,
  ): Promise<R> {
    if (this.#closing !== null) {
      throw new UsageError('store-closed', `Cannot use store "${this.path}": it was closed`, {
        facts: { path: this.path },
      })
    }
    if (!this.#isCallers) return await atBorder(fields, request, work)
    const call = atBorder(fields, request, work, this.#end.signal)
    this.#running.add(call)
    try {
      return await call
    } finally {
      this.#running.delete(call)
    }
  }
}
