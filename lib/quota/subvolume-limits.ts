/**
 * Disk limits of subvolumes by the quotas of btrfs. Only root may.
 *
 * With simple quotas each limited subvolume is a member of a group of its own, which holds the limit: subvolumes that its
 * container makes become members of the same group. The number of that group is noted by a symlink, `limits/<bundle>`: made in
 * one step, durable with the next transaction, and there before the group and until after it, so that nothing leaks. Full
 * quotas, where somebody enabled them, know no such groups; the limit is that of the subvolume alone.
 */
import { randomBytes } from 'node:crypto'
import {
  closeSync,
  constants,
  mkdirSync,
  openSync,
  readdirSync,
  readlinkSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { isErrno, QuotaError, UnsupportedError } from '../errors.js'
import {
  createGroup,
  enableSimpleQuotas,
  groupId,
  groupsOf,
  groupUsage,
  liftLimits,
  limitGroup,
  membersOf,
  nodeBytes,
  type QuotaState,
  quotaState,
  removeGroup,
  removeMember,
} from '../linux/btrfs-quota.js'
import { subvolumeIdOf, subvolumeInfo } from '../linux/btrfs-subvolume.js'
import { subvolumesIn } from '../linux/btrfs-tree.js'
import { commitFilesystem, syncFilesystem } from '../linux/sync.js'
import { BUNDLE_ID, type BundleId } from '../store/bundle-id.js'

export interface SubvolumeUsage {
  /** Bytes that only this subvolume and those in it have; with simple quotas those that they wrote. */
  readonly exclusiveBytes: number
  /** All that they refer to; null with simple quotas, which count only what was written. */
  readonly referencedBytes: number | null
}

const SWEEP = 64 // subvolumes looked after on the way, so that one remove does not pay for thousands before it
const ROUNDS = 4 // a container that is still alive may make further subvolumes meanwhile

export class SubvolumeLimits {
  readonly #directory: string
  readonly #notes: string
  readonly #dropped: string

  /** @param directory the driver's own, on the filesystem of the subvolumes and in none that is limited */
  constructor(directory: string) {
    this.#directory = directory
    this.#notes = `${directory}/limits`
    this.#dropped = `${directory}/dropped`
    for (const path of [this.#notes, this.#dropped]) mkdirSync(path, { recursive: true, mode: 0o700 })
  }

  /**
   * Begins a limit before its subvolume is there. Enables simple quotas when there are none.
   *
   * @param directory descriptor of the directory that the subvolume will be made in
   * @returns the groups that it has to be made with, so that it has its limit from the first byte; with full quotas null, and
   *   hold() follows
   * @throws {UnsupportedError} `quota-unsupported`
   */
  begin(id: BundleId, directory: number, writableBytes: number): bigint[] | null {
    return this.#withRoom((room) => {
      const state = stateForLimits(room)
      if (state.mode === 'full') return null
      this.#end(id, room)
      const group = this.#makeGroup(id, room)
      // Every subvolume begins with one node.
      limitGroup(room, group, { maxReferencedBytes: writableBytes + nodeBytes(room) })
      // Naming groups takes it out of those that it would be in by its place.
      const others = groupsOf(room, groupId(0, subvolumeIdOf(directory)))
      return [group, ...others]
    })
  }

  /** Holds a new subvolume to its limit where begin() could not. Durable. @param subvolume descriptor of its top */
  hold(subvolume: number, writableBytes: number): void {
    this.#withRoom((room) => {
      const group = groupId(0, subvolumeIdOf(subvolume))
      limitGroup(room, group, { maxExclusiveBytes: writableBytes + nodeBytes(room) })
      syncFilesystem(room)
    })
  }

  /**
   * Changes a limit, durably.
   *
   * @param subvolume descriptor of its top
   * @throws {QuotaError} `quota-exceeded` when it takes more already
   * @throws {UnsupportedError} `quota-unsupported`; also for one that was made without a limit
   */
  set(id: BundleId, subvolume: number, writableBytes: number): void {
    const usedBytes = this.used(id, subvolume)
    if (usedBytes > writableBytes) throw tooMuch(id, writableBytes, usedBytes)
    this.put(id, subvolume, writableBytes)
  }

  /** The same for any number of bytes, also less than are used. @throws {UnsupportedError} as set() */
  put(id: BundleId, subvolume: number, writableBytes: number): void {
    this.#withRoom((room) => {
      const { group, isFull } = this.#groupOf(id, subvolume, room)
      const bytes = writableBytes + nodeBytes(room)
      limitGroup(room, group, isFull ? { maxExclusiveBytes: bytes } : { maxReferencedBytes: bytes })
      syncFilesystem(room)
    })
  }

  /** Bytes that count against a limit now. @throws as set() */
  used(id: BundleId, subvolume: number): number {
    return this.#withRoom((room) => {
      const { group } = this.#groupOf(id, subvolume, room)
      // Groups are counted up when a transaction is committed.
      commitFilesystem(room)
      const usage = groupUsage(room, group)
      if (usage === null) throw unsupported('the bundle was made without a limit')
      return Math.max(0, usage.exclusiveBytes - nodeBytes(room))
    })
  }

  /** The group that holds a limit. @throws {UnsupportedError} `quota-unsupported` when there is none */
  #groupOf(id: BundleId, subvolume: number, room: number): { group: bigint; isFull: boolean } {
    const isFull = stateForLimits(room).mode === 'full'
    const group = isFull ? groupId(0, subvolumeIdOf(subvolume)) : this.#noted(id)
    if (group === null) throw unsupported('the bundle was made without a limit')
    return { group, isFull }
  }

  /**
   * Before a subvolume is removed: lifts its limit, for removing takes room too, and notes which groups will be left.
   *
   * @param id null when it never had a limit
   * @param subvolume descriptor of its top
   */
  release(id: BundleId | null, subvolume: number): void {
    this.#withRoom((room) => {
      const state = stateOf(room)
      if (state === null || state.mode === 'off') return
      const own = subvolumeIdOf(subvolume)
      const noted = id === null ? null : this.#noted(id)
      if (noted !== null) liftLimits(room, noted)
      if (id !== null && state.mode === 'full') liftLimits(room, groupId(0, own))
      for (const each of [own, ...subvolumesIn(room, own)]) this.#noteDropped(each)
    })
  }

  /**
   * After a subvolume was removed, or when it never was: removes its group, and those of others that are gone by now.
   *
   * @param wasThere whether there was a subvolume. Every create looks for leavings, and mostly there are none: then it does not
   *   look after others
   */
  end(id: BundleId, wasThere: boolean): void {
    const hadGroup = this.#withRoom((room) => this.#end(id, room))
    if (wasThere || hadGroup) this.sweep()
  }

  /**
   * Removes groups of subvolumes that are gone by now. Newer kernels do that themselves, but for those whose bytes others still
   * have.
   *
   * @param count how many to look after
   */
  sweep(count = SWEEP): void {
    this.#withRoom((room) => {
      if (stateOf(room) === null) return
      for (const name of readdirSync(this.#dropped).slice(0, count)) {
        if (/^[0-9]+$/.test(name) && removeGroup(room, groupId(0, BigInt(name))))
          unlinkIfThere(`${this.#dropped}/${name}`)
      }
    })
  }

  /** Bundles that there are groups for. */
  list(): BundleId[] {
    return readdirSync(this.#notes).filter((name): name is BundleId => BUNDLE_ID.test(name))
  }

  /** @returns whether a group was noted */
  #end(id: BundleId, room: number): boolean {
    const group = this.#noted(id)
    if (group === null) return false
    for (let round = 1; round <= ROUNDS; round++) {
      // The kernel empties subvolumes after they are gone from their directories; as members they would hold the group.
      for (const member of membersOf(room, group)) removeMember(room, member, group)
      if (!removeGroup(room, group)) continue
      unlinkIfThere(`${this.#notes}/${id}`)
      break
    }
    return true
  }

  /** On a full disk removing goes on without: most kernels remove the groups themselves, and an empty one hinders nobody. */
  #noteDropped(subvolume: bigint): void {
    try {
      writeFileSync(`${this.#dropped}/${subvolume}`, '')
    } catch (error) {
      if (!isErrno(error, 'ENOSPC', 'EDQUOT')) throw error
    }
  }

  #makeGroup(id: BundleId, room: number): bigint {
    for (;;) {
      const group = groupId(1, BigInt(`0x${randomBytes(6).toString('hex')}`))
      symlinkSync(String(group), `${this.#notes}/${id}`)
      if (createGroup(room, group)) return group
      // Somebody else's by chance.
      unlinkSync(`${this.#notes}/${id}`)
    }
  }

  #noted(id: BundleId): bigint | null {
    try {
      return BigInt(readlinkSync(`${this.#notes}/${id}`))
    } catch (error) {
      if (isErrno(error, 'ENOENT')) return null
      throw error
    }
  }

  /** The kernel asks for room in the subvolume that it is called by, so that is never the limited one. */
  #withRoom<T>(work: (room: number) => T): T {
    const room = openSync(this.#directory, constants.O_RDONLY | constants.O_DIRECTORY)
    try {
      return work(room)
    } finally {
      closeSync(room)
    }
  }
}

