/**
 * openStore on the calling thread: the operations behind the library's interface.
 */
import { existsSync } from 'node:fs'
import { isAbsolute } from 'node:path'
import { programFile } from '../driver/program.js'
import { type GrootError, isGrootError, StoreError, SystemError } from '../errors.js'
import { withoutSyncs, withSyncs } from '../linux/sync-mode.js'
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
} from './api.js'
import { asGroot } from './border.js'
import { createBundle } from './create.js'
import { deleteBundle } from './delete.js'
import { listBundles } from './list.js'
import { type OpenedStore, openExisting } from './opened-store.js'
import { bundleStats } from './stats.js'
import { whileWriting } from './writing.js'

/**
 * Opens a store, and makes it first when it does not exist and `make` is not false.
 *
 * @param program the file that the caller's thread was started with, or null
 * @throws {StoreError} `store-missing` and what makeStore and openExisting throw
 */
export async function openStoreHere(options: OpenStoreOptions, program = programFile()): Promise<GrootStore> {
  return await asGroot(`Cannot open store "${options.path}"`, async () => {
    const isCallers = options.thread === 'caller'
    const command = commandName(program)
    const open = () => openExisting(options.path, options.driver, command, () => {}, isCallers, program)
    let store = await open()
    if (store === null && options.make !== false) {
      const { makeStore } = await import('./init-store.js')
      const { path, driver } = options
      await withSyncs(() => makeStore({ path, ...(driver === undefined ? {} : { driver }) }, program))
      store = await open()
    }
    if (store === null) {
      throw storeMissing(options.path)
    }
    return new LocalStore(store)
  })
}

class LocalStore implements GrootStore {
  readonly #store: OpenedStore

  constructor(store: OpenedStore) {
    this.#store = store
  }

  get path(): string {
    return this.#store.layout.root
  }
  get driver(): string {
    return this.#store.descriptor.driver
  }

  create(request: CreateRequest) {
    return this.#asGroot(`Cannot create bundle "${request.id}"`, () =>
      whileWriting(this.#store, request, () => createBundle(this.#store, request), true),
    )
  }
  delete(id: string, options: CallOptions = {}) {
    return this.#asGroot(`Cannot delete bundle "${id}"`, () =>
      (this.#store.descriptor.noSync ? withoutSyncs : withSyncs)(() =>
        deleteBundle(this.#store, id, options),
      ),
    )
  }
  list(options: CallOptions = {}) {
    return this.#asGroot('Cannot list bundles', () => listBundles(this.#store, options))
  }
  stats(id: string, _options: CallOptions = {}) {
    return this.#asGroot(`Cannot show bundle "${id}"`, () => bundleStats(this.#store, id))
  }
  // What follows is loaded when it is asked for: most processes create, delete and list.
  limit(id: string, request: LimitRequest) {
    return this.#asDurable(`Cannot limit bundle "${id}"`, async () =>
      (await import('./limit.js')).limitBundle(this.#store, id, request),
    )
  }
  digest(request: DigestRequest) {
    return this.#asGroot(`Cannot digest image "${request.image}"`, () =>
      whileWriting(this.#store, request, async () =>
        (await import('./digest.js')).imageDigest(this.#store, request),
      ),
    )
  }
  pull(request: PullRequest) {
    return this.#asGroot(`Cannot pull image "${request.image}"`, () =>
      whileWriting(this.#store, request, async () =>
        (await import('./pull.js')).pullImage(this.#store, request),
      ),
    )
  }
  mount(id: string, options: CallOptions = {}) {
    return this.#asGroot(`Cannot mount bundle "${id}"`, () =>
      whileWriting(this.#store, options, async () =>
        (await import('./mounts.js')).mountBundle(this.#store, id, options),
      ),
    )
  }
  unmount(id: string, options: CallOptions = {}) {
    return this.#asDurable(`Cannot unmount bundle "${id}"`, async () =>
      (await import('./mounts.js')).unmountBundle(this.#store, id, options),
    )
  }
  check(options: CheckOptions = {}) {
    return this.#asDurable('Cannot check the store', async () =>
      (await import('./check.js')).checkStore(this.#store, options),
    )
  }
  clean(request: CleanRequest = {}) {
    return this.#asGroot('Cannot clean the store', () =>
      whileWriting(this.#store, request, async () =>
        (await import('./clean.js')).cleanStore(this.#store, request),
      ),
    )
  }
  images(options: CallOptions = {}) {
    return this.#asGroot('Cannot list the images', async () =>
      (await import('./images.js')).listImages(this.#store, options),
    )
  }
  removeImages(request: RemoveImagesRequest) {
    return this.#asDurable('Cannot remove images', async () =>
      (await import('./rmi.js')).removeImages(this.#store, request),
    )
  }
  pin(image: string, options: CallOptions = {}) {
    return this.#asDurable(`Cannot pin image "${image}"`, async () =>
      (await import('./pins.js')).pinImage(this.#store, image, options),
    )
  }
  unpin(image: string, _options: CallOptions = {}) {
    return this.#asDurable(`Cannot unpin image "${image}"`, async () =>
      (await import('./pins.js')).unpinImage(this.#store, image),
    )
  }
  locks(_options: CallOptions = {}) {
    return this.#asGroot('Cannot list the locks', async () =>
      (await import('./locks.js')).listLocks(this.#store),
    )
  }
  async close(): Promise<void> {
    await this.#store.close()
  }
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  /** What is thrown tells of the store where it is gone, or its disk full. */
  async #asGroot<T>(doing: string, work: () => Promise<T>): Promise<T> {
    try {
      return await asGroot(doing, work)
    } catch (error) {
      const { root, descriptor } = this.#store.layout
      if (!isGrootError(error) || error.kind === 'aborted') throw error
      if (!existsSync(descriptor)) throw storeMissing(root, error)
      throw error.code === 'disk-full' ? fullDisk(root, error) : error
    }
  }

  /** The same for what writes with syncs in any store. */
  #asDurable<T>(doing: string, work: () => Promise<T>): Promise<T> {
    return this.#asGroot(doing, () => withSyncs(work))
  }
}

/** Of what is open the kernel gives no path, and of what is in a directory that is only its name. */
function fullDisk(root: string, error: GrootError): GrootError {
  const { path = null } = error.facts
  if (typeof path === 'string' && isAbsolute(path)) return error
  return new SystemError('disk-full', `${error.message}, in store "${root}"`, {
    facts: { ...error.facts, path: root },
    cause: error,
  })
}

function storeMissing(path: string, cause?: unknown): StoreError {
  return new StoreError('store-missing', `Cannot open store "${path}": there is none`, {
    facts: { path },
    cause,
  })
}

/** What those who wait for our locks are told. Never arguments: they are nobody's business. */
function commandName(program: string | null): string {
  const script = program ?? process.argv0
  return script.slice(script.lastIndexOf('/') + 1)
}
