/**
 * The command in a test: a run against a fake store, and what it wrote.
 */
import { type Process, run } from '../../cli/run.js'
import {
  type BundleSummary,
  type CallOptions,
  type CheckReport,
  type CleanReport,
  type CleanRequest,
  type CreateRequest,
  composefs,
  type DigestRequest,
  type GrootStore,
  type ImageSummary,
  type LimitRequest,
  NotFoundError,
  type OpenStoreOptions,
  type PullRequest,
  type RemoveImagesReport,
  type RemoveImagesRequest,
  StoreError,
} from '../../lib/index.js'

export const BUNDLE: BundleSummary = {
  id: 'web',
  bundle: '/s/bundles/web',
  rootfs: '/s/bundles/web/rootfs',
  image: { reference: 'oci:dir\u202e:x', digest: 'sha256:aa' },
  digest: 'd1',
  driver: 'vfs',
  mounts: [],
  createdAt: '2026-01-02T03:04:05.678Z',
}

export const CLEAN: CheckReport = {
  objects: 1,
  layers: 2,
  images: 3,
  bases: 1,
  bundles: 1,
  bytes: 2048,
  problems: [],
}

export const NOTHING_CLEANED: CleanReport = {
  dryRun: false,
  bytes: 2048,
  thresholdBytes: null,
  belowThreshold: false,
  freedBytes: 0,
  objects: 0,
  removed: [],
  skipped: [],
  pinned: [],
  complete: true,
}

/** A store that answers as it is told and writes down what it was asked. */
class FakeStore implements GrootStore {
  readonly path = '/s'
  readonly driver = 'vfs'
  readonly calls: unknown[] = []
  readonly known = new Map<string, BundleSummary | Error>([['web', BUNDLE]])
  report = CLEAN
  closed = 0

  async create({ signal: _, onEvent, ...request }: CreateRequest) {
    this.calls.push(['create', request])
    onEvent?.({ kind: 'warning', code: 'odd', message: 'This is odd' })
    return BUNDLE
  }
  async digest({ signal: _, onEvent: __, ...request }: DigestRequest) {
    this.calls.push(['digest', request])
    return { image: BUNDLE.image, digest: BUNDLE.digest }
  }
  async pull({ signal: _, onEvent: __, ...request }: PullRequest) {
    this.calls.push(['pull', request])
    return { image: BUNDLE.image, digest: BUNDLE.digest }
  }
  listed: ImageSummary[] = []
  removal: RemoveImagesReport = { images: [], freedBytes: 0, objects: 0, removed: [], skipped: [] }
  async images({ lockTimeoutMs }: CallOptions = {}) {
    this.calls.push(['images', lockTimeoutMs])
    return this.listed
  }
  async removeImages({ signal: _, onEvent: __, ...request }: RemoveImagesRequest) {
    this.calls.push(['removeImages', request])
    return this.removal
  }
  async mount(id: string, { lockTimeoutMs }: CallOptions = {}) {
    return this.#change('mount', id, lockTimeoutMs)
  }
  async unmount(id: string, { lockTimeoutMs }: CallOptions = {}) {
    return this.#change('unmount', id, lockTimeoutMs)
  }
  #change(verb: string, id: string, lockTimeoutMs: number | undefined) {
    this.calls.push([verb, id, lockTimeoutMs])
    const found = this.known.get(id)
    if (found instanceof Error) throw found
    return { id, changed: found !== undefined }
  }
  async delete(id: string, { lockTimeoutMs }: CallOptions = {}) {
    this.calls.push(['delete', id, lockTimeoutMs])
    const found = this.known.get(id)
    if (found instanceof Error) throw found
    return { id, existed: this.known.delete(id) }
  }
  async list() {
    return [BUNDLE, { ...BUNDLE, id: 'web-2' }]
  }
  async stats(id: string) {
    if (!this.known.has(id))
      throw new NotFoundError('bundle-missing', `Cannot show bundle "${id}"`, { facts: { id } })
    return {
      disk_usage: { total_bytes_used: 5, exclusive_bytes_used: 3 },
      digest: 'd1',
      disk_limit: null,
      extra: 'not told',
    }
  }
  async limit(id: string, { signal: _, onEvent: __, ...request }: LimitRequest) {
    this.calls.push(['limit', id, request])
    return {
      id,
      disk_limit: {
        size_bytes: request.diskLimitSizeBytes,
        exclude_image: false,
        writable_bytes: 5,
        backend: 'native' as const,
      },
    }
  }
  async check() {
    return this.report
  }
  cleaned: CleanReport = NOTHING_CLEANED
  async clean({ signal: _, onEvent: __, ...request }: CleanRequest = {}) {
    this.calls.push(['clean', request])
    return this.cleaned
  }
  async pin(image: string) {
    this.calls.push(['pin', image])
    return { image: `docker://registry.example/${image}\u202e`, changed: true }
  }
  async unpin(image: string) {
    this.calls.push(['unpin', image])
    return { image, changed: image !== 'unknown' }
  }
  async locks() {
    return [
      { lock: 'bundle/web', pid: 42, command: 'groot create', since: '2026-01-02T03:04:05.678Z' },
      { lock: 'gc', pid: null, command: null, since: null },
    ]
  }
  async close() {
    this.closed++
  }
  async [Symbol.asyncDispose]() {
    await this.close()
  }
}

