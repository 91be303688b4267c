/**
 * Settings: which store and driver are meant. Flags win over the environment, the environment over defaults.
 */
import { isAbsolute, resolve } from 'node:path'
import { type RegistrySettings, registryEnvironment, UsageError } from '../lib/index.js'
import type { OptionValues } from './options.js'
import { quoted, visible } from './text.js'

export interface Settings {
  /** Absolute path. */
  readonly store: string
  /** Undefined when the store decides. */
  readonly driver: string | undefined
  /** Absolute path of the file that a new store is to be in, if it is to be in one. */
  readonly backingFile: string | undefined
}

/** What of the process settings depend on. */
export interface Surroundings {
  readonly env: Readonly<Record<string, string | undefined>>
  /** Effective user id. */
  readonly uid: number
  /** The working directory; asked for relative paths only, as it may not exist any more. */
  readonly cwd: () => string
}

/** @throws {UsageError} `option-invalid` for a path that would break lines of output; `usage-invalid` when none is known */
export function settingsOf(options: OptionValues, around: Surroundings): Settings {
  const path = options.store ?? (around.env.GROOT_STORE || defaultStore(around))
  // Answers are lines, one of them this path; a line break in it would be read as two answers.
  if (visible(path) !== path) {
    throw new UsageError(
      'option-invalid',
      `Cannot use ${quoted(path)} as the store: its path has control characters`,
      { facts: { option: 'store', value: path } },
    )
  }
  const absolute = (given: string) => (isAbsolute(given) ? resolve(given) : resolve(around.cwd(), given))
  const { 'backing-file': file } = options
  return {
    store: absolute(path),
    driver: options.driver ?? (around.env.GROOT_DRIVER || undefined),
    backingFile: file === undefined ? undefined : absolute(file),
  }
}

/** Where registries are configured: what the options name, and the environment for all else. */
export function registrySettingsOf(options: OptionValues, around: Surroundings): RegistrySettings {
  const { authfile, 'certs-dir': certsDir, 'registries-conf': registriesConf } = options
  const absolute = (path: string) => (isAbsolute(path) ? path : resolve(around.cwd(), path))
  return {
    environment: registryEnvironment(around.env),
    ...(authfile === undefined ? {} : { authFile: absolute(authfile) }),
    ...(certsDir === undefined ? {} : { certsDirectory: absolute(certsDir) }),
    ...(registriesConf === undefined ? {} : { registriesConf: absolute(registriesConf) }),
  }
}

function defaultStore({ env, uid }: Surroundings): string {
  if (uid === 0) return '/var/lib/groot'
  // Relative paths in XDG_DATA_HOME are to be ignored (XDG base directory specification).
  if (env.XDG_DATA_HOME !== undefined && isAbsolute(env.XDG_DATA_HOME)) return `${env.XDG_DATA_HOME}/groot`
  if (env.HOME !== undefined && isAbsolute(env.HOME)) return `${env.HOME}/.local/share/groot`
  throw new UsageError(
    'usage-invalid',
    'Cannot choose a store: neither XDG_DATA_HOME nor HOME is set; name one with --store or GROOT_STORE',
  )
}
