/**
 * Overlays: lower directories, data-only directories below them, and an upper one
 * (Documentation/filesystems/overlayfs.rst).
 *
 * Each thing is said in the way of newer kernels, and where a kernel refuses that, in the older one; which way works is
 * remembered, for it does not change while a machine runs.
 */
import { type ByteString, byteString } from '../bytes.js'
import { isErrno } from '../errors.js'
import { type CString, cString, descriptorPath, pathString } from './c-string.js'
import { AT_FDCWD, O_DIRECTORY, O_NOFOLLOW, O_PATH } from './constants.js'
import { close, openAt } from './files.js'
import { MAX_VALUE_BYTES, MountContext } from './mount-context.js'
import { removeTree } from './remove-tree.js'

export interface OverlayLayers {
  /** Directories, the topmost first. */
  readonly lowers: readonly CString[]
  /** Absolute paths of directories that files of the lower one may have their data in. */
  readonly data: readonly string[]
  /** Null for an overlay that nobody can write to. */
  readonly writable: WritableLayers | null
  /** Whether the kernel demands of each file's data that it has the fs-verity digest that the lower file says. */
  readonly verity: boolean
}

export interface WritableLayers {
  /** Absolute paths on one filesystem. */
  readonly upper: string
  readonly work: string
  /** Whether nothing waits until what is written is on the disk: no fsync in it, and no unmount. */
  readonly volatile: boolean
}

/** Linux 6.8 takes layers one by one; before, they stand in one text. */
let keys: 'layers' | 'text' = 'layers'

/** @returns a descriptor of a mount without a place */
export function makeOverlay(layers: OverlayLayers): number {
  const held: number[] = []
  try {
    using context = MountContext.open('overlay')
    context.set('source', pathString('groot'))
    context.set('metacopy', pathString('on'))
    context.set('redirect_dir', pathString('on'))
    if (layers.verity) context.set('verity', pathString('require'))
    const took = addLayers(context, layers, held)
    if (layers.writable !== null) {
      context.set('upperdir', pathValue(layers.writable.upper, held))
      context.set('workdir', pathValue(layers.writable.work, held))
      if (layers.writable.volatile) setVolatile(context)
    }
    const mount = context.mount({ readOnly: layers.writable === null })
    keys = took
    return mount
  } catch (error) {
    // The kernel looks at the upper layer first, and its mark would stay.
    if (layers.writable?.volatile === true) forgetVolatile(layers.writable.work)
    throw error
  } finally {
    for (const fd of held) close(fd)
  }
}

/** Before Linux 5.10 there is no such overlay, and things take longer. */
function setVolatile(context: MountContext): void {
  try {
    context.flag('volatile')
  } catch (error) {
    if (!isErrno(error, 'EINVAL')) throw error
  }
}

/**
 * Lets an overlay be mounted again that was volatile: the kernel leaves a mark in its work directory and then refuses it, as a
 * power cut since may have taken part of what is in its upper directory. Who asks knows that.
 *
 * @param work its work directory
 */
export function forgetVolatile(work: string): void {
  removeTree(`${work}/work/incompat`)
}

function addLayers(context: MountContext, { lowers, data }: OverlayLayers, held: number[]): typeof keys {
  if (keys === 'layers') {
    try {
      for (const lower of lowers) context.set('lowerdir+', lower)
      for (const directory of data) context.set('datadir+', pathValue(directory, held))
      return 'layers'
    } catch (error) {
      if (!isErrno(error, 'EINVAL')) throw error
    }
  }
  // By descriptor: in the text form colons and commas in paths would need escapes.
  const short = (path: CString): string => {
    const fd = openAt(AT_FDCWD, path, O_PATH | O_DIRECTORY)
    held.push(fd)
    return `/proc/self/fd/${fd}`
  }
  const text = [lowers.map(short).join(':'), ...data.map((path) => short(pathString(path)))].join('::')
  context.set('lowerdir', pathString(text))
  return 'text'
}

/**
 * A path as the value of a key. Those that are too long for one, or that overlayfs would read escapes in, are named by a
 * descriptor.
 */
function pathValue(path: string, held: number[]): CString {
  const bytes: ByteString = byteString(path)
  if (bytes.length <= MAX_VALUE_BYTES && !/[\\,:]/.test(bytes)) return cString(bytes)
  const fd = openAt(AT_FDCWD, cString(bytes), O_PATH | O_DIRECTORY | O_NOFOLLOW)
  held.push(fd)
  return descriptorPath(fd)
}
