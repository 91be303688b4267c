/**
 * Root filesystems: beside the place of each, `upper` with what its container writes and `work` for the kernel; the
 * overlay over its base on the place itself.
 */
import { closeSync, existsSync, lstatSync, mkdirSync, rmdirSync } from 'node:fs'
import { dirname } from 'node:path'
import {
  type BaseId,
  type BundleId,
  type DiskLimit,
  diskUsageInSlices,
  forgetVolatile,
  isErrno,
  isMountPoint,
  type LimitedSpaces,
  type Mount,
  materialise,
  measureVerity,
  mountImage,
  mountOverDirectories,
  mountOverImage,
  type ObjectReader,
  openImage,
  type RootfsPlace,
  type RootfsSpec,
  type RootfsUsage,
  removeAbandonedTree,
  removeTreeInSlices,
  toGrootError,
  unmountRootfs,
  type VerityMode,
  type WritableLayers,
} from '../../lib/driver/kit.js'
import { digestOf, hasAcl, openBaseImage } from './base-image.js'
import { type Base, type Bases, damaged, noVerity, objectDamaged, topOf } from './bases.js'
import { ImageMounts } from './image-mounts.js'
import { LingeringOverlays } from './lingering.js'
import { missingPoints } from './points.js'

const MAX_STACKED = 64 // mounts on one place, so that whoever goes on mounting does not keep us for ever

export class RootfsRoom implements AsyncDisposable {
  readonly #bases: Bases
  readonly #objects: ObjectReader
  readonly #verity: VerityMode
  readonly #images = new ImageMounts()
  readonly #lingering = new LingeringOverlays()
  readonly #spaces: LimitedSpaces

  constructor(bases: Bases, objects: ObjectReader, verity: VerityMode, spaces: LimitedSpaces) {
    this.#bases = bases
    this.#objects = objects
    this.#verity = verity
    this.#spaces = spaces
  }

