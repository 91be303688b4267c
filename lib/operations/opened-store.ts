/**
 * An opened store: what every operation works with. Opening reads store.json, checks whose store it is, and opens the
 * driver's room; nothing is locked and nothing runs in the background.
 */
import { chmodSync, existsSync, lstatSync, mkdirSync, realpathSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { isAbsolute, resolve } from 'node:path'
import type { Driver } from '../driver/contract.js'
import { loadDriver, openDriver } from '../driver/host.js'
import { programFile } from '../driver/program.js'
import { isErrno, isGrootError, StoreError, UsageError } from '../errors.js'
import type { EventSink } from '../events.js'
import { keepsMetadataOrder } from '../linux/ordered-metadata.js'
import { LockManager } from '../locks/locks.js'
import { readDescriptor, type StoreDescriptor } from '../store/descriptor.js'
import { type StoreLayout, storeDirectories, storeLayout } from '../store/layout.js'
import { type ObjectReader, objectReader } from '../store/objects.js'
import { RecentImages, RecentLayers } from '../store/recent.js'
import { Workers } from '../worker/workers.js'
import { refuseUnmounted } from './backing.js'

const MANY_PROCESSORS = 4 // so many are worth a thread for a single layer
const KEEP_THREADS_MS = 10_000 // an orchestrator's next image may follow

export interface OpenedStore {
  readonly layout: StoreLayout
  readonly descriptor: StoreDescriptor
  /** Asking for a driver that is not there or does not work here throws why; what needs none goes on without. */
  readonly driver: Driver
  /** @throws why there is none */
  demandDriver(): void
  readonly locks: LockManager
  readonly objects: ObjectReader
  readonly workers: Workers
  /** Whether this thread has nothing else to do, and few processors beside it. */
  readonly isAlone: boolean
  /** Whether its filesystem keeps the order of metadata, so that one sync makes a series of changes durable. */
  readonly isOrdered: boolean
  readonly images: RecentImages
  readonly layers: RecentLayers
  /** Ends its threads and lets go of what the driver holds. */
  close(): Promise<void>
}

/**
 * Opens a store that exists.
 *
 * @param command what to show those who wait for our locks
 * @param isCallers whether this is the caller's own thread, which has nothing else to do
 * @param program the file that the caller's thread was started with, or null
 * @returns null when there is no store
 * @throws {StoreError} `store-invalid`, `store-version`, `store-feature`, `store-unsafe`, `store-driver`
 */
export async function openExisting(
  path: string,
  driverName: string | undefined,
  command: string,
  events: EventSink,
  isCallers = false,
  program = programFile(),
): Promise<OpenedStore | null> {
  const layout = storeLayout(storePath(path))
  if (!existsSync(layout.root)) return null
  checkOwner(layout.root)
  refuseUnmounted(layout.root)
  const descriptor = readDescriptor(layout.descriptor)
  if (descriptor === null) return null
  if (driverName !== undefined && driverName !== descriptor.driver) {
    throw new StoreError(
      'store-driver',
      `Cannot open store "${layout.root}" with driver "${driverName}": it was made with driver "${descriptor.driver}"`,
      { facts: { path: layout.root, asked: driverName, found: descriptor.driver } },
    )
  }
  const objects = objectReader(layout.objects)
  const room = { directory: layout.driver(descriptor.driver), objects, events }
  const opened = await openOrRemember(async () => {
    const module = await loadDriver(descriptor.driver, program)
    return await openDriver(module, room, module.parseOptions(descriptor.driverOptions))
  })
  let isOrdered: boolean | undefined
  const workers = new Workers(layout.root, isCallers ? 0 : KEEP_THREADS_MS)
  return {
    layout,
    descriptor,
    get driver() {
      return opened.demand()
    },
    demandDriver: () => void opened.demand(),
    objects,
    locks: new LockManager(layout.locks, { command, spares: layout.spares }),
    async close() {
      await workers.close()
      await opened.driver?.close?.()
    },
    workers,
    isAlone: isCallers && availableParallelism() < MANY_PROCESSORS,
    // Asked when something is written: reading verbs load no system calls for it.
    get isOrdered() {
      isOrdered ??= keepsMetadataOrder(layout.root)
      return isOrdered
    },
    images: new RecentImages(),
    layers: new RecentLayers(layout),
  }
}

interface OpenedDriver {
  readonly driver: Driver | null
  /** Throws why there is none. */
  demand(): Driver
}

/** A driver that is not there or cannot work here is told to those who need it, and to them alone. */
async function openOrRemember(open: () => Promise<Driver>): Promise<OpenedDriver> {
  try {
    const driver = await open()
    return { driver, demand: () => driver }
  } catch (error) {
    if (!isGrootError(error) || error.kind !== 'unsupported') throw error
    const demand = () => {
      throw error
    }
    return { driver: null, demand }
  }
}

/**
 * The real path of a store: a symlink to it is followed once, here, so that every path handed out is free of it.
 *
 * @throws {UsageError} `option-invalid` when the path is not absolute
 */
export function storePath(path: string): string {
  if (!isAbsolute(path) || path.includes('\0')) {
    throw new UsageError(
      'option-invalid',
      `Cannot use ${JSON.stringify(path)} as a store: its path must be absolute`,
      { facts: { option: 'store', value: path } },
    )
  }
  try {
    return realpathSync(path)
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENOTDIR')) return resolve(path)
    throw error
  }
}

/** Makes what is missing of a store's directories, each with its exact mode, whatever the umask. */
export function makeDirectories(layout: StoreLayout): void {
  for (const { path, mode } of [{ path: layout.root, mode: 0o711 }, ...storeDirectories(layout)]) {
    try {
      mkdirSync(path, { mode })
      chmodSync(path, mode)
    } catch (error) {
      if (!isErrno(error, 'EEXIST')) throw error
    }
  }
}

/**
 * Refuses a store that someone else could change under us.
 *
 * @throws {StoreError} `store-unsafe`
 */
export function checkOwner(root: string): void {
  const stat = lstatSync(root)
  const uid = process.geteuid?.() ?? 0
  const refuse = (cause: string): StoreError =>
    new StoreError('store-unsafe', `Cannot use store "${root}": ${cause}`, { facts: { path: root, cause } })
  if (!stat.isDirectory()) throw refuse('it is not a directory')
  if (stat.uid !== uid) throw refuse(`it belongs to uid ${stat.uid}, this process runs as uid ${uid}`)
  if ((stat.mode & 0o022) !== 0)
    throw refuse(`others may write to it (mode ${(stat.mode & 0o7777).toString(8)})`)
}
