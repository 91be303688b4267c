/**
 * vfs: every rootfs is a directory of its own, written from the tree. Works on every filesystem, also without root.
 *
 * Contents are shared with `objects/` where the filesystem can reflink, and copied elsewhere. There are no bases, and no
 * mounts but those of a rootfs whose limit is held by a filesystem in a file.
 */

import { existsSync, mkdirSync, renameSync } from 'node:fs'
import { dirname } from 'node:path'
import {
  type BaseId,
  type BaseUsage,
  BugError,
  type BundleId,
  byteString,
  cloneMount,
  type DiskLimit,
  type Driver,
  type DriverModule,
  type DriverRoom,
  diskUsageInSlices,
  isMountPoint,
  LeftOut,
  LimitedSpaces,
  materialise,
  type Rootfs,
  type RootfsPlace,
  type RootfsSpec,
  type RootfsUsage,
  removeTreeInSlices,
  reportLeftOut,
  settleMount,
  syncFilesystemOf,
  type Tree,
  treeRoomBytes,
  UsageError,
  unmountRootfs,
} from '../../lib/driver/kit.js'

const vfs: DriverModule<null> = {
  api: 1,
  name: 'vfs',

  parseOptions(raw: unknown): null {
    if (raw === null || raw === undefined) return null
    const key = typeof raw === 'object' ? Object.keys(raw)[0] : undefined
    if (key === undefined && typeof raw === 'object') return null
    throw new UsageError(
      'option-invalid',
      `Cannot use driver option ${JSON.stringify(key ?? raw)}: the vfs driver has none`,
      {
        facts: { driver: 'vfs', option: key ?? null },
      },
    )
  },

  async probe() {
    return { usable: true, notes: ['every bundle is a full copy of its image'] }
  },

  async open(room): Promise<Driver> {
    return new VfsDriver(room)
  },
}

export default vfs

class VfsDriver implements Driver {
  readonly traits = {
    bases: false,
    mounts: false,
    verity: false,
    diskLimits: true,
    nearBases: false,
    rootless: true,
  }

  readonly #spaces: LimitedSpaces

  constructor(room: DriverRoom) {
    this.#spaces = new LimitedSpaces(room.directory)
  }

  async prepare(): Promise<BaseUsage> {
    throw new BugError('Cannot prepare a base: the vfs driver has none')
  }

  async removeBase(): Promise<void> {}

  async create(spec: RootfsSpec): Promise<Rootfs> {
    const tree = await spec.tree()
    const leftOut = new LeftOut()
    const write = async (directory: string): Promise<void> => {
      await materialise(tree, spec.objects, directory, {
        ignoreOwnership: spec.ignoreOwnership,
        signal: spec.signal,
        onSkipped: (what, path, detail) => leftOut.add(what, path, detail),
      })
    }
    if (spec.limit === null) await write(spec.at)
    else await this.#createLimited(spec, spec.limit, tree, write)
    reportLeftOut(spec, leftOut.list())
    syncFilesystemOf(spec.at)
    return { mounts: [] }
  }

  /** What the image takes is written before the limit is held, so that it does not count. */
  async #createLimited(
    { id: bundle, at, syncLater, signal }: RootfsSpec,
    { backend, writableBytes }: DiskLimit,
    tree: Tree,
    write: (directory: string) => Promise<void>,
  ): Promise<void> {
    const directory = spaceOf(at)
    const roomBytes = treeRoomBytes(tree)
    await this.#spaces.make({ bundle, directory, backend, writableBytes, roomBytes, syncLater, signal })
    await write(`${directory}/rootfs`)
    if (this.#spaces.isApart(directory)) {
      mkdirSync(at, { mode: 0o700 })
      bind(`${directory}/rootfs`, at)
    } else {
      // What is made in it goes on being counted where it is moved to.
      renameSync(`${directory}/rootfs`, at)
    }
    this.#spaces.hold(bundle, directory, writableBytes)
  }

  async mount({ id, at, limit }: RootfsPlace): Promise<boolean> {
    if (limit === null) return false
    const isOpened = this.#spaces.open(id, spaceOf(at))
    if (!this.#spaces.isApart(spaceOf(at)) || isMountPoint(at)) return isOpened
    bind(`${spaceOf(at)}/rootfs`, at)
    return true
  }

  async unmount({ at, limit }: RootfsPlace): Promise<boolean> {
    if (limit === null || !this.#spaces.isApart(spaceOf(at))) return false
    const found = unmountRootfs(at, MAX_STACKED)
    return this.#spaces.close(spaceOf(at)) || found
  }

  async setLimit({ id, at }: RootfsPlace, { writableBytes }: DiskLimit): Promise<void> {
    this.#spaces.change(id, spaceOf(at), writableBytes)
  }

  async remove(id: BundleId, at: string): Promise<void> {
    if (existsSync(spaceOf(at))) unmountRootfs(at, MAX_STACKED)
    await removeTreeInSlices(at)
    await this.#spaces.remove(id, spaceOf(at))
  }

  async usage({ at, limit }: RootfsPlace): Promise<RootfsUsage> {
    if (limit !== null) this.#spaces.refuseUnmounted(spaceOf(at))
    const { bytes } = await diskUsageInSlices(at)
    return { totalBytes: bytes, exclusiveBytes: bytes }
  }

  async *listBases(): AsyncGenerator<BaseId> {}
  // A rootfs stands in its bundle and nowhere else; but ids are taken by which limits are held.
  async *listBundles(): AsyncGenerator<BundleId> {
    yield* this.#spaces.bundles()
  }
}

/** Beside the rootfs, in the bundle's own directory. */
function spaceOf(at: string): string {
  return `${dirname(at)}/limited`
}

/** Shows a directory at another place. */
function bind(directory: string, at: string): void {
  settleMount(cloneMount(byteString(directory)), byteString(at))
}

const MAX_STACKED = 16 // mounts on one place, so that whoever goes on mounting does not keep us for ever
