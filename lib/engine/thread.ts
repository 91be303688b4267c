/**
 * The engine thread: opens one store and carries out calls on it. Entry file of a Worker; nothing imports it.
 */
import { parentPort } from 'node:worker_threads'
import { BugError } from '../errors.js'
import type { GrootEvent } from '../events.js'
import { withAnyListeners } from '../linked-signal.js'
import type { GrootStore } from '../operations/api.js'
import { openStoreHere } from '../operations/open-store.js'
import { dropDescriptorWarnings } from '../worker/descriptor-warnings.js'
import { toWire } from '../worker/wire-error.js'
import type { Call, FromEngine, ToEngine } from './protocol.js'

const port = parentPort
if (port === null) throw new BugError('Cannot run the engine outside of a worker')
dropDescriptorWarnings()

const running = new Map<number, AbortController>()
let store: GrootStore | null = null

port.on('message', (message: ToEngine) => {
  switch (message.kind) {
    case 'open':
      return void open(message.options, message.program)
    case 'call':
      return void carryOut(message)
    case 'abort':
      return running.get(message.id)?.abort()
    case 'close':
      return void close()
    default:
      message satisfies never
  }
})

async function open(...[options, program]: Parameters<typeof openStoreHere>): Promise<void> {
  try {
    store = await openStoreHere(options, program)
    send({ kind: 'opened', path: store.path, driver: store.driver })
  } catch (error) {
    send({ kind: 'open-failed', error: toWire(error) })
  }
}

/** What fails here cannot be helped any more: the thread ends next. */
async function close(): Promise<void> {
  await store?.close().catch(() => {})
  send({ kind: 'closed' })
}

async function carryOut({ id, call, wantsEvents }: ToEngine & { kind: 'call' }): Promise<void> {
  const controller = new AbortController()
  withAnyListeners(controller.signal)
  running.set(id, controller)
  try {
    const shared = {
      signal: controller.signal,
      ...(wantsEvents ? { onEvent: (event: GrootEvent) => send({ kind: 'event', id, event }) } : {}),
    }
    send({ kind: 'result', id, value: await run(call, shared) })
  } catch (error) {
    send({ kind: 'failed', id, error: toWire(error) })
  } finally {
    running.delete(id)
  }
}

function run(call: Call, shared: Parameters<GrootStore['list']>[0]): Promise<unknown> {
  if (store === null) throw new BugError('Cannot carry out a call: the store is not open')
  switch (call.method) {
    case 'create':
      return store.create({ ...call.request, ...shared })
    case 'digest':
      return store.digest({ ...call.request, ...shared })
    case 'pull':
      return store.pull({ ...call.request, ...shared })
    case 'mount':
      return store.mount(call.bundle, { ...call.options, ...shared })
    case 'unmount':
      return store.unmount(call.bundle, { ...call.options, ...shared })
    case 'delete':
      return store.delete(call.bundle, { ...call.options, ...shared })
    case 'stats':
      return store.stats(call.bundle, { ...call.options, ...shared })
    case 'limit':
      return store.limit(call.bundle, { ...call.request, ...shared })
    case 'list':
      return store.list({ ...call.options, ...shared })
    case 'images':
      return store.images({ ...call.options, ...shared })
    case 'removeImages':
      return store.removeImages({ ...call.request, ...shared })
    case 'locks':
      return store.locks({ ...call.options, ...shared })
    case 'clean':
      return store.clean({ ...call.request, ...shared })
    case 'pin':
      return store.pin(call.image, { ...call.options, ...shared })
    case 'unpin':
      return store.unpin(call.image, { ...call.options, ...shared })
    case 'check':
      return store.check({ ...call.options, ...shared })
    default:
      return call satisfies never
  }
}

function send(message: FromEngine): void {
  port!.postMessage(message)
}