/**
 * What a subvolume takes by the quotas; written bytes are counted after all is on disk.
 *
 * @param subvolume descriptor of its top
 * @returns null when there are no quotas, they began to count after it was made, they are being scanned, or the caller is not
 *   root
 */
export function usageByQuota(subvolume: number): SubvolumeUsage | null {
  const state = stateOf(subvolume)
  if (state === null || state.mode === 'off' || !state.isConsistent) return null
  const { id, createdAt } = subvolumeInfo(subvolume)
  if (state.mode === 'simple' && createdAt < state.enabledAt) return null
  // Groups are counted up when a transaction is committed.
  commitFilesystem(subvolume)
  let [exclusiveBytes, referencedBytes] = [0, 0]
  for (const each of [id, ...subvolumesIn(subvolume, id)]) {
    const usage = groupUsage(subvolume, groupId(0, each))
    exclusiveBytes += usage?.exclusiveBytes ?? 0
    referencedBytes += usage?.referencedBytes ?? 0
  }
  return { exclusiveBytes, referencedBytes: state.mode === 'full' ? referencedBytes : null }
}

/** Null for all but root. */
function stateOf(fd: number): QuotaState | null {
  try {
    return quotaState(fd)
  } catch (error) {
    if (isErrno(error, 'EPERM', 'ENOTTY')) return null
    throw error
  }
}

