/**
 * btrfs: of each image a read-only subvolume, of each bundle a writable snapshot of it. One ioctl makes a root filesystem, with its
 * limit and durable; no mounts, so nothing is lost in a reboot. Also without root.
 */
import { closeSync, mkdirSync, openSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import {
  type BaseId,
  type BaseSpec,
  type BaseUsage,
  type BundleId,
  type DiskLimit,
  type Driver,
  type DriverModule,
  type DriverRoom,
  isBtrfs,
  isErrno,
  makeProbeDirectory,
  type Rootfs,
  type RootfsPlace,
  type RootfsSpec,
  type RootfsUsage,
  StoreError,
  SubvolumeLimits,
  UnsupportedError,
  type VerityDigest,
} from '../../lib/driver/kit.js'
import { Bases } from './bases.js'
import { checkTree } from './check.js'
import { parseOptions } from './options.js'
import { findOut } from './probe.js'
import { RootfsRoom } from './rootfs.js'

const btrfs: DriverModule<null> = {
  api: 1,
  name: 'btrfs',
  parseOptions,

  async probe(where) {
    return findOut(where)
  },

  async open(room) {
    refuseOther(room)
    noteFormat(room)
    return new BtrfsDriver(room)
  },
}

export default btrfs

/** A store may have been copied to another filesystem. */
function refuseOther({ directory }: DriverRoom): void {
  const fd = openSync(directory, 'r')
  try {
    if (isBtrfs(fd)) return
  } finally {
    closeSync(fd)
  }
  throw new UnsupportedError(
    'driver-unusable',
    `Cannot use driver "btrfs" in "${directory}": the filesystem is another one, btrfs is needed`,
    { facts: { driver: 'btrfs', feature: 'the filesystem', found: 'another one', needed: 'btrfs' } },
  )
}

/** `format`, the first file of the room. */
function noteFormat(room: DriverRoom): void {
  const path = `${room.directory}/format`
  try {
    if (JSON.parse(readFileSync(path, 'utf8')).format === 1) return
  } catch (error) {
    if (isErrno(error, 'ENOENT')) {
      using probe = makeProbeDirectory(room.directory)
      const temporary = `${probe.path}/format`
      writeFileSync(temporary, '{"format":1}\n', { mode: 0o600, flush: true })
      renameSync(temporary, path)
      return
    }
    if (isErrno(error)) throw error
  }
  throw new StoreError('record-damaged', `Cannot read "${path}": it is not what the btrfs driver writes`, {
    facts: { path },
  })
}

class BtrfsDriver implements Driver {
  readonly traits = {
    bases: true,
    mounts: false,
    verity: false,
    diskLimits: true,
    nearBases: true,
    rootless: true,
  }
  readonly #bases: Bases
  readonly #rootfs: RootfsRoom

  constructor({ directory }: DriverRoom) {
    mkdirSync(`${directory}/bases`, { recursive: true, mode: 0o700 })
    const limits = new SubvolumeLimits(directory)
    this.#bases = new Bases(`${directory}/bases`, limits)
    this.#rootfs = new RootfsRoom(this.#bases, limits)
  }

  prepare(base: BaseSpec, signal: AbortSignal): Promise<BaseUsage> {
    return this.#bases.prepare(base, signal)
  }

  removeBase(id: BaseId): Promise<void> {
    return this.#bases.remove(id)
  }

  async checkBase(id: BaseId, digest: VerityDigest): Promise<void> {
    await checkTree(id, this.#bases.read(id), this.#bases.tree(id), digest)
  }

  async create(spec: RootfsSpec): Promise<Rootfs> {
    await this.#rootfs.create(spec)
    return { mounts: [] }
  }

  remove(id: BundleId, at: string): Promise<void> {
    return this.#rootfs.remove(id, at)
  }

  usage(place: RootfsPlace): Promise<RootfsUsage> {
    return this.#rootfs.usage(place)
  }

  async setLimit(place: RootfsPlace, limit: DiskLimit): Promise<void> {
    this.#rootfs.setLimit(place, limit)
  }

  async *listBases(): AsyncGenerator<BaseId> {
    yield* this.#bases.list()
  }

  async *listBundles(): AsyncGenerator<BundleId> {
    yield* this.#rootfs.list()
  }
}
