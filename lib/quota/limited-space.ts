/**
 * Limited spaces: directories in which no more can be written than was allowed, for what a driver puts a container's files into.
 *
 * A space stands in its bundle's directory. It is made, the driver puts into it what does not count, and from hold() on what is
 * written counts. Beside it stand `NAME.json`, which says what was there before, and with the backend `loop` the image
 * `NAME.img`. Drivers use it; it knows none.
 */

import {
  chmodSync,
  closeSync,
  constants,
  existsSync,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  rmdirSync,
  writeFileSync,
} from 'node:fs'
import { basename, dirname } from 'node:path'
import { byteString } from '../bytes.js'
import { BusyError, isErrno, QuotaError, StoreError, UnsupportedError } from '../errors.js'
import { createSubvolume } from '../linux/btrfs-subvolume.js'
import { isMountPoint } from '../linux/mount-points.js'
import { namesIn } from '../linux/names.js'
import {
  limitProject,
  projectOf,
  projectQuotaState,
  projectUsage,
  setProject,
} from '../linux/project-quota.js'
import { removeTreeInSlices } from '../linux/remove-tree.js'
import { statFilesystem } from '../linux/statfs.js'
import type { BundleId } from '../store/bundle-id.js'
import { removeIfThere, writeRecord } from '../store/records.js'
import {
  BLOCK_BYTES,
  imageOf,
  leaveRoom,
  makeLoopSpace,
  mountLoopSpace,
  unmountLoopSpace,
  usedInLoopSpace,
} from './loop-space.js'
import { ProjectIds } from './project-ids.js'
import { SubvolumeLimits } from './subvolume-limits.js'

export type QuotaBackend = 'native' | 'loop'

export interface NewSpace {
  readonly bundle: BundleId
  /** Does not exist yet; its parent does. */
  readonly directory: string
  readonly backend: QuotaBackend
  readonly writableBytes: number
  /** Bytes of what the driver is about to put into it, in blocks; an upper bound. */
  readonly roomBytes: number
  readonly syncLater: (directory: string) => void
  readonly signal: AbortSignal
}

/** `NAME.json` */
interface SpaceState {
  readonly format: 1
  /** Null with the backend `loop`. */
  readonly project: number | null
  /** What stood in it before anything counted. */
  readonly baselineBytes: number
}

const NAMES: Readonly<Record<number, string>> = {
  61267: 'ext2, ext3 or ext4',
  1481003842: 'xfs',
  2435016766: 'btrfs',
  16914836: 'tmpfs',
  2035054128: 'overlay',
  26985: 'nfs',
}
const BTRFS = 0x9123683e
const WITH_PROJECTS: readonly number[] = [0xef53, 0x58465342]

export class LimitedSpaces {
  readonly #room: string
  readonly #projects: ProjectIds
  #found: SubvolumeLimits | null | undefined

  /** @param room directory of the driver's own, on the filesystem of the bundles */
  constructor(room: string) {
    this.#room = room
    this.#projects = new ProjectIds(`${room}/projects`)
  }

