/**
 * Finding, checking and opening drivers. A built-in driver is a folder under drivers/; another is a package
 * `groot-driver-NAME`, looked for beside groot and beside the program that runs it.
 */
import { chmodSync, mkdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { isErrno, UnsupportedError, UsageError } from '../errors.js'
import type { Driver, DriverModule, DriverRoom, ProbePlace } from './contract.js'
import { entryOfPackage, findPackage } from './find-package.js'
import { checkedModule } from './foreign.js'
import { importFile } from './import-file.js'
import { invalidDriver } from './invalid.js'
import { pathsOfProgram, programFile } from './program.js'

const NAME = /^[a-z0-9][a-z0-9-]{0,63}$/
const BUILT_IN_DRIVERS: readonly string[] = ['btrfs', 'overlay', 'vfs']
const DRIVER_API = 1

/**
 * Loads a driver's module by name.
 *
 * @param program the file that the caller's thread was started with, or null
 * @throws {UsageError} `option-invalid` when the name cannot be one
 * @throws {UnsupportedError} `driver-unknown`, `driver-invalid`
 */
export async function loadDriver(name: string, program = programFile()): Promise<DriverModule> {
  if (!NAME.test(name)) {
    throw new UsageError(
      'option-invalid',
      `Cannot use ${JSON.stringify(name)} as a driver name: it needs lower-case letters, digits and dashes`,
      {
        facts: { option: 'driver', value: name },
      },
    )
  }
  if (BUILT_IN_DRIVERS.includes(name)) return (await import(`#drivers/${name}`)).default
  const module = await importPackage(name, program)
  return checkModule(name, (module as { default?: unknown }).default)
}

/** Opens a driver's room in a store; makes its directory on first use. */
export async function openDriver(module: DriverModule, room: DriverRoom, options: unknown): Promise<Driver> {
  try {
    mkdirSync(room.directory, { mode: 0o700 })
    // Whatever the umask.
    chmodSync(room.directory, 0o700)
  } catch (error) {
    if (!isErrno(error, 'EEXIST')) throw error
  }
  return await module.open(room, options)
}

/**
 * Asks a driver whether it can work in a place.
 *
 * @returns its notes for people
 * @throws {UnsupportedError} `driver-unusable` with what was found and what is needed
 */
export async function probeDriver(
  module: DriverModule,
  where: ProbePlace,
  options: unknown,
): Promise<readonly string[]> {
  const probe = await module.probe(where, options)
  if (probe.usable) return probe.notes
  throw new UnsupportedError(
    'driver-unusable',
    `Cannot use driver "${module.name}" in "${where.directory}": ${probe.feature} is ${probe.found}, ${probe.needed} is needed`,
    { facts: { driver: module.name, feature: probe.feature, found: probe.found, needed: probe.needed } },
  )
}

async function importPackage(name: string, program: string | null): Promise<unknown> {
  const packageName = `groot-driver-${name}`
  // Not the working directory: whoever may write to it could have root run what stands there.
  const places = [fileURLToPath(import.meta.url), ...(program === null ? [] : pathsOfProgram(program))]
  for (const place of places) {
    const directory = findPackage(packageName, place)
    if (directory === null) continue
    try {
      return await importFile(entryOfPackage(directory))
    } catch (error) {
      throw invalidDriver(name, error instanceof Error ? error.message : String(error), error)
    }
  }
  throw new UnsupportedError(
    'driver-unknown',
    `Cannot find driver "${name}": it is not built in (${BUILT_IN_DRIVERS.join(', ')}) and no package "${packageName}" is installed beside groot or the program that runs it`,
    { facts: { driver: name, package: packageName } },
  )
}

function checkModule(name: string, value: unknown): DriverModule {
  const module = value as Partial<DriverModule> | null | undefined
  if (typeof module !== 'object' || module === null) throw invalidDriver(name, 'it has no default export')
  if (module.api !== DRIVER_API)
    throw invalidDriver(name, `it speaks driver API ${String(module.api)}, this version speaks ${DRIVER_API}`)
  if (module.name !== name) throw invalidDriver(name, `it calls itself ${JSON.stringify(module.name)}`)
  for (const method of ['parseOptions', 'probe', 'open'] as const) {
    if (typeof module[method] !== 'function') throw invalidDriver(name, `it has no ${method}()`)
  }
  return checkedModule(module as DriverModule)
}
