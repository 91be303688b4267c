/**
 * Stores in a file, as the verbs see them: made by init-store, mounted again after a reboot, taken away by delete-store.
 */
import { chmodSync, existsSync } from 'node:fs'
import { basename, dirname, isAbsolute, join, resolve } from 'node:path'
import { UnsupportedError, UsageError } from '../errors.js'
import type { FilesystemType } from '../linux/make-filesystem.js'
import { projectQuotaState } from '../linux/project-quota.js'
import { statFilesystem } from '../linux/statfs.js'
import type { InitStoreOptions, MountStoreOptions, MountStoreResult } from './api.js'
import { BACKING_RECORD, type Backing, makeBacking, mountBacking, readBacking } from './backing.js'
import { checkOwner, storePath } from './opened-store.js'

const MAGIC: Readonly<Record<FilesystemType, number>> = { ext4: 0xef53, xfs: 0x58465342, btrfs: 0x9123683e }

/** What of the options says that a store is to be in a file. */
export interface BackingPlan {
  readonly filesystem: FilesystemType
  readonly file: string
  readonly bytes: number
}

/**
 * Mounts the filesystem of a store that is in a file; one that is not, or is mounted, needs nothing.
 *
 * @throws {StoreError} `store-invalid` when the file is missing, `store-unsafe`
 */
export async function mountStore(options: MountStoreOptions): Promise<MountStoreResult> {
  const path = storePath(options.path)
  if (!existsSync(path)) return { path, changed: false }
  const backing = existsSync(`${path}/${BACKING_RECORD}`) ? backingOf(path) : null
  return { path, changed: backing !== null && mountBacking(path, backing) }
}

/** Reads `backing.json` of a store's own root, which nobody else may write to. */
export function backingOf(root: string): Backing | null {
  checkOwner(root)
  return readBacking(root)
}

/** @throws {UsageError} `option-invalid`, `usage-invalid` @throws {UnsupportedError} `system-unsupported` without root */
export function planBacking(options: InitStoreOptions, root: string): BackingPlan | null {
  const { backingFile, storeSizeBytes, driver } = options
  const filesystem = options.filesystem ?? (driver === 'btrfs' ? 'btrfs' : undefined)
  if (backingFile === undefined && storeSizeBytes === undefined && options.filesystem === undefined)
    return null
  if (backingFile === undefined || storeSizeBytes === undefined || filesystem === undefined) {
    throw new UsageError(
      'usage-invalid',
      'Cannot make a store in a file: a filesystem, a size and a backing file are needed, not all were given',
    )
  }
  if (!Object.hasOwn(MAGIC, filesystem)) {
    throw invalid('filesystem', filesystem, 'ext4, xfs and btrfs are known')
  }
  if (driver === 'btrfs' && filesystem !== 'btrfs') {
    throw invalid('filesystem', filesystem, 'the driver btrfs needs btrfs')
  }
  if (!Number.isSafeInteger(storeSizeBytes) || storeSizeBytes <= 0) {
    throw invalid('store-size-bytes', String(storeSizeBytes), 'a whole number from 1 is needed')
  }
  if (!isAbsolute(backingFile) || backingFile.includes('\0')) {
    throw invalid('backing-file', backingFile, 'its path must be absolute')
  }
  const file = join(storePath(dirname(backingFile)), basename(backingFile))
  if (file === root || file.startsWith(`${root}/`)) {
    throw invalid('backing-file', backingFile, 'it must not be in the store, whose filesystem it holds')
  }
  if ((process.geteuid?.() ?? 0) !== 0) {
    throw new UnsupportedError(
      'system-unsupported',
      'Cannot make a store in a file: only root can mount it',
      {
        facts: { feature: 'privileges', found: 'not root', needed: 'root' },
      },
    )
  }
  return { filesystem, file: resolve(file), bytes: storeSizeBytes }
}

/**
 * Puts the root of a new store on the wanted filesystem.
 *
 * @param root an existing directory without a store
 * @returns the file that was made for it, if one was, and what there is to say
 */
export async function prepareBacking(
  root: string,
  { filesystem, file, bytes }: BackingPlan,
): Promise<{ readonly made: string | null; readonly notes: readonly string[] }> {
  // Half made by a process that was killed.
  const half = readBacking(root)
  if (half !== null) {
    mountBacking(root, half)
    return { made: null, notes: [`the store goes on in "${half.file}", which was made before`] }
  }
  if (statFilesystem(root).type === MAGIC[filesystem]) {
    const isEnough = filesystem === 'btrfs' || projectQuotaState(root) === 'enforced'
    if (isEnough)
      return { made: null, notes: [`the directory is on ${filesystem} already; no file was made`] }
  }
  const { quotas } = await makeBacking(root, filesystem, file, bytes)
  chmodSync(root, 0o711)
  const lacks =
    filesystem === 'btrfs' || quotas ? [] : [`this kernel has no project quotas for ${filesystem}`]
  return { made: file, notes: [`the store is in "${file}", on ${filesystem}`, ...lacks] }
}

function invalid(option: string, value: string, why: string): UsageError {
  return new UsageError('option-invalid', `Cannot use ${JSON.stringify(value)} for ${option}: ${why}`, {
    facts: { option, value },
  })
}