  /**
   * Makes a space in which nothing is limited yet.
   *
   * @throws {UnsupportedError} `quota-unsupported` when nothing here would hold the limit
   */
  async make({
    bundle,
    directory,
    backend,
    writableBytes,
    roomBytes,
    syncLater,
    signal,
  }: NewSpace): Promise<void> {
    if (backend === 'loop') {
      refuseUnprivileged(bundle)
      await makeLoopSpace(directory, writableBytes + roomBytes, signal)
      return
    }
    if (this.#subvolumes !== null) return this.#makeSubvolume(bundle, directory, writableBytes + roomBytes)
    mkdirSync(directory, { mode: 0o700 })
    refuseUnenforced(bundle, directory)
    const project = this.#projects.take(bundle)
    syncLater(this.#projects.directory)
    setProject(directory, project)
  }

  /** Until hold() it has the room that the driver asked for. */
  #makeSubvolume(bundle: BundleId, directory: string, roomBytes: number): void {
    withDirectory(dirname(directory), (parent) => {
      const groups = this.#subvolumes!.begin(bundle, parent, roomBytes + SLACK_BYTES)
      createSubvolume(parent, byteString(basename(directory)), groups)
    })
    chmodSync(directory, 0o700)
  }

  /** From now on no more than this is written. Durable when it returns. */
  hold(bundle: BundleId, directory: string, writableBytes: number): void {
    if (this.#isSubvolume(directory)) {
      return withDirectory(directory, (fd) => {
        const baselineBytes = this.#subvolumes!.used(bundle, fd)
        writeRecord(stateOf(directory), { format: 1, project: null, baselineBytes } satisfies SpaceState)
        this.#subvolumes!.put(bundle, fd, baselineBytes + wholeBlocks(writableBytes))
      })
    }
    if (existsSync(imageOf(directory))) {
      const state: SpaceState = { format: 1, project: null, baselineBytes: usedInLoopSpace(directory) }
      const grown = leaveRoom(directory, wholeBlocks(writableBytes))
      writeRecord(stateOf(directory), { ...state, baselineBytes: state.baselineBytes + grown })
      return
    }
    const project = projectOf(directory)
    if (projectUsage(directory, project).bytes === 0) {
      // A limit of 0 would be none, and XFS has small directories without blocks.
      writeFileSync(`${directory}/one-block`, 'x', { mode: 0o600, flush: true })
    }
    const { bytes: baselineBytes } = projectUsage(directory, project)
    writeRecord(stateOf(directory), { format: 1, project, baselineBytes } satisfies SpaceState)
    limitProject(directory, project, baselineBytes + wholeBlocks(writableBytes))
  }

  /**
   * Another limit for a space that is held, counted from the same beginning.
   *
   * @throws {QuotaError} `quota-exceeded` when more is written already
   */
  change(bundle: BundleId, directory: string, writableBytes: number): void {
    // Where it is not mounted, the directory is another one. It is for as long as this takes.
    const isOpened = existsSync(imageOf(directory)) && mountLoopSpace(directory)
    try {
      this.#change(bundle, directory, writableBytes)
    } finally {
      if (isOpened) unmountLoopSpace(directory)
    }
  }

  #change(bundle: BundleId, directory: string, writableBytes: number): void {
    const state = readState(directory)
    const room = wholeBlocks(writableBytes)
    const written = Math.max(0, this.#used(bundle, directory, state) - state.baselineBytes)
    if (written > room) throw alreadyWritten(bundle, written, room)
    if (this.#isSubvolume(directory)) {
      return withDirectory(directory, (fd) => this.#subvolumes!.set(bundle, fd, state.baselineBytes + room))
    }
    if (state.project !== null) {
      refuseUnenforced(bundle, directory)
      return limitProject(directory, state.project, state.baselineBytes + room)
    }
    const grown = leaveRoom(directory, room - written)
    if (grown !== 0) writeRecord(stateOf(directory), { ...state, baselineBytes: state.baselineBytes + grown })
  }

  /**
   * Makes a space usable again, as after a reboot.
   *
   * @returns whether there was something to do
   * @throws {UnsupportedError} `quota-unsupported` when its limit would not be held any more
   */
  open(bundle: BundleId, directory: string): boolean {
    if (existsSync(imageOf(directory))) return mountLoopSpace(directory)
    // Its quotas are on as long as they are counted.
    if (this.#isSubvolume(directory)) withDirectory(directory, (fd) => this.#subvolumes!.used(bundle, fd))
    else refuseUnenforced(bundle, directory)
    return false
  }

  /**
   * Does what needs a little room for itself in a space that may be full, as mounting an overlay does. Elsewhere than on btrfs
   * what such work removes first is room enough.
   */
  withSlack<T>(bundle: BundleId, directory: string, writableBytes: number, work: () => T): T {
    if (!this.#isSubvolume(directory)) return work()
    const limit = readState(directory).baselineBytes + wholeBlocks(writableBytes)
    return withDirectory(directory, (fd) => {
      this.#subvolumes!.put(bundle, fd, limit + SLACK_BYTES)
      try {
        return work()
      } finally {
        this.#subvolumes!.put(bundle, fd, limit)
      }
    })
  }

  /** Takes the mount of a space away. @throws {BusyError} `mount-busy` */
  close(directory: string): boolean {
    if (!existsSync(imageOf(directory))) return false
    try {
      return unmountLoopSpace(directory)
    } catch (error) {
      if (!isErrno(error, 'EBUSY')) throw error
      const message = `Cannot unmount "${directory}": a process uses it`
      throw new BusyError('mount-busy', message, {
        facts: { path: directory },
        cause: error,
        temporary: true,
      })
    }
  }

  /** Removes a space with all that is in it, also half a one, and gives back what was taken for it. */
  async remove(bundle: BundleId, directory: string): Promise<void> {
    // Most bundles have none. What stands in the place of a bundle may be anything.
    const isThere = isDirectory(dirname(directory)) && hasTraces(directory)
    if (isThere) await this.#empty(directory, bundle)
    this.#projects.giveBack(bundle)
    if (isThere) removeSpace(directory)
    this.#subvolumes?.end(bundle, isThere)
  }

  /** Takes away what is in a space. The directory itself tells that there is something to give back, and goes last. */
  async #empty(directory: string, bundle: BundleId): Promise<void> {
    this.close(directory)
    if (this.#isSubvolume(directory)) withDirectory(directory, (fd) => this.#subvolumes!.release(bundle, fd))
    for (const name of namesIn(directory)) await removeTreeInSlices(`${directory}/${name}`)
  }

  /** Bundles that something was taken for. */
  bundles(): BundleId[] {
    return [...new Set([...this.#projects.bundles(), ...(this.#subvolumes?.list() ?? [])])]
  }

  /** @throws {StoreError} `store-unmounted` when what was written cannot be seen, as after a reboot */
  refuseUnmounted(directory: string): void {
    if (!existsSync(imageOf(directory)) || isMountPoint(directory)) return
    throw new StoreError(
      'store-unmounted',
      `Cannot see what is in "${directory}": the filesystem that holds the limit is not mounted; groot mount brings it back`,
      { facts: { path: directory } },
    )
  }

  /** Whether it is a filesystem or a subvolume of its own, so that nothing can be renamed out of it. */
  isApart(directory: string): boolean {
    return existsSync(imageOf(directory)) || this.#isSubvolume(directory)
  }

  /** On btrfs, whose quotas are those of subvolumes; null elsewhere. Found out when it is first asked for. */
  get #subvolumes(): SubvolumeLimits | null {
    if (this.#found === undefined) {
      const isBtrfs = statFilesystem(this.#room).type === BTRFS
      this.#found = isBtrfs ? new SubvolumeLimits(this.#room) : null
    }
    return this.#found
  }

  #used(bundle: BundleId, directory: string, { project }: SpaceState): number {
    if (project !== null) return projectUsage(directory, project).bytes
    if (!this.#isSubvolume(directory)) return usedInLoopSpace(directory)
    return withDirectory(directory, (fd) => this.#subvolumes!.used(bundle, fd))
  }

  /** Half a one may be any directory, or none. */
  #isSubvolume(directory: string): boolean {
    if (this.#subvolumes === null || existsSync(imageOf(directory))) return false
    return isDirectory(directory) && lstatSync(directory).ino === SUBVOLUME_INODE
  }
}

const SLACK_BYTES = 4 * 1024 * 1024
const SUBVOLUME_INODE = 256 // of the top of each subvolume

/** What is left of an empty space. */
function removeSpace(directory: string): void {
  removeIfThere(stateOf(directory))
  removeIfThere(imageOf(directory))
  try {
    rmdirSync(directory)
  } catch (error) {
    if (!isErrno(error, 'ENOENT')) throw error
  }
}

/** Also half a space has one of them. */
function hasTraces(directory: string): boolean {
  return existsSync(directory) || existsSync(imageOf(directory)) || existsSync(stateOf(directory))
}

function isDirectory(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false })?.isDirectory() === true
}

function withDirectory<T>(path: string, work: (fd: number) => T): T {
  const fd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW)
  try {
    return work(fd)
  } finally {
    closeSync(fd)
  }
}

/** Filesystems count in blocks, and a part of one cannot be written: a limit is rounded down to whole ones. */
export function wholeBlocks(bytes: number): number {
  return Math.floor(bytes / BLOCK_BYTES) * BLOCK_BYTES
}

function stateOf(directory: string): string {
  return `${directory}.json`
}

function readState(directory: string): SpaceState {
  const path = stateOf(directory)
  try {
    const { format, project, baselineBytes } = JSON.parse(readFileSync(path, 'utf8')) as Partial<SpaceState>
    const isProject = project === null || Number.isSafeInteger(project)
    if (format === 1 && isProject && Number.isSafeInteger(baselineBytes))
      return { format, project: project as number | null, baselineBytes: baselineBytes as number }
  } catch (error) {
    if (isErrno(error) && error.code !== 'ENOENT') throw error
  }
  throw new StoreError('record-damaged', `Cannot read "${path}": it is missing or not what was written`, {
    facts: { path },
  })
}

function refuseUnprivileged(bundle: BundleId): void {
  if ((process.geteuid?.() ?? 0) === 0) return
  throw unsupported(bundle, 'privileges', 'this user may not mount', 'root', 'only root can set one')
}

/** A limit that nobody holds would be a lie. */
function refuseUnenforced(bundle: BundleId, directory: string): void {
  if ((process.geteuid?.() ?? 0) !== 0) {
    throw unsupported(bundle, 'privileges', 'this user may not set quotas', 'root', 'only root can set one')
  }
  const { type } = statFilesystem(directory)
  const name = NAMES[type] ?? `0x${type.toString(16)}`
  const state = WITH_PROJECTS.includes(type) ? projectQuotaState(directory) : null
  if (state === 'enforced') return
  if (state === null) {
    const why = `the filesystem of the store (${name}) has no project quotas; use the quota backend "loop"`
    throw unsupported(
      bundle,
      'project quotas',
      name,
      'ext4 or xfs with project quotas, or the backend "loop"',
      why,
    )
  }
  const found = state === 'counted' ? 'counted, not enforced' : 'off'
  const why = `project quotas of the filesystem of the store are ${found}; mount it with prjquota (ext4 needs the features quota and project for that), or use the quota backend "loop"`
  throw unsupported(bundle, 'project quotas', found, 'prjquota, or the backend "loop"', why)
}

function unsupported(
  bundle: BundleId,
  feature: string,
  found: string,
  needed: string,
  why: string,
): UnsupportedError {
  return new UnsupportedError('quota-unsupported', `Cannot limit what "${bundle}" writes: ${why}`, {
    facts: { id: bundle, feature, found, needed },
  })
}

function alreadyWritten(bundle: BundleId, written: number, room: number): QuotaError {
  return new QuotaError(
    'quota-exceeded',
    `Cannot limit what "${bundle}" writes to ${room} bytes: ${written} are written already`,
    { facts: { id: bundle, writtenBytes: written, writableBytes: room } },
  )
}
