/**
 * Stores in a file: a filesystem of the wanted kind, made in a file, on a loop device, mounted where the store is to be.
 *
 * `backing.json` says what belongs where. It stands twice: below the mount, where it is seen when the filesystem is not
 * mounted, as after a reboot; and in it, where it is seen when it is. Nothing else is taken for a store in a file, so that no
 * foreign mount is ever taken away.
 */
import { closeSync, existsSync, fsyncSync, ftruncateSync, openSync } from 'node:fs'
import { dirname } from 'node:path'
import { BusyError, isErrno, StoreError, UnsupportedError } from '../errors.js'
import { pathString } from '../linux/c-string.js'
import { AT_FDCWD, O_NOFOLLOW, O_RDWR } from '../linux/constants.js'
import { close, openAt } from '../linux/files.js'
import { tryFlock, unlockFlock } from '../linux/flock.js'
import { attachWritableLoop } from '../linux/loop.js'
import { type FilesystemType, makeFilesystem } from '../linux/make-filesystem.js'
import { MountContext, settleMount, unmount } from '../linux/mount-context.js'
import { isMountPoint } from '../linux/mount-points.js'
import { statPath } from '../linux/stat.js'
import { syncDirectory } from '../linux/sync.js'
import * as field from '../store/fields.js'
import { readRecord, removeIfThere, writeRecord } from '../store/records.js'

/** Stands in the root of a store that is in a file. */
export const BACKING_RECORD = 'backing.json'

export interface Backing {
  readonly format: 1
  readonly filesystem: FilesystemType
  /** Absolute path of the file. */
  readonly file: string
  /** Whether it is mounted with project quotas, for the disk limits of drivers that need them. */
  readonly quotas: boolean
}

type Maker = readonly { readonly quotas: boolean; readonly options: readonly string[] }[]

/** How each is made, the best first; a kernel without quotas for a filesystem refuses to mount it with them. */
const MAKERS: Readonly<Record<FilesystemType, Maker>> = {
  ext4: [
    {
      quotas: true,
      options: [
        '-q',
        '-F',
        '-b',
        '4096',
        '-m',
        '0',
        '-O',
        'verity,quota,project',
        '-E',
        'quotatype=prjquota,nodiscard',
      ],
    },
    { quotas: false, options: ['-q', '-F', '-b', '4096', '-m', '0', '-O', 'verity', '-E', 'nodiscard'] },
  ],
  xfs: [
    { quotas: true, options: ['-q', '-K'] },
    { quotas: false, options: ['-q', '-K'] },
  ],
  btrfs: [{ quotas: false, options: ['-q', '-K'] }],
}

/** What a kernel says of a mount that it could make without quotas. */
const NO_QUOTAS = ['EINVAL', 'ESRCH', 'ENOSYS', 'ENOTSUP', 'ENOPKG', 'ENODEV'] as const

/** What a store's root says of its filesystem; null for a store that is in no file. @throws {StoreError} `record-damaged` */
export function readBacking(root: string): Backing | null {
  return readRecord(`${root}/${BACKING_RECORD}`, (value) => {
    const raw = field.object(value, 'backing')
    const { filesystem } = raw
    field.format(raw)
    if (filesystem !== 'ext4' && filesystem !== 'xfs' && filesystem !== 'btrfs')
      throw new Error('filesystem should be ext4, xfs or btrfs')
    const file = field.string(raw.file, 'file')
    if (!file.startsWith('/')) throw new Error('file should be an absolute path')
    return { format: 1, filesystem, file, quotas: field.boolean(raw.quotas, 'quotas') }
  })
}

/** A store whose filesystem is not mounted is not missing, and nothing may be made in its place. */
export function refuseUnmounted(root: string): void {
  if (existsSync(`${root}/store.json`) || !existsSync(`${root}/${BACKING_RECORD}`)) return
  throw new StoreError(
    'store-unmounted',
    `Cannot open store "${root}": its filesystem is not mounted, as after a reboot; groot mount --all brings it back`,
    { facts: { path: root } },
  )
}

/**
 * Makes the file with its filesystem and mounts it. When this throws, nothing of it is left.
 *
 * @param root an existing, empty directory
 * @throws {StoreError} `store-not-empty` when there is such a file already
 */
