/**
 * What a layer may ask for: a member of its tar becomes a change of the tree, or is refused (hardening rules 1, 2, 6 to 8 and 10
 * to 13).
 *
 * Pure, and the same at ingest and whenever a layer record is read again. Names are cleaned lexically here; symlinks in
 * parents, and whether the target of a hard link exists, are settled in tree/merge.ts. Two things that look dangerous stay:
 * symlink texts are verbatim, also absolute and climbing ones, because nothing outside happens until something follows
 * them; and character devices 0:0 are devices like others in the tree, to be made by each driver in a form that its
 * mounts do not take for a whiteout.
 */
import { type ByteString, ownBytes, printable } from '../bytes.js'
import { BugError, ImageError } from '../errors.js'
import type { CleanPath, LayerChange } from '../tree/change.js'
import { type Content, type Inode, type Metadata, NO_XATTRS, type Xattrs } from '../tree/model.js'
import type { TarEntry } from './entry.js'
import type { LayerLimits } from './limits.js'
import { shown } from './tar-fault.js'
import { whyDropped } from './xattr-policy.js'

/** An attribute that an image wanted and does not get. */
export interface DroppedXattr {
  readonly reason: 'dropped-xattr'
  /** Path as the layer names it. */
  readonly entry: ByteString
  readonly name: ByteString
  readonly why: string
}

const MAX_COMPONENT_BYTES = 255 // NAME_MAX
const MAX_PATH_BYTES = 4095 // PATH_MAX without the NUL
const MAX_RAW_BYTES = 65_536 // of a name that is yet to be cleaned, which takes time
const MAX_TARGET_BYTES = 4095
const MAX_XATTR_NAME_BYTES = 255 // XATTR_NAME_MAX
const MAX_XATTR_VALUE_BYTES = 65_535 // one less than XATTR_SIZE_MAX: what the length field of EROFS holds
const MAX_XATTR_LIST_BYTES = 65_536 // XATTR_LIST_MAX: names beyond could be set and never listed

/** What a name may have had more than is left of it: the parts that V8 cuts out of a string keep all of it in memory. */
const MAX_CUT_BYTES = 64

const SYMLINK_MODE = 0o777 // what Linux gives all symlinks; tars say all kinds of things

const WHITEOUT_PREFIX = '.wh.'
const AUFS_PREFIX = '.wh..wh.'
const OPAQUE_MARKER = '.wh..wh..opq'

/** Who is to blame: what messages need of an entry. */
type Culprit = Pick<TarEntry, 'path' | 'offset'>

/**
 * Cleans a name as if the root were all there is: leading and doubled slashes and dots go, `..` stops at the root, as it
 * does in a chroot. Names of members and targets of hard links are cleaned alike.
 *
 * @throws {ImageError} `entry-refused` for a NUL, a component of more than 255 bytes, a path of more than 4095 bytes or, as it
 *   stands in the layer, of more than 65,536
 */
export function cleanPath(path: ByteString): CleanPath {
  return clean(path, 'name', { path, offset: 0 })
}

/**
 * What a member of a layer does to the tree.
 *
 * Markers go by name, whatever file they are, as container tools have them; only a directory or something below a marker
 * is refused. `.wh.NAME` hides NAME of the layers below, `.wh..wh..opq` all of its directory. Other names beginning with
 * `.wh..wh.` are what aufs kept beside its files in old images: they and what is below them are left out.
 *
 * @param content of a regular file; not looked at, so that a member can be checked before its content is there
 * @param onDropped called for each attribute that does not pass (see xattr-policy.ts)
 * @returns null for what is to be left out
 * @throws {ImageError} `entry-refused`, `limit-exceeded`; facts `entry`, `cause`, `offset`
 */
export function applyPolicy(
  entry: TarEntry,
  content: Content,
  limits: LayerLimits,
  onDropped?: (dropped: DroppedXattr) => void,
): LayerChange | null {
  const path = clean(entry.path, 'name', entry)
  if (path.length === 0 && entry.kind !== 'directory') {
    throw refused(entry, 'it names the root, which can only be a directory')
  }
  if (path.length > limits.maxDepth) {
    throw refused(
      entry,
      `it is ${path.length} levels deep, the limit is ${limits.maxDepth}`,
      'limit-exceeded',
    )
  }
  if (entry.path.includes(WHITEOUT_PREFIX)) {
    const marker = readMarker(path, entry)
    if (marker !== 'no marker') return marker
  }
  if (entry.kind === 'hardlink') return { kind: 'hardlink', path, target: linkTarget(entry) }
  return { kind: 'inode', path, inode: entryInode(entry, content, onDropped) }
}

/**
 * The inode that a member describes; directories without children.
 *
 * @param entry anything but a hard link, which has no inode of its own
 * @throws {ImageError} `entry-refused` for symlink targets and attributes that no filesystem takes
 */
export function entryInode(
  entry: TarEntry,
  content: Content,
  onDropped?: (dropped: DroppedXattr) => void,
): Inode {
  const { kind } = entry
  if (kind === 'hardlink') throw new BugError('Cannot make an inode of a hard link: it is a name for another')
  const metadata: Metadata = {
    mode: kind === 'symlink' ? SYMLINK_MODE : entry.mode,
    uid: entry.uid,
    gid: entry.gid,
    mtimeSeconds: entry.mtimeSeconds,
    mtimeNanoseconds: entry.mtimeNanoseconds,
    xattrs: entry.xattrs.size === 0 ? NO_XATTRS : keptXattrs(entry, kind, onDropped),
  }
  switch (kind) {
    case 'file':
      return { kind, ...metadata, size: entry.size, content }
    case 'directory':
      return { kind, ...metadata, children: new Map() }
    case 'symlink':
      return { kind, ...metadata, target: symlinkTarget(entry) }
    case 'char':
    case 'block':
      return { kind, ...metadata, major: entry.major, minor: entry.minor }
    case 'fifo':
      return { kind, ...metadata }
    default:
      return kind satisfies never
  }
}

