/**
 * init-store: makes a store, or says that it is there.
 */
import { chmodSync, mkdirSync, readdirSync, rmdirSync } from 'node:fs'
import { basename } from 'node:path'
import type { DriverModule } from '../driver/contract.js'
import { loadDriver, openDriver, probeDriver } from '../driver/host.js'
import { programFile } from '../driver/program.js'
import { BugError, isErrno, isGrootError, StoreError } from '../errors.js'
import type { IdMapping } from '../ids/mapping.js'
import { LockManager } from '../locks/locks.js'
import { newDescriptor, readDescriptor, writeDescriptor } from '../store/descriptor.js'
import { type StoreLayout, storeDirectories, storeLayout } from '../store/layout.js'
import { objectReader } from '../store/objects.js'
import { isTemporaryName } from '../store/records.js'
import type { InitStoreOptions, StoreInfo } from './api.js'
import { BACKING_RECORD, refuseUnmounted, unmountBacking } from './backing.js'
import { requestedMapping } from './mapping.js'
import { planBacking, prepareBacking } from './mount-store.js'
import { checkOwner, makeDirectories, storePath } from './opened-store.js'

/** Tried in this order when no driver is named: the last works everywhere. */
const DEFAULT_DRIVERS = ['overlay', 'vfs'] as const

/**
 * Makes a store in a directory that is missing, empty, or holds a store that was half made.
 *
 * @throws {StoreError} `store-exists`, `store-not-empty`, `store-unsafe`
 * @throws {UnsupportedError} `driver-unknown`, `driver-unusable`, `lock-unsupported`, `mapping-unsupported`
 */
export async function initStore(options: InitStoreOptions): Promise<StoreInfo> {
  const made = await makeStore(options)
  if (made !== null) return made
  const path = storePath(options.path)
  throw new StoreError('store-exists', `Cannot make store "${path}": there is one already`, {
    facts: { path },
  })
}

/** The same, but null when there is a store already, also one that another process made meanwhile. */
export async function makeStore(
  options: InitStoreOptions,
  program = programFile(),
): Promise<StoreInfo | null> {
  const layout = storeLayout(storePath(options.path))
  const mapping = requestedMapping(options.mapping, null)
  const candidates = await Promise.all(driverNames(options).map((name) => candidate(name, options, program)))
  const backing = planBacking(options, layout.root)
  const isNew = makeRoot(layout.root)
  checkOwner(layout.root)
  if (backing === null) refuseUnmounted(layout.root)
  if (readDescriptor(layout.descriptor) !== null) return null
  checkEmpty(layout)
  try {
    const { made, notes } = backing === null ? NOT_MADE : await prepareBacking(layout.root, backing)
    try {
      return await fillStore(layout, options, mapping, candidates, notes)
    } catch (error) {
      if (made !== null) unmountBacking(layout.root, made)
      throw error
    }
  } catch (error) {
    if (isNew) removeEmpty(layout)
    throw error
  }
}

/** What was made and holds nothing; what holds something, another process may be making a store of. */
function removeEmpty(layout: StoreLayout): void {
  const directories = [...storeDirectories(layout).map(({ path }) => path), layout.root]
  // Longest first: some are in others.
  for (const path of directories.sort((a, b) => b.length - a.length)) {
    try {
      rmdirSync(path)
    } catch (error) {
      if (!isErrno(error)) throw error
    }
  }
}

const NOT_MADE = { made: null, notes: [] } as const

async function fillStore(
  layout: StoreLayout,
  options: InitStoreOptions,
  mapping: IdMapping | null,
  candidates: readonly Candidate[],
  before: readonly string[],
): Promise<StoreInfo | null> {
  if (before.length > 0 && readDescriptor(layout.descriptor) !== null) return null
  makeDirectories(layout)
  const { module, options: driverOptions, notes } = await firstUsable(layout.root, candidates)
  await probeLocks(layout)
  await prepareDriver(layout, module, driverOptions)
  const descriptor = newDescriptor(module.name, options.driverOptions, mapping, options.noSync)
  // commit point: store.json, the last file of a new store
  if (!writeDescriptor(layout.descriptor, descriptor)) return null
  return { path: layout.root, driver: module.name, id: descriptor.id, notes: [...before, ...notes] }
}