function stateForLimits(fd: number): Exclude<QuotaState, { mode: 'off' }> {
  let state = stateOf(fd)
  if (state?.mode === 'off' && !enableQuotas(fd))
    throw unsupported('this kernel has no simple quotas (Linux 6.7), and nobody enabled full ones')
  if (state?.mode === 'off') state = stateOf(fd)
  if (state === null) throw unsupported('only root may set quotas of btrfs')
  if (state.mode === 'off') throw unsupported('the quotas of the filesystem were switched off just now')
  if (state.isConsistent) return state
  throw unsupported(
    'the full quotas of the filesystem are inconsistent and hold no limits; "btrfs quota rescan" counts anew',
  )
}

function enableQuotas(fd: number): boolean {
  try {
    return enableSimpleQuotas(fd)
  } catch (error) {
    if (isErrno(error, 'EPERM')) throw unsupported('only root may set quotas of btrfs')
    throw error
  }
}

function tooMuch(id: BundleId, limit: number, written: number): QuotaError {
  const message = `Cannot limit bundle "${id}" to ${limit} bytes: ${written} are written already`
  return new QuotaError('quota-exceeded', message, { facts: { id, limit, written } })
}

function unsupported(cause: string): UnsupportedError {
  return new UnsupportedError('quota-unsupported', `Cannot hold a disk limit on btrfs: ${cause}`, {
    facts: { filesystem: 'btrfs', cause },
  })
}

function unlinkIfThere(path: string): void {
  try {
    unlinkSync(path)
  } catch (error) {
    if (!isErrno(error, 'ENOENT')) throw error
  }
}
