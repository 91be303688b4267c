/**
 * Mounting a composefs image: EROFS from the image file, and one overlay over it whose data-only lower layer is a
 * directory of objects. Nothing but the overlay stays in the mount table.
 */
import { isErrno } from '../errors.js'
import { type CString, descriptorPath, pathString } from './c-string.js'
import { AT_FDCWD, O_NOFOLLOW, O_RDONLY } from './constants.js'
import { close, openAt } from './files.js'
import { attachLoop } from './loop.js'
import { MountContext, placeMount, settleMount, unmount } from './mount-context.js'
import { makeOverlay, type OverlayLayers } from './overlay-mount.js'

export interface ComposefsLayers {
  /** Absolute paths of directories of objects. */
  readonly objects: readonly string[]
  /** Absolute path of a directory. */
  readonly at: string
  /** A directory over the image and below what is written; null for none. */
  readonly above: string | null
  readonly writable: OverlayLayers['writable']
  readonly verity: boolean
  /** An existing directory to mount the image on for a moment, on kernels before 6.15. */
  readonly scratch: string
}

/** What this kernel needs, as far as it is known. Each begins with the newer way. */
const ways: { image: 'file' | 'loop'; lower: 'detached' | 'attached' } = { image: 'file', lower: 'detached' }

/** How images are mounted on this machine, by what was tried so far. */
export function composefsMountWays(): Readonly<typeof ways> {
  return { ...ways }
}

/** Opens an image file for mountComposefs. */
export function openImage(path: string): number {
  return openAt(AT_FDCWD, pathString(path), O_RDONLY | O_NOFOLLOW)
}

export interface ComposefsMount extends ComposefsLayers {
  /** Descriptor of the image file, open for reading. */
  readonly image: number
  /** Whether the image's header says that it has ACLs. */
  readonly hasAcl: boolean
}

/** Mounts; when it throws, nothing is mounted. */
export function mountComposefs(request: ComposefsMount): void {
  const mount = mountImage(request.image, request.hasAcl)
  try {
    mountOverImage(mount, request)
  } finally {
    close(mount)
  }
}

/**
 * Mounts an overlay over the mount of an image; when it throws, nothing is mounted.
 *
 * @param image descriptor of what mountImage made, which stays the caller's
 * @returns whether that can serve again: on kernels before 6.15 it cannot
 */
export function mountOverImage(image: number, layers: ComposefsLayers): boolean {
  settleMount(overlayOn(image, layers), pathString(layers.at))
  return ways.lower === 'detached'
}

/** Mounts a plain overlay over directories, the topmost first, the last of which is a whole tree. */
export function mountOverDirectories(
  lowers: readonly string[],
  at: string,
  writable: OverlayLayers['writable'],
): void {
  const overlay = makeOverlay({ lowers: lowers.map(pathString), data: [], writable, verity: false })
  settleMount(overlay, pathString(at))
}

/**
 * Mounts an image without giving it a place.
 *
 * @param file descriptor of the image, open for reading
 * @param hasAcl whether the image's header says that it has ACLs
 * @returns descriptor of the mount, which goes away with it
 */
export function mountImage(file: number, hasAcl: boolean): number {
  if (ways.image === 'file') {
    try {
      return mountErofs(descriptorPath(file), hasAcl)
    } catch (error) {
      // EROFS without files as sources, by its age (before Linux 6.12) or its configuration, wants a block device.
      if (!isErrno(error, 'ENOTBLK')) throw error
    }
  }
  const device = attachLoop(file)
  try {
    const mount = mountErofs(pathString(device.path), hasAcl)
    ways.image = 'loop'
    return mount
  } finally {
    close(device.fd)
  }
}

function mountErofs(source: CString, hasAcl: boolean): number {
  using context = MountContext.open('erofs')
  context.set('source', source)
  context.flag('ro')
  if (!hasAcl) context.flag('noacl')
  return context.mount({ readOnly: true })
}

function overlayOn(image: number, { above, objects, writable, verity, scratch }: ComposefsLayers): number {
  const layers = (lower: CString) => {
    const lowers = above === null ? [lower] : [pathString(above), lower]
    return { lowers, data: objects, writable, verity }
  }
  if (ways.lower === 'detached') {
    try {
      return makeOverlay(layers(descriptorPath(image)))
    } catch (error) {
      // Before Linux 6.15 a layer must be in the mount table. Other reasons for these errors come up again there.
      if (!isErrno(error, 'EINVAL', 'ELOOP')) throw error
    }
  }
  const place = pathString(scratch)
  placeMount(image, place)
  try {
    const overlay = makeOverlay(layers(place))
    ways.lower = 'attached'
    return overlay
  } finally {
    // The overlay has a mount of its own of it.
    unmount(scratch, { lazily: true })
  }
}