function driverNames({ driver, driverOptions }: InitStoreOptions): readonly string[] {
  if (driver !== undefined) return [driver]
  // Options are those of the best driver: another would not know them.
  return driverOptions === undefined ? DEFAULT_DRIVERS : [DEFAULT_DRIVERS[0]]
}

interface Candidate {
  readonly module: DriverModule
  readonly options: unknown
}

async function candidate(
  name: string,
  { driverOptions }: InitStoreOptions,
  program: string | null,
): Promise<Candidate> {
  const module = await loadDriver(name, program)
  return { module, options: module.parseOptions(driverOptions ?? null) }
}

/** The first driver that works in a place, and what there is to say about it and about those before it. */
async function firstUsable(
  directory: string,
  candidates: readonly Candidate[],
): Promise<Candidate & { notes: readonly string[] }> {
  const where = { directory, effectiveUid: process.geteuid?.() ?? 0 }
  const before: string[] = []
  for (const [index, { module, options }] of candidates.entries()) {
    try {
      const notes = await probeDriver(module, where, options)
      return { module, options, notes: [...notes, ...before] }
    } catch (error) {
      if (!isGrootError(error) || error.code !== 'driver-unusable' || index === candidates.length - 1)
        throw error
      before.push(
        `driver "${module.name}" is not used: ${String(error.facts.feature)} is ${String(error.facts.found)}`,
      )
    }
  }
  throw new BugError('Cannot choose a driver: there is none to choose from')
}

/** What a driver finds out once of its place, it finds out now, and no create has to wait for it. */
async function prepareDriver(
  layout: StoreLayout,
  module: DriverModule,
  driverOptions: unknown,
): Promise<void> {
  const room = {
    directory: layout.driver(module.name),
    objects: objectReader(layout.objects),
    events: () => {},
  }
  const driver = await openDriver(module, room, driverOptions)
  await driver.close?.()
}

const OWN_FILES = new Set(['store.json', BACKING_RECORD])

/** A foreign directory is never taken over: a mistyped path must not end in a clean of somebody's files. */
function checkEmpty(layout: StoreLayout): void {
  const known = new Set(storeDirectories(layout).map(({ path }) => basename(path)))
  for (const name of readdirSync(layout.root)) {
    // An ext filesystem's own directory stands in the root of each fresh mount.
    if (known.has(name) || isTemporaryName(name) || name === 'lost+found' || OWN_FILES.has(name)) continue
    throw new StoreError(
      'store-not-empty',
      `Cannot make store "${layout.root}": the directory holds ${JSON.stringify(name)}, which is not part of a store`,
      { facts: { path: layout.root, found: name } },
    )
  }
}

/** @returns whether it is new @throws {StoreError} `store-unsafe` when something stands there that is no directory */
function makeRoot(path: string): boolean {
  try {
    if (mkdirSync(path, { mode: 0o711, recursive: true }) === undefined) return false
    chmodSync(path, 0o711)
    return true
  } catch (error) {
    if (!isErrno(error, 'EEXIST', 'ENOTDIR')) throw error
    throw new StoreError('store-unsafe', `Cannot use store "${path}": it is not a directory`, {
      facts: { path, cause: 'it is not a directory' },
      cause: error,
    })
  }
}

/** Takes and gives one lock: where flock does not work, nothing would be safe. */
async function probeLocks(layout: StoreLayout): Promise<void> {
  const locks = new LockManager(layout.locks, { command: 'init-store', spares: layout.spares })
  await using _lock = await locks.gc({ timeoutMs: 10_000 })
  locks.keepSpares()
}
