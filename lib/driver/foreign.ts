/**
 * Drivers of other packages. What they give is looked at before it is believed: names become paths, and numbers are told.
 *
 * A value that is not what the contract says, and an error that is nobody's, are told as `driver-invalid`, with the method.
 */
import { isVerityDigest } from '../digest.js'
import { isErrno, isGrootError, type UnsupportedError } from '../errors.js'
import { BASE_ID, type BaseId } from '../store/base-id.js'
import { BUNDLE_ID, type BundleId } from '../store/bundle-id.js'
import type { Driver, DriverModule, DriverTraits, Mount, Probe, Rootfs, RootfsUsage } from './contract.js'
import { invalidDriver } from './invalid.js'

const TRAITS = ['bases', 'mounts', 'verity', 'diskLimits', 'nearBases', 'rootless'] as const
const METHODS = ['prepare', 'removeBase', 'create', 'remove', 'usage', 'listBases', 'listBundles'] as const

/** The same module, whose answers are those of the contract. */
export function checkedModule(module: DriverModule): DriverModule {
  const told = new Told(module.name)
  return {
    api: module.api,
    name: module.name,
    parseOptions: (raw) => told.now('parseOptions', () => module.parseOptions(raw)),
    probe: (where, options) => told.later('probe', () => module.probe(where, options), probeOf),
    async open(room, options) {
      const driver = await told.later('open', () => module.open(room, options), driverOf)
      return checkedDriver(driver, told)
    },
  }
}

function checkedDriver(driver: Driver, told: Told): Driver {
  const { mount, unmount, setLimit, checkBase, objectsOf, close } = driver
  return {
    traits: traitsOf(driver.traits)!,
    prepare: (base, signal) => told.later('prepare', () => driver.prepare(base, signal), bytesOf),
    removeBase: (id) => told.later('removeBase', () => driver.removeBase(id), nothing),
    create: (spec) => told.later('create', () => driver.create(spec), rootfsOf),
    remove: (id, at) => told.later('remove', () => driver.remove(id, at), nothing),
    usage: (place) => told.later('usage', () => driver.usage(place), usageOf),
    listBases: () => told.each('listBases', () => driver.listBases(), isBaseId),
    listBundles: () => told.each('listBundles', () => driver.listBundles(), isBundleId),
    ...(mount && { mount: (place) => told.later('mount', () => mount.call(driver, place), flag) }),
    ...(unmount && { unmount: (place) => told.later('unmount', () => unmount.call(driver, place), flag) }),
    ...(setLimit && {
      setLimit: (place, limit) => told.later('setLimit', () => setLimit.call(driver, place, limit), nothing),
    }),
    ...(checkBase && {
      checkBase: (id, digest) => told.later('checkBase', () => checkBase.call(driver, id, digest), nothing),
    }),
    ...(objectsOf && {
      objectsOf: (id) => told.each('objectsOf', () => objectsOf.call(driver, id), isVerityDigest),
    }),
    ...(close && { close: () => told.later('close', () => close.call(driver), nothing) }),
  }
}

/** Calls methods of a driver. */
class Told {
  readonly #name: string

  constructor(name: string) {
    this.#name = name
  }

  now<T>(method: string, work: () => T): T {
    try {
      return work()
    } catch (error) {
      throw this.#fault(method, error)
    }
  }

  /** @param take a copy of what is given, or null when it is not what it should be */
  async later<T>(method: string, work: () => Promise<T>, take: (given: unknown) => T | null): Promise<T> {
    let given: unknown
    try {
      given = await work()
    } catch (error) {
      throw this.#fault(method, error)
    }
    const taken = take(given)
    if (taken === null) throw this.#invalid(`what ${method}() gives is not what the contract says`)
    return taken
  }

  async *each<T>(
    method: string,
    work: () => AsyncIterable<T>,
    is: (given: unknown) => given is T,
  ): AsyncGenerator<T> {
    try {
      for await (const given of work()) {
        if (!is(given)) throw this.#invalid(`${method}() gives ${shown(given)}`)
        yield given
      }
    } catch (error) {
      throw this.#fault(method, error)
    }
  }

  /** What is told with a code of its own stays as it is, and so do the reasons of aborts. */
  #fault(method: string, error: unknown): unknown {
    const isTold = isGrootError(error) || isErrno(error) || (error as Error | null)?.name === 'AbortError'
    return isTold ? error : this.#invalid(`${method}() throws ${shown(error)}`, error)
  }

  #invalid(cause: string, thrown?: unknown): UnsupportedError {
    return invalidDriver(this.#name, cause, thrown)
  }
}

const MAX_SHOWN_CHARS = 200

function shown(value: unknown): string {
  if (value instanceof Error) return value.message
  return typeof value === 'string' ? JSON.stringify(value.slice(0, MAX_SHOWN_CHARS)) : typeof value
}

function nothing(): undefined {
  return undefined
}

function flag(given: unknown): boolean | null {
  return typeof given === 'boolean' ? given : null
}

const isBaseId = (given: unknown): given is BaseId => isText(given) && BASE_ID.test(given)
const isBundleId = (given: unknown): given is BundleId => isText(given) && BUNDLE_ID.test(given)
const isText = (given: unknown): given is string => typeof given === 'string'
const isCount = (given: unknown): given is number => Number.isFinite(given) && (given as number) >= 0
const areTexts = (given: unknown): given is string[] => Array.isArray(given) && given.every(isText)

/** Fields that may be anything; none when there is no object. */
function fieldsOf(given: unknown): Readonly<Record<string, unknown>> {
  return typeof given === 'object' && given !== null ? (given as Record<string, unknown>) : {}
}

function probeOf(given: unknown): Probe | null {
  const { usable, notes, feature, found, needed } = fieldsOf(given)
  if (usable === true && areTexts(notes)) return { usable, notes: [...notes] }
  if (usable !== false || !isText(feature) || !isText(found) || !isText(needed)) return null
  return { usable, feature, found, needed }
}

function driverOf(given: unknown): Driver | null {
  const fields = fieldsOf(given)
  const isWhole = METHODS.every((method) => typeof fields[method] === 'function')
  return isWhole && traitsOf(fields.traits) !== null ? (given as Driver) : null
}

function traitsOf(given: unknown): DriverTraits | null {
  const fields = fieldsOf(given)
  if (!TRAITS.every((trait) => typeof fields[trait] === 'boolean')) return null
  return Object.fromEntries(TRAITS.map((trait) => [trait, fields[trait]])) as unknown as DriverTraits
}

function bytesOf(given: unknown): { readonly bytes: number } | null {
  const { bytes } = fieldsOf(given)
  return isCount(bytes) ? { bytes } : null
}

function usageOf(given: unknown): RootfsUsage | null {
  const { totalBytes, exclusiveBytes } = fieldsOf(given)
  return isCount(totalBytes) && isCount(exclusiveBytes) ? { totalBytes, exclusiveBytes } : null
}

function rootfsOf(given: unknown): Rootfs | null {
  const { mounts } = fieldsOf(given)
  if (!Array.isArray(mounts)) return null
  const taken = mounts.map(mountOf)
  return taken.includes(null) ? null : { mounts: taken as Mount[] }
}

function mountOf(given: unknown): Mount | null {
  const { destination, type, source, options } = fieldsOf(given)
  if (!isText(destination) || !isText(type) || !isText(source) || !areTexts(options)) return null
  return { destination, type, source, options: [...options] }
}
