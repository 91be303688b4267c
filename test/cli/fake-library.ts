/**
 * The command in a test: a run against a fake store, and what it wrote.
 */
import { type Process, run } from '../../cli/run.js'
import {
  type BundleSummary,
  type CallOptions,
  type CheckReport,
  type CreateRequest,
  type GrootStore,
  NotFoundError,
  type OpenStoreOptions,
  StoreError,
} from '../../lib/index.js'

export const BUNDLE: BundleSummary = {
  id: 'web',
  bundle: '/s/bundles/web',
  rootfs: '/s/bundles/web/rootfs',
  image: { reference: 'oci:dir\u202e:x', digest: 'sha256:aa' },
  driver: 'vfs',
  mounts: [],
  createdAt: '2026-01-02T03:04:05.678Z',
}

export const CLEAN: CheckReport = { objects: 1, layers: 2, images: 3, bundles: 1, bytes: 2048, problems: [] }

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
    return { disk_usage: { total_bytes_used: 5, exclusive_bytes_used: 3 }, extra: 'not told' }
  }
  async check() {
    return this.report
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
      version: '1.2.3',
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
        deleteStore: async (options) => {
          opened.push(['delete-store', options])
          if (options.force !== true)
            throw new StoreError('store-not-empty', 'Cannot delete store "/s": it has 1 bundle')
        },
      },
      signal: new AbortController().signal,
      stdin: async function* () {
        reads++
        yield* typeof input === 'string' ? [Buffer.from(input)] : input
      },
      writeAnswer: async (text) => {
        stdout += text
      },
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
