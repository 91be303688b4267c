/**
 * Keeping and forgetting credentials where Docker does: with the helper that the file names, else in the file itself.
 *
 * The file is replaced as a whole by one rename, readable by its owner only; all else that it says stays. Those who change it at
 * once wait for each other.
 */
import { randomBytes } from 'node:crypto'
import { chown, lstat, mkdir, open, realpath, rename, unlink } from 'node:fs/promises'
import { basename, dirname } from 'node:path'
import { hasEntry, withEntry, withoutEntry } from '../config/auth-edit.js'
import {
  type AuthFile,
  entryKeys,
  parseAuthFile,
  placesInFile,
  serverAddresses,
} from '../config/auth-file.js'
import type { AuthPlace } from '../config/places.js'
import { isErrno, toGrootError } from '../errors.js'
import { quote } from '../image/json.js'
import { syncDirectory } from '../linux/sync.js'
import { readConfigFile } from './config-files.js'
import { eraseFromHelper, storeInHelper } from './credential-helper.js'
import { withFileLock } from './file-lock.js'
import type { PasswordCredentials } from './hosts.js'

/** Who has the credentials. */
export type Keeper =
  | { readonly kind: 'file'; readonly path: string }
  | { readonly kind: 'helper'; readonly name: string }

/**
 * Keeps credentials for a registry.
 *
 * @param path the file; made with its directories when it is not there
 * @param registry `host[:port]` in normal form
 * @throws {UsageError} `configuration-invalid` for a file that is malformed; it stays as it is
 * @throws {AuthError} `credential-helper-failed`
 * @throws {SystemError}
 */
export async function storeCredentials(
  path: string,
  registry: string,
  credentials: PasswordCredentials,
  signal: AbortSignal,
): Promise<Keeper> {
  const helper = helperOf(parseAuthFile(await readSource(path), path, 'config'), registry)
  if (helper === null) {
    await change(path, signal, (source) => withEntry(source, path, registry, credentials))
    return { kind: 'file', path }
  }
  await storeInHelper(helper.name, helper.addresses[0]!, credentials, { signal })
  // As Docker does: the entry tells that there are credentials, and takes the place of one that has a password.
  await change(path, signal, (source) => withEntry(source, path, registry, null))
  return { kind: 'helper', name: helper.name }
}

/**
 * Forgets what a file and its helper have for a registry; not for namespaces of it.
 *
 * @returns whether the file had an entry; helpers do not tell
 */
export async function eraseCredentials(
  path: string,
  registry: string,
  signal: AbortSignal,
): Promise<boolean> {
  const source = await readSource(path)
  const helper = helperOf(parseAuthFile(source, path, 'config'), registry)
  for (const address of helper?.addresses ?? []) await eraseFromHelper(helper!.name, address, { signal })
  if (!hasEntry(source, path, registry)) return false
  await change(path, signal, (now) => withoutEntry(now, path, registry))
  return true
}

/** Those of some files that have an entry for the whole of a registry. What cannot be read has none. */
export async function filesWithEntry(places: readonly AuthPlace[], registry: string): Promise<string[]> {
  const found: string[] = []
  for (const place of places) {
    try {
      const source = await readConfigFile({ ...place, isNamed: false })
      const file = source === null ? null : parseAuthFile(source, place.path, place.format)
      if (file !== null && entryKeys(file, registry, undefined).length > 0) found.push(place.path)
    } catch {
      // Whoever needs that file is told what is wrong with it.
    }
  }
  return found
}

async function readSource(path: string): Promise<string> {
  return (await readConfigFile({ path, isNamed: false })) ?? ''
}

function helperOf(
  file: AuthFile,
  registry: string,
): { readonly name: string; readonly addresses: readonly string[] } | null {
  // Entries may be damaged: they are about to be replaced.
  const empty = { ...file, auths: { ...file.auths, found: undefined } }
  const place = placesInFile(empty, registry, undefined)[0]
  if (place?.kind !== 'helper') return null
  return {
    name: place.name,
    addresses: place.addresses.length > 0 ? place.addresses : serverAddresses(registry),
  }
}

/**
 * Puts another text in place of the one that the file has when nobody else of groot is at it.
 *
 * @throws {BusyError} `lock-timeout`
 */
async function change(path: string, signal: AbortSignal, edit: (source: string) => string): Promise<void> {
  try {
    const target = await behindLinks(path)
    await mkdir(dirname(target), { recursive: true, mode: 0o700 })
    await withFileLock(target, signal, async () => replace(target, edit(await readSource(path))))
  } catch (error) {
    throw toGrootError(error, `Cannot write ${quote(path)}`)
  }
}

async function replace(target: string, text: string): Promise<void> {
  const temporary = `${dirname(target)}/.${basename(target).slice(0, 64)}.${randomBytes(6).toString('hex')}.tmp`
  try {
    await writeNew(temporary, text)
    await keepOwner(target, temporary)
    await rename(temporary, target)
  } catch (error) {
    await unlink(temporary).catch(() => {}) // it may never have been made
    throw error
  }
  syncDirectory(dirname(target))
}

/** Where a file really is: people keep their settings elsewhere and link to them. */
async function behindLinks(path: string): Promise<string> {
  try {
    return await realpath(path)
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return path
    throw error
  }
}

async function writeNew(path: string, text: string): Promise<void> {
  const file = await open(path, 'wx', 0o600)
  try {
    await file.writeFile(text)
    await file.sync()
  } finally {
    await file.close()
  }
}

/** Root may write the file of somebody else, who wants to read it afterwards. */
async function keepOwner(target: string, temporary: string): Promise<void> {
  try {
    const { uid, gid } = await lstat(target)
    if (uid !== process.geteuid?.()) await chown(temporary, uid, gid)
  } catch (error) {
    if (!isErrno(error, 'ENOENT')) throw error
  }
}