function clean(path: ByteString, what: string, culprit: Culprit): ByteString[] {
  if (path.length > MAX_RAW_BYTES) {
    throw refused(
      culprit,
      `its ${what} has ${path.length} bytes before it is cleaned, the limit is ${MAX_RAW_BYTES}`,
    )
  }
  if (path.includes('\0')) throw refused(culprit, `its ${what} has a NUL`)
  const clean: ByteString[] = []
  let bytes = -1 // no slash in front of the first
  for (const component of path.split('/') as ByteString[]) {
    if (component === '' || component === '.') continue
    if (component === '..') {
      const left = clean.pop()
      if (left !== undefined) bytes -= left.length + 1
      continue
    }
    if (component.length > MAX_COMPONENT_BYTES) {
      throw refused(
        culprit,
        `a part of its ${what} has ${component.length} bytes, the limit is ${MAX_COMPONENT_BYTES}`,
      )
    }
    clean.push(component)
    bytes += component.length + 1
  }
  if (bytes > MAX_PATH_BYTES) {
    throw refused(culprit, `its ${what} has ${bytes} bytes, the limit is ${MAX_PATH_BYTES}`)
  }
  return path.length - bytes > MAX_CUT_BYTES ? clean.map(ownBytes) : clean
}

function readMarker(path: CleanPath, entry: TarEntry): LayerChange | null | 'no marker' {
  const at = path.findIndex((component) => component.startsWith(WHITEOUT_PREFIX))
  const marker = path[at]
  if (marker === undefined) return 'no marker'
  const parent = path.slice(0, at)
  const hidden = marker.slice(WHITEOUT_PREFIX.length) as ByteString
  const isOpaque = marker === OPAQUE_MARKER
  if (hidden === '' || hidden === '.' || hidden === '..' || marker === AUFS_PREFIX) {
    throw refused(entry, `"${printable(marker)}" is a whiteout without the name of a file`)
  }
  if (marker.startsWith(AUFS_PREFIX) && !isOpaque) return null
  if (at < path.length - 1) {
    throw refused(entry, `it stands below "${printable(marker)}", which is a marker and no directory`)
  }
  if (entry.kind === 'directory') {
    throw refused(entry, 'it is a marker by its name and a directory by its type')
  }
  return isOpaque ? { kind: 'opaque', path: parent } : { kind: 'whiteout', parent, name: hidden }
}

function linkTarget(entry: TarEntry): CleanPath {
  const target = clean(entry.linkPath, 'link target', entry)
  if (target.length === 0) throw refused(entry, 'its link target is empty or the root')
  const marker = target.find((component) => component.startsWith(WHITEOUT_PREFIX))
  if (marker !== undefined) {
    throw refused(entry, `its link target has "${printable(marker)}", which is a marker and no file`)
  }
  return target
}

function symlinkTarget(entry: TarEntry): ByteString {
  const target = entry.linkPath
  if (target === '') throw refused(entry, 'its link target is empty')
  if (target.includes('\0')) throw refused(entry, 'its link target has a NUL')
  if (target.length > MAX_TARGET_BYTES) {
    throw refused(entry, `its link target has ${target.length} bytes, the limit is ${MAX_TARGET_BYTES}`)
  }
  return target
}

function keptXattrs(
  entry: TarEntry,
  kind: Inode['kind'],
  onDropped?: (dropped: DroppedXattr) => void,
): Xattrs {
  const kept = new Map<ByteString, ByteString>()
  let listBytes = 0
  for (const [name, value] of entry.xattrs) {
    const why = whyDropped(name, kind)
    if (why !== null) {
      onDropped?.({ reason: 'dropped-xattr', entry: entry.path, name, why })
      continue
    }
    if (name.length > MAX_XATTR_NAME_BYTES || name.includes('\0')) {
      throw refused(
        entry,
        `its attribute "${shown(name)}" has a NUL or more than ${MAX_XATTR_NAME_BYTES} bytes in its name`,
      )
    }
    if (value.length > MAX_XATTR_VALUE_BYTES) {
      const found = `${value.length} bytes, the limit is ${MAX_XATTR_VALUE_BYTES}`
      throw refused(entry, `its attribute "${shown(name)}" has ${found}`)
    }
    listBytes += name.length + 1
    kept.set(name, value)
  }
  if (listBytes > MAX_XATTR_LIST_BYTES) {
    throw refused(
      entry,
      `the names of its attributes have ${listBytes} bytes, the limit is ${MAX_XATTR_LIST_BYTES}`,
    )
  }
  return kept.size === 0 ? NO_XATTRS : kept
}

export function refused(
  culprit: Culprit,
  cause: string,
  code: 'entry-refused' | 'limit-exceeded' = 'entry-refused',
): ImageError {
  const entry = shown(culprit.path)
  return new ImageError(code, `Cannot accept entry "${entry}" of the layer: ${cause}`, {
    facts: { entry, cause, offset: culprit.offset },
  })
}