  /** Makes the directories, and mounts unless told not to. @returns what the runtime has to mount */
  async create(spec: RootfsSpec): Promise<readonly Mount[]> {
    const base = this.#baseOf(spec)
    mkdirSync(spec.at, { mode: 0o700 })
    if (!spec.readOnly) {
      if (spec.limit !== null) await this.#makeSpace(spec, spec.limit)
      const { upper, work } = writableOf(spec)
      mkdirSync(work, { mode: 0o700 })
      // The top of an overlay is that of its upper directory.
      await materialise({ root: topOf(base) }, this.#objects, upper, {
        ignoreOwnership: false,
        underOverlay: true,
        signal: spec.signal,
      })
      spec.syncLater(upper)
    }
    if (spec.withoutMount) {
      if (spec.readOnly) await this.#makePoints(spec)
      this.#holdToLimit(spec)
      return this.#runtimeMounts(spec, base)
    }
    this.#mount(spec, base)
    // What the kernel needs in `work` is there now, and does not count.
    this.#holdToLimit(spec)
    if (spec.readOnly && !spec.mountPoints.every((path) => isThere(spec.at, path))) {
      this.unmount(spec.at)
      await this.#makePoints(spec)
      this.#mount(spec, base)
    }
    return []
  }

  #makeSpace(spec: RootfsSpec, { backend, writableBytes }: DiskLimit): Promise<void> {
    const { id: bundle, syncLater, signal } = spec
    const directory = spaceOf(spec.at)
    return this.#spaces.make({
      bundle,
      directory,
      backend,
      writableBytes,
      roomBytes: 0,
      syncLater,
      signal,
    })
  }

  #holdToLimit({ id, at, limit, readOnly }: RootfsPlace): void {
    if (limit !== null && !readOnly) this.#spaces.hold(id, spaceOf(at), limit.writableBytes)
  }

  /** Nothing is written to a rootfs without upper directory, so that every limit is held. */
  setLimit({ id, at, readOnly }: RootfsPlace, { writableBytes }: DiskLimit): void {
    if (!readOnly) this.#spaces.change(id, spaceOf(at), writableBytes)
  }

  /** A runtime makes the mount points that an image lacks, and cannot where nothing may be written. */
  async #makePoints(spec: RootfsSpec): Promise<void> {
    const tree = missingPoints(await spec.tree(), spec.mountPoints, spec.containerRoot)
    if (tree === null) return
    const path = pointsOf(spec)
    await materialise(tree, this.#objects, path, {
      ignoreOwnership: false,
      underOverlay: true,
      signal: spec.signal,
    })
    spec.syncLater(path)
  }

  /** Lets go of a base that is to be removed. */
  async forgetBase(id: BaseId): Promise<void> {
    this.#images.drop(id)
    await this.#lingering.letGo()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#images[Symbol.dispose]()
    await this.#lingering.letGo()
  }

  mount(place: RootfsPlace): boolean {
    const { id, at, limit, readOnly } = place
    const isLimited = limit !== null && !readOnly
    const isOpened = isLimited && this.#spaces.open(id, spaceOf(at))
    if (isMountPoint(at)) return isOpened
    const mount = () => {
      if (!readOnly) forgetVolatile(writableOf(place).work)
      this.#mount(place, this.#baseOf(place))
    }
    // Without room for its work directory an overlay would be read-only.
    if (isLimited) this.#spaces.withSlack(id, spaceOf(at), limit.writableBytes, mount)
    else mount()
    return true
  }

  /** The same for a place and what is below it. @throws {BusyError} `mount-busy` */
  unmountAll(at: string): boolean {
    const found = this.unmount(at)
    return this.#spaces.close(spaceOf(at)) || found
  }

  /** Takes away all that is mounted on a place. @throws {BusyError} `mount-busy` */
  unmount(at: string): boolean {
    return unmountRootfs(at, MAX_STACKED)
  }

  async remove(id: BundleId, at: string): Promise<void> {
    const isLimited = existsSync(spaceOf(at))
    // An overlay holds the filesystem of its limited space.
    await this.#lingering.outlast(at, isLimited, async () => {
      if (!this.unmount(at)) return false
      await removeDirectory(`${isLimited ? spaceOf(at) : dirname(at)}/upper`, removeAbandonedTree)
      return true
    })
    await this.#spaces.remove(id, spaceOf(at))
    await removeDirectory(at, removeTreeInSlices)
  }

  async usage(place: RootfsPlace): Promise<RootfsUsage> {
    if (place.limit !== null) this.#spaces.refuseUnmounted(spaceOf(place.at))
    const base = this.#baseOf(place)
    const written = place.readOnly ? 0 : (await diskUsageInSlices(writableOf(place).upper)).bytes
    return {
      totalBytes: base.bytes + base.contentBytes + written,
      exclusiveBytes: written,
    }
  }

  #baseOf({ base }: RootfsPlace): Base {
    if (base === null) throw new TypeError('the overlay driver was given no base')
    return this.#bases.read(base)
  }

  #mount(place: RootfsPlace, base: Base): void {
    const id = place.base!
    const writable = place.readOnly ? null : writableOf(place)
    const above = place.readOnly && existsSync(pointsOf(place)) ? pointsOf(place) : null
    try {
      if (base.kind === 'directory') {
        if (this.#modeOf(place) === 'require') throw noVerity()
        const lowers = [...(above === null ? [] : [above]), this.#bases.tree(id)]
        return mountOverDirectories(lowers, place.at, writable)
      }
      this.#withImage(place, base, (image, verity) => {
        const layers = {
          objects: [this.#objects.directory],
          at: place.at,
          above,
          writable,
          verity,
          // Its mount is taken away again before anything is mounted on it for good.
          scratch: place.at,
        }
        const make = () => mountImage(image, hasAcl(image, id))
        this.#images.with(id, image, make, (mount) => mountOverImage(mount, layers))
      })
    } catch (error) {
      throw toGrootError(error, `Cannot mount the root filesystem of "${place.id}"`)
    }
  }

  /**
   * Hands out the descriptor of a base's image, and whether to let the kernel check contents.
   *
   * @throws {IntegrityError} `base-damaged` when the image is not the one that was made, as far as that was looked at
   */
  #withImage<T>(place: RootfsPlace, base: Base, use: (image: number, verity: boolean) => T): T {
    const id = place.base!
    const image = openBaseImage(this.#bases.image(id), id, base)
    try {
      return use(image, this.#checksContents(image, place, base))
    } catch (error) {
      // The kernel does not say whether the image is at fault.
      const found = isErrno(error) ? digestOf(image) : place.digest
      throw found === place.digest ? error : damaged(id, place.digest, found)
    } finally {
      closeSync(image)
    }
  }

  #modeOf(place: RootfsPlace): VerityMode {
    return place.verity ?? this.#verity
  }

  /**
   * Whether to let the kernel check contents, found out by what it measures now: a mount that demands fs-verity succeeds
   * also where objects have none, and then fails each read.
   *
   * @throws {IntegrityError} `base-damaged`, `object-damaged` @throws {UnsupportedError} `verity-unsupported`
   */
  #checksContents(image: number, place: RootfsPlace, base: Base): boolean {
    const mode = this.#modeOf(place)
    if (mode === 'require' && !base.verity) throw noVerity()
    const isWanted = mode !== 'off' && base.verity
    if (!isWanted && place.isDigestDemanded !== true) return false
    const measured = measureVerity(image)?.digest ?? null
    // Where the kernel measures nothing, though it may have when the image was made, only its bytes can tell.
    const found = measured ?? (mode === 'require' ? null : digestOf(image))
    if (found !== place.digest) throw damaged(place.base!, place.digest, found)
    if (!isWanted || measured === null) return false
    return base.sample === null || this.#measures(base.sample, mode)
  }

  #measures(sample: Base['sample'] & string, mode: VerityMode): boolean {
    const fd = openImage(this.#objects.path(sample))
    try {
      const measured = measureVerity(fd)?.digest ?? null
      if (measured === sample) return true
      if (measured === null && mode === 'try') return false
      throw objectDamaged(sample, `the kernel measures ${measured ?? 'nothing'}`)
    } finally {
      closeSync(fd)
    }
  }

  /** The same two mounts as a runtime makes them: the image on the root, and the overlay over what is there then. */
  #runtimeMounts(place: RootfsPlace, base: Base): Mount[] {
    const id = place.base!
    const mode = this.#modeOf(place)
    if (mode === 'require' && !base.verity) throw noVerity()
    const isImage = base.kind === 'composefs'
    const points = place.readOnly && existsSync(pointsOf(place)) ? `${escaped(pointsOf(place))}:` : ''
    const tree = isImage
      ? `${escaped(place.at)}::${escaped(this.#objects.directory)}`
      : escaped(this.#bases.tree(id))
    const lower = `${points}${tree}`
    const { upper, work } = writableOf(place)
    const options = [
      place.readOnly ? 'ro' : 'rw',
      `lowerdir=${lower}`,
      ...(place.readOnly ? [] : [`upperdir=${escaped(upper)}`, `workdir=${escaped(work)}`]),
      'metacopy=on',
      'redirect_dir=on',
      ...(mode !== 'off' && base.verity ? ['verity=require'] : []),
    ]
    const overlay = { destination: '/', type: 'overlay', source: 'groot', options }
    if (!isImage) return [overlay]
    const isAcl = this.#withImage(place, base, (image) => hasAcl(image, id))
    const source = this.#bases.image(id)
    return [{ destination: '/', type: 'erofs', source, options: isAcl ? ['ro'] : ['ro', 'noacl'] }, overlay]
  }
}

