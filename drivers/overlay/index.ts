/**
 * overlay: one composefs image per root filesystem, mounted under a writable overlay; contents are shared by all images.
 *
 * A base is an EROFS image that names its contents, a rootfs one overlay over it, whatever the number of layers. Where a
 * kernel cannot mount such images, a base is a directory. Needs root.
 */
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import {
  type BaseId,
  type BaseSpec,
  type BaseUsage,
  type BundleId,
  type DiskLimit,
  type Driver,
  type DriverModule,
  type DriverRoom,
  isErrno,
  LimitedSpaces,
  makeProbeDirectory,
  type Rootfs,
  type RootfsPlace,
  type RootfsSpec,
  type RootfsUsage,
  StoreError,
  UnsupportedError,
  type VerityDigest,
} from '../../lib/driver/kit.js'
import { Bases } from './bases.js'
import { type BaseKind, type OverlayOptions, parseOptions } from './options.js'
import { RootfsRoom } from './rootfs.js'

const overlay: DriverModule<OverlayOptions> = {
  api: 1,
  name: 'overlay',
  parseOptions,

  async probe(where, options) {
    const { findOut } = await import('./probe.js')
    const found = await findOut(where, options)
    return 'refused' in found ? found.refused : { usable: true, notes: found.findings.notes }
  },

  async open(room, options) {
    return new OverlayDriver(room, options, await formatOf(room, options))
  },
}

export default overlay

/** `format`, the first file of the room: what bases are in this store, found out once. */
interface Format {
  readonly format: 1
  readonly base: BaseKind
}

async function formatOf(room: DriverRoom, options: OverlayOptions): Promise<Format> {
  const path = `${room.directory}/format`
  try {
    return parseFormat(path, readFileSync(path, 'utf8'))
  } catch (error) {
    if (!isErrno(error, 'ENOENT')) throw error
  }
  const where = { directory: room.directory, effectiveUid: process.geteuid?.() ?? 0 }
  const { findOut } = await import('./probe.js')
  const found = await findOut(where, options)
  if ('refused' in found) {
    const { feature, found: is, needed } = found.refused
    throw new UnsupportedError(
      'driver-unusable',
      `Cannot use driver "overlay" in "${room.directory}": ${feature} is ${is}, ${needed} is needed`,
      { facts: { driver: 'overlay', feature, found: is, needed } },
    )
  }
  const format: Format = { format: 1, base: found.findings.base }
  using probe = makeProbeDirectory(room.directory)
  const temporary = `${probe.path}/format`
  writeFileSync(temporary, `${JSON.stringify(format)}\n`, { mode: 0o600, flush: true })
  renameSync(temporary, path)
  return format
}

function parseFormat(path: string, text: string): Format {
  try {
    const value = JSON.parse(text) as Partial<Format> | null
    if (value?.format === 1 && (value.base === 'composefs' || value.base === 'directory'))
      return value as Format
  } catch {
    // Told below, like all else that is not what was written.
  }
  throw new StoreError('record-damaged', `Cannot read "${path}": it is not what the overlay driver writes`, {
    facts: { path },
  })
}

class OverlayDriver implements Driver {
  readonly traits = {
    bases: true,
    mounts: true,
    verity: true,
    diskLimits: true,
    nearBases: false,
    rootless: false,
  }
  readonly #options: OverlayOptions
  readonly #format: Format
  readonly #bases: Bases
  readonly #spaces: LimitedSpaces
  readonly #rootfs: RootfsRoom

  constructor(room: DriverRoom, options: OverlayOptions, format: Format) {
    this.#options = options
    this.#format = format
    const directory = `${room.directory}/bases`
    if (!existsSync(directory)) mkdirSync(directory, { recursive: true, mode: 0o700 })
    this.#bases = new Bases(directory)
    const spaces = new LimitedSpaces(room.directory)
    this.#spaces = spaces
    this.#rootfs = new RootfsRoom(this.#bases, room.objects, options.verity, spaces)
  }

  prepare(base: BaseSpec, signal: AbortSignal): Promise<BaseUsage> {
    return this.#bases.prepare(base, this.#format.base, this.#options.verity, signal)
  }

  async removeBase(id: BaseId): Promise<void> {
    await this.#rootfs.forgetBase(id)
    await this.#bases.remove(id)
  }

  checkBase(id: BaseId, digest: VerityDigest): Promise<void> {
    return this.#bases.check(id, digest)
  }

  async create(spec: RootfsSpec): Promise<Rootfs> {
    return { mounts: await this.#rootfs.create(spec) }
  }

  async mount(place: RootfsPlace): Promise<boolean> {
    return this.#rootfs.mount(place)
  }

  async unmount(place: RootfsPlace): Promise<boolean> {
    return this.#rootfs.unmountAll(place.at)
  }

  remove(id: BundleId, at: string): Promise<void> {
    return this.#rootfs.remove(id, at)
  }

  async setLimit(place: RootfsPlace, limit: DiskLimit): Promise<void> {
    this.#rootfs.setLimit(place, limit)
  }

  usage(place: RootfsPlace): Promise<RootfsUsage> {
    return this.#rootfs.usage(place)
  }

  close(): Promise<void> {
    return this.#rootfs[Symbol.asyncDispose]()
  }

  listBases(): AsyncIterable<BaseId> {
    return this.#bases.list()
  }

  // What it has of a bundle stands in the bundle's own directory, but for the ids by which limits are held.
  async *listBundles(): AsyncGenerator<BundleId> {
    yield* this.#spaces.bundles()
  }
}
