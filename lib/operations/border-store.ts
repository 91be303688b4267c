/**
 * An opened store as callers have it: every call goes over the border.
 */
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
  checkFields,
  DIGEST,
  ID,
  IMAGE,
  LIMIT,
  PULL,
  REMOVE_IMAGES,
} from './request-fields.js'

export class BorderStore implements GrootStore {
  readonly #store: GrootStore

  constructor(store: GrootStore) {
    this.#store = store
  }

  get path(): string {
    return this.#store.path
  }
  get driver(): string {
    return this.#store.driver
  }

  create(request: CreateRequest) {
    return atBorder(CREATE, request, () => this.#store.create(request))
  }
  delete(id: string, options: CallOptions = {}) {
    return atBundle(id, options, () => this.#store.delete(id, options))
  }
  list(options: CallOptions = {}) {
    return atBorder(CALL, options, () => this.#store.list(options))
  }
  stats(id: string, options: CallOptions = {}) {
    return atBundle(id, options, () => this.#store.stats(id, options))
  }
  async limit(id: string, request: LimitRequest) {
    checkFields(ID, { id })
    return await atBorder(LIMIT, request, () => this.#store.limit(id, request))
  }
  digest(request: DigestRequest) {
    return atBorder(DIGEST, request, () => this.#store.digest(request))
  }
  pull(request: PullRequest) {
    return atBorder(PULL, request, () => this.#store.pull(request))
  }
  mount(id: string, options: CallOptions = {}) {
    return atBundle(id, options, () => this.#store.mount(id, options))
  }
  unmount(id: string, options: CallOptions = {}) {
    return atBundle(id, options, () => this.#store.unmount(id, options))
  }
  check(options: CheckOptions = {}) {
    return atBorder(CHECK, options, () => this.#store.check(options))
  }
  clean(request: CleanRequest = {}) {
    return atBorder(CLEAN, request, () => this.#store.clean(request))
  }
  images(options: CallOptions = {}) {
    return atBorder(CALL, options, () => this.#store.images(options))
  }
  removeImages(request: RemoveImagesRequest) {
    return atBorder(REMOVE_IMAGES, request, () => this.#store.removeImages(request))
  }
  pin(image: string, options: CallOptions = {}) {
    return atImage(image, options, () => this.#store.pin(image, options))
  }
  unpin(image: string, options: CallOptions = {}) {
    return atImage(image, options, () => this.#store.unpin(image, options))
  }
  locks(options: CallOptions = {}) {
    return atBorder(CALL, options, () => this.#store.locks(options))
  }
  close(): Promise<void> {
    return this.#store.close()
  }
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }
}

async function atBundle<R>(id: string, options: CallOptions, work: () => Promise<R>): Promise<R> {
  checkFields(ID, { id })
  return await atBorder(CALL, options, work)
}

async function atImage<R>(image: string, options: CallOptions, work: () => Promise<R>): Promise<R> {
  checkFields(IMAGE, { image })
  return await atBorder(CALL, options, work)
}