/** Beside the rootfs, in the bundle's own directory, or in the space that is limited there. */
function writableOf({ at, limit, noSync }: Pick<RootfsPlace, 'at' | 'limit' | 'noSync'>): WritableLayers {
  const above = limit === null ? dirname(at) : spaceOf(at)
  return { upper: `${above}/upper`, work: `${above}/work`, volatile: noSync }
}

/** Most often it is empty; what else it is, or why it stays, is for the removal of a tree to tell. */
async function removeDirectory(path: string, removeTree: (path: string) => Promise<void>): Promise<void> {
  try {
    rmdirSync(path)
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return
    await removeTree(path)
  }
}

function spaceOf(at: string): string {
  return `${dirname(at)}/limited`
}

function pointsOf({ at }: Pick<RootfsPlace, 'at'>): string {
  return `${dirname(at)}/points`
}

/** Whether a path is a directory of the rootfs, on a way without symlinks: those would lead out of it from here. */
function isThere(at: string, path: string): boolean {
  let below = at
  for (const name of path.split('/')) {
    if (name === '') continue
    below += `/${name}`
    try {
      if (!lstatSync(below).isDirectory()) return false
    } catch (error) {
      // The path may be longer from here than it is in the rootfs.
      if (isErrno(error, 'ENOENT', 'ENAMETOOLONG')) return false
      throw error
    }
  }
  return true
}

/** In the text that mount(2) takes, commas end options, colons end layers, and backslashes escape both. */
function escaped(path: string): string {
  return path.replace(/[\\,:]/g, '\\$&')
}