export async function makeBacking(
  root: string,
  filesystem: FilesystemType,
  file: string,
  bytes: number,
): Promise<Backing> {
  makeFile(file, bytes)
  try {
    for (const [index, { quotas, options }] of MAKERS[filesystem].entries()) {
      const backing: Backing = { format: 1, filesystem, file, quotas }
      const isLast = index === MAKERS[filesystem].length - 1
      await makeFilesystem(filesystem, file, index === 0 ? options : withForce(filesystem, options))
      try {
        writeRecord(`${root}/${BACKING_RECORD}`, backing)
        mountBacking(root, backing)
        writeRecord(`${root}/${BACKING_RECORD}`, backing)
        return backing
      } catch (error) {
        if (isLast || !isErrno(error, ...NO_QUOTAS)) throw error
      }
    }
    throw new UnsupportedError('system-unsupported', `Cannot mount a filesystem of type ${filesystem}`)
  } catch (error) {
    unmountBacking(root, file)
    throw error
  }
}

/** @returns false when it is mounted already @throws {StoreError} `store-unsafe`, `store-invalid` */
export function mountBacking(root: string, { filesystem, file, quotas }: Backing): boolean {
  const fd = openBacking(root, file)
  let isLocked = false
  try {
    // Two processes would mount it one over the other.
    isLocked = tryFlock(fd, 'exclusive')
    if (!isLocked) throw inUse(root, file)
    if (isMountPoint(root)) return false
    const device = attachWritableLoop(fd)
    try {
      using context = MountContext.open(filesystem)
      context.set('source', pathString(device.path))
      if (filesystem === 'btrfs') context.flag('user_subvol_rm_allowed')
      if (quotas) context.flag('prjquota')
      settleMount(context.mount({ readOnly: false }), pathString(root))
    } finally {
      close(device.fd)
    }
    return true
  } finally {
    // The device keeps the file open, and with it a lock that is not given back.
    if (isLocked) unlockFlock(fd)
    close(fd)
  }
}

/**
 * Takes the filesystem away with all that is in it, and the file; each part may be gone already.
 *
 * @throws {BusyError} `mount-busy`
 */
export function unmountBacking(root: string, file: string): void {
  try {
    // Only what says of itself that it is in this file.
    if (isMountPoint(root) && isOfFile(root, file)) unmount(root)
  } catch (error) {
    if (!isErrno(error, 'EBUSY')) throw error
    throw new BusyError('mount-busy', `Cannot unmount "${root}": somebody uses it`, {
      facts: { path: root },
      cause: error,
    })
  }
  if (isMountPoint(root)) return
  // The file first: what names it must not be gone while it is there.
  if (removeIfThere(file)) syncDirectory(dirname(file))
  removeIfThere(`${root}/${BACKING_RECORD}`)
}

/** A mount that did not get its record yet is ours too: nobody else could have mounted there meanwhile. */
function isOfFile(root: string, file: string): boolean {
  const backing = readBacking(root)
  return backing === null ? !existsSync(`${root}/store.json`) : backing.file === file
}

function makeFile(file: string, bytes: number): void {
  let fd: number
  try {
    fd = openSync(file, 'wx', 0o600)
  } catch (error) {
    if (!isErrno(error, 'EEXIST')) throw error
    throw new StoreError('store-not-empty', `Cannot make backing file "${file}": there is a file already`, {
      facts: { path: file },
      cause: error,
    })
  }
  try {
    ftruncateSync(fd, bytes)
    fsyncSync(fd)
  } catch (error) {
    removeIfThere(file)
    throw error
  } finally {
    closeSync(fd)
  }
  syncDirectory(dirname(file))
}

/** A second attempt meets the filesystem of the first. */
function withForce(filesystem: FilesystemType, options: readonly string[]): readonly string[] {
  return filesystem === 'ext4' ? options : ['-f', ...options]
}

function openBacking(root: string, file: string): number {
  const path = pathString(file)
  let fd: number
  try {
    fd = openAt(AT_FDCWD, path, O_RDWR | O_NOFOLLOW)
  } catch (error) {
    if (!isErrno(error, 'ENOENT', 'ELOOP')) throw error
    const why = error.code === 'ENOENT' ? 'is missing' : 'is a symlink'
    throw new StoreError('store-invalid', `Cannot mount store "${root}": its file "${file}" ${why}`, {
      facts: { path: root, file },
      cause: error,
    })
  }
  const { kind, uid, mode } = statPath(path)
  if (kind === 'file' && uid === (process.geteuid?.() ?? 0) && (mode & 0o022) === 0) return fd
  close(fd)
  // Whoever could write to it could have the kernel read what he likes.
  throw new StoreError('store-unsafe', `Cannot use "${file}" for store "${root}": others may write to it`, {
    facts: { path: file, cause: 'others may write to it' },
  })
}

function inUse(root: string, file: string): BusyError {
  return new BusyError('mount-busy', `Cannot mount store "${root}": another process is mounting "${file}"`, {
    facts: { path: root, file },
  })
}
