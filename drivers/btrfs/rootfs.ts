/**
 * Root filesystems: writable snapshots of their bases, in their bundles.
 */
import { closeSync, constants, openSync } from 'node:fs'
import { basename, dirname } from 'node:path'
import {
  type BundleId,
  byteString,
  createSnapshot,
  createSubvolume,
  type DiskLimit,
  extentUsage,
  isErrno,
  LeftOut,
  materialise,
  NotFoundError,
  type RootfsPlace,
  type RootfsSpec,
  type RootfsUsage,
  removeTreeInSlices,
  reportLeftOut,
  type SubvolumeLimits,
  syncFilesystem,
  throwIfAborted,
  UnsupportedError,
  usageByQuota,
} from '../../lib/driver/kit.js'
import type { Base, Bases } from './bases.js'

const DIRECTORY = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW

export class RootfsRoom {
  readonly #bases: Bases
  readonly #limits: SubvolumeLimits

  constructor(bases: Bases, limits: SubvolumeLimits) {
    this.#bases = bases
    this.#limits = limits
  }

  async create(spec: RootfsSpec): Promise<void> {
    throwIfAborted(spec.signal)
    const base = this.#baseOf(spec)
    const bundle = openSync(dirname(spec.at), DIRECTORY)
    try {
      // A base is made for what its maker may do; who wants it otherwise gets a tree of its own.
      if (spec.ignoreOwnership !== base.ignoresOwnership) return await this.#write(spec, bundle)
      const groups = this.#beginLimit(spec, bundle)
      await this.#snapshot(spec, base, bundle, groups)
      if (groups === null && spec.limit !== null) this.#holdLimit(spec, spec.limit)
    } finally {
      closeSync(bundle)
    }
  }

  /** Also half a rootfs, and what is left of one that is gone. */
  async remove(id: BundleId, at: string): Promise<void> {
    const rootfs = openIfThere(at)
    if (rootfs !== null) {
      try {
        this.#limits.release(id, rootfs)
      } finally {
        closeSync(rootfs)
      }
    }
    await removeTreeInSlices(at)
    this.#limits.end(id, rootfs !== null)
  }

  async usage(place: RootfsPlace): Promise<RootfsUsage> {
    const rootfs = openRootfs(place)
    try {
      const counted = usageByQuota(rootfs)
      if (counted === null) {
        const { bytes, exclusiveBytes } = await extentUsage(place.at)
        return { totalBytes: bytes, exclusiveBytes }
      }
      const { exclusiveBytes, referencedBytes } = counted
      // Simple quotas count what is written; what the image takes is known.
      const totalBytes = referencedBytes ?? this.#baseOf(place).contentBytes + exclusiveBytes
      return { totalBytes, exclusiveBytes }
    } finally {
      closeSync(rootfs)
    }
  }

  setLimit(place: RootfsPlace, limit: DiskLimit): void {
    refuseLoop(limit)
    const rootfs = openRootfs(place)
    try {
      this.#limits.set(place.id, rootfs, limit.writableBytes)
    } finally {
      closeSync(rootfs)
    }
  }

  /** Bundles of which something may be left outside of their directories. */
  list(): BundleId[] {
    try {
      this.#limits.sweep(Number.POSITIVE_INFINITY)
    } catch (error) {
      // Who may only read is told all the same.
      if (!isErrno(error, 'EROFS')) throw error
    }
    return this.#limits.list()
  }

  #baseOf({ base }: RootfsPlace): Base {
    if (base === null) throw new TypeError('the btrfs driver was given no base')
    return this.#bases.read(base)
  }

  /** @returns the quota groups to make the subvolume with */
  #beginLimit({ id, limit }: RootfsSpec, bundle: number): bigint[] | null {
    if (limit === null) return null
    refuseLoop(limit)
    return this.#limits.begin(id, bundle, limit.writableBytes)
  }

  #holdLimit({ at }: RootfsSpec, limit: DiskLimit): void {
    const rootfs = openSync(at, DIRECTORY)
    try {
      this.#limits.hold(rootfs, limit.writableBytes)
    } finally {
      closeSync(rootfs)
    }
  }

  /** Durable at once: making a snapshot commits the filesystem's transaction, names and limit included. */
  async #snapshot(spec: RootfsSpec, base: Base, bundle: number, groups: bigint[] | null): Promise<void> {
    const source = this.#bases.open(spec.base!)
    try {
      await createSnapshot(bundle, byteString(basename(spec.at)), source, { readOnly: false, groups })
    } finally {
      closeSync(source)
    }
    reportLeftOut(spec, base.leftOut)
  }

  async #write(spec: RootfsSpec, bundle: number): Promise<void> {
    if (spec.limit !== null)
      throw unsupported('with ownership ignored it would be no snapshot, and the image would count')
    const leftOut = new LeftOut()
    createSubvolume(bundle, byteString(basename(spec.at)))
    await materialise(await spec.tree(), spec.objects, spec.at, {
      ignoreOwnership: spec.ignoreOwnership,
      intoEmpty: true,
      signal: spec.signal,
      onSkipped: (what, path, detail) => leftOut.add(what, path, detail),
    })
    reportLeftOut(spec, leftOut.list())
    syncFilesystem(bundle)
  }
}

function refuseLoop({ backend }: DiskLimit): void {
  if (backend === 'native') return
  throw unsupported('a snapshot cannot be in a file; btrfs has quotas of its own')
}

function unsupported(cause: string): UnsupportedError {
  return new UnsupportedError('quota-unsupported', `Cannot hold a disk limit on btrfs: ${cause}`, {
    facts: { filesystem: 'btrfs', cause },
  })
}

function openRootfs({ id, at }: RootfsPlace): number {
  const fd = openIfThere(at)
  if (fd !== null) return fd
  throw new NotFoundError('bundle-missing', `Cannot use bundle "${id}": its root filesystem is gone`, {
    facts: { id },
  })
}

/** Null also for what is no directory: removing it takes no more than a name. */
function openIfThere(at: string): number | null {
  try {
    return openSync(at, DIRECTORY)
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENOTDIR', 'ELOOP', 'EACCES')) return null
    throw error
  }
}