interface Wish extends Partial<Process> {
  readonly input?: string | readonly Uint8Array[]
  readonly storeMissing?: boolean
}

/** Runs a command line against a fake store. */
export async function groot(
  line: string | readonly string[],
  { input = '', storeMissing = false, ...wish }: Wish = {},
) {
  const store = new FakeStore()
  const opened: unknown[] = []
  let stdout = ''
  let stderr = ''
  let reads = 0
  const openStore = async (options: OpenStoreOptions) => {
    opened.push(options)
    if (storeMissing && options.make === false) {
      throw new StoreError('store-missing', 'Cannot open store "/s": there is none')
    }
    return store
  }
  const start = (overrides: Partial<FakeStore> = {}) => {
    Object.assign(store, overrides)
    return run({
      argv: typeof line === 'string' ? line.split(' ') : line,
      version: () => '1.2.3',
      env: { GROOT_STORE: '/s' },
      uid: 1000,
      cwd: () => '/work',
      library: {
        openStore,
        initStore: async (options) => ({
          path: options.path,
          driver: options.driver ?? 'vfs',
          id: 'uuid',
          notes: ['a note'],
        }),
        login: async ({ signal: _signal, onEvent: _onEvent, ...request }) => {
          store.calls.push(['login', request])
          return { host: request.host, keptIn: { kind: 'file', path: '/h/.docker/config.json' } }
        },
        logout: async ({ signal: _signal, onEvent: _onEvent, ...request }) => {
          store.calls.push(['logout', request])
          return { host: request.host, existed: request.host === 'known.example' }
        },
        composefs,
        mountStore: async ({ path }) => ({ path, changed: false }),
        deleteStore: async (options) => {
          opened.push(['delete-store', options])
          if (options.force !== true)
            throw new StoreError('store-not-empty', 'Cannot delete store "/s": it has 1 bundle')
        },
      },
      ask: null,
      signal: new AbortController().signal,
      stdin: async function* () {
        reads++
        yield* typeof input === 'string' ? [Buffer.from(input)] : input
      },
      writeAnswer: async (text) => {
        stdout += typeof text === 'string' ? text : Buffer.from(text).toString('latin1')
      },
      isAnswerTerminal: false,
      writeLog: (lines) => {
        stderr += lines
      },
      terminal: { isTerminal: false, columns: 80 },
      now: () => 0,
      ...wish,
    })
  }
  const withStore = async (overrides?: Partial<FakeStore>) => {
    const status = await start(overrides)
    return { status, stdout, stderr, opened, calls: store.calls, closed: store.closed, reads }
  }
  return { withStore, store }
}

/** The same, with the store as it is. */
export const result = async (line: string | readonly string[], wish?: Wish) =>
  (await groot(line, wish)).withStore()
