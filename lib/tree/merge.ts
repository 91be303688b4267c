/**
 * Merging: layers, as lists of changes, become one tree (image-spec, layer.md, "Applying Changesets").
 *
 * Everything that a hostile layer can play with — links in parents, whiteouts, replaced types — is settled here, in
 * memory, where there is nothing to escape to. The result depends on the order of entries in a layer as far as later
 * entries replace earlier ones, and not on where its whiteouts stand.
 */
import { type ByteString, printable } from '../bytes.js'
import { ImageError } from '../errors.js'
import { type CleanPath, type LayerChange, metadataBytes } from './change.js'
import { type Directory, IMPLICIT_DIRECTORY, type Inode, type NonDirectory, type Tree } from './model.js'
import { type WalkOptions, walkToDirectory } from './walk.js'

/** Caps on the merged tree; see LayerLimits. */
export interface MergeLimits {
  readonly maxEntries: number
  readonly maxTotalBytes: number
  readonly maxMetadataBytes: number
  readonly maxDepth: number
}

/**
 * Components that names may be looked up by, over all layers: some, and more for each entry. Real images need ten for an
 * entry; symlinks that go through long paths can make it eighty thousand, each time.
 */
const STEPS = 4_000_000
const STEPS_PER_ENTRY = 64
/** Of the entries that an image may have, those that may be directories which none of its layers describes. */
const IMPLICIT_SHARE = 8
/** Changes between two moments at which the work may be interrupted. */
const SLICE = 256

export interface MergeResult {
  readonly tree: Tree
  /** Changes applied over all layers. */
  readonly entries: number
  /** Bytes of all files of all layers, expanded, before anything is shared or hidden. */
  readonly bytes: number
}

/**
 * Applies layers to an empty root, base first.
 *
 * Within a layer, whiteouts and opaque markers act first and on the layers below only (hardening rule 10). Then its
 * entries are added in order: parents are looked up with symlinks followed as if the root were `/`, missing parents
 * become root's with mode 0755 and time 0, the last component is never followed, a directory over a directory takes the new
 * metadata and keeps the children, anything else replaces.
 *
 * @throws {ImageError} `layer-invalid` for links to nothing, parents that are no directories, link loops; `limit-exceeded`
 */
export function mergeLayers(layers: Iterable<Iterable<LayerChange>>, limits: MergeLimits): MergeResult {
  const merger = new Merger(limits)
  let number = 0
  for (const changes of layers) merger.apply([...changes], number++)
  return { tree: { root: merger.root }, entries: merger.entries, bytes: merger.bytes }
}

/** Work that yields wherever it may be interrupted. */
type Steps<T> = Generator<void, T, void>

/** A merge to which layers are added one by one. */
export class Merger {
  root: Directory = { ...IMPLICIT_DIRECTORY, kind: 'directory', children: new Map() }
  entries = 0
  bytes = 0
  readonly #limits: MergeLimits
  /** Directories that no layer describes. */
  #implicit = 0
  #metadataBytes = 0
  #steps = 0
  /** Of the layer that is being applied. */
  #number = 0

  constructor(limits: MergeLimits) {
    this.#limits = limits
  }

  /** @param number position of the layer, base is 0; for messages */
  apply(changes: readonly LayerChange[], number: number): void {
    const steps = this.applyInSteps(changes, number)
    while (steps.next().done !== true);
  }

  /** The same as work that may be interrupted; when it was, the tree is of no use. */
  *applyInSteps(changes: readonly LayerChange[], number: number): Steps<void> {
    this.#number = number
    this.#count(changes)
    let kept: LinkTargets | null = null
    if (number > 0) {
      const own = ownPaths(changes)
      yield
      kept = yield* this.#rememberLinkTargets(changes)
      yield* this.#applyMarkers(changes, own)
    }
    for (let at = 0; at < changes.length; at++) {
      this.#add(changes[at]!, kept)
      if (at % SLICE === 0) yield
    }
  }

  #count(changes: readonly LayerChange[]): void {
    this.entries += changes.length
    for (const change of changes) {
      this.#metadataBytes += metadataBytes(change)
      if (change.kind === 'inode' && change.inode.kind === 'file') this.bytes += change.inode.size
    }
    const { maxEntries, maxTotalBytes, maxMetadataBytes } = this.#limits
    if (this.entries > maxEntries) throw this.#tooMuch(`it has more than ${maxEntries} entries`)
    if (this.bytes > maxTotalBytes) throw this.#tooMuch(`its files hold more than ${maxTotalBytes} bytes`)
    if (this.#metadataBytes > maxMetadataBytes) {
      const cause = `its names, link targets and attributes take more than ${maxMetadataBytes} bytes of memory`
      throw this.#tooMuch(cause)
    }
  }

  /** Told of the components that something is looked up by. */
  readonly #step = (count: number): void => {
    this.#steps += count
    if (this.#steps > STEPS + STEPS_PER_ENTRY * this.entries)
      throw this.#tooMuch('its names lead through too many directories and symlinks')
  }

  readonly #made = (): void => {
    const most = Math.floor(this.#limits.maxEntries / IMPLICIT_SHARE)
    if (++this.#implicit > most)
      throw this.#tooMuch(`its names speak of more than ${most} directories that no layer describes,`)
  }

  #tooMuch(cause: string): ImageError {
    return tooMuch(`${cause} up to layer ${this.#number}`)
  }

  #walk(path: CleanPath, how: WalkOptions = {}): Directory | undefined {
    return walkToDirectory(this.root, path, { onSteps: this.#step, ...how })
  }

  /**
   * Hard links to files that only lower layers have, looked up before this layer's whiteouts can take the name away: a
   * layer that renames a file says "link new to old" and "old is gone", in either order.
   */
  *#rememberLinkTargets(changes: readonly LayerChange[]): Steps<LinkTargets | null> {
    let kept: Map<string, Inode> | null = null
    for (let at = 0; at < changes.length; at++) {
      if (at % SLICE === 0) yield
      const change = changes[at]!
      const found = change.kind === 'hardlink' ? this.#find(change.target) : undefined
      if (change.kind !== 'hardlink' || found === undefined) continue
      kept ??= new Map()
      kept.set(keyOf(change.target), found)
    }
    return kept
  }

  *#applyMarkers(changes: readonly LayerChange[], own: OwnPaths): Steps<void> {
    // All are looked up before any acts: one marker may remove a symlink that another goes through.
    const acts: (() => void)[] = []
    for (let at = 0; at < changes.length; at++) {
      if (at % SLICE === 0) yield
      const change = changes[at]!
      if (change.kind === 'whiteout') {
        const parent = this.#lowerDirectory(change.parent, own)
        if (parent !== undefined) acts.push(() => parent.children.delete(change.name))
      } else if (change.kind === 'opaque') {
        const directory = this.#lowerDirectory(change.path, own)
        if (directory !== undefined) acts.push(() => directory.children.clear())
      }
    }
    for (const act of acts) act()
  }

  /**
   * The directory of the lower layers that a marker speaks of, or undefined when there is none.
   *
   * Where this layer puts something of its own in place of a lower symlink, the symlink's target is not meant any more.
   */
  #lowerDirectory(path: CleanPath, own: OwnPaths): Directory | undefined {
    const replaced = (walked: CleanPath): boolean => {
      const kind = own.get(keyOf(walked))
      return kind !== undefined && kind !== 'symlink'
    }
    return this.#walk(path, { replaced })
  }

  #add(change: LayerChange, kept: LinkTargets | null): void {
    switch (change.kind) {
      case 'whiteout':
      case 'opaque':
        return
      case 'inode':
        return this.#place(change.path, change.inode)
      case 'hardlink': {
        const target = this.#find(change.target) ?? kept?.get(keyOf(change.target))
        if (target === undefined)
          throw this.#refused(change.path, `its link target ${show(change.target)} does not exist`)
        if (target.kind === 'directory') {
          throw this.#refused(change.path, `its link target ${show(change.target)} is a directory`)
        }
        return this.#place(change.path, target)
      }
      default:
        change satisfies never
    }
  }

  #place(path: CleanPath, inode: Inode): void {
    const name = path.at(-1)
    if (name === undefined) {
      if (inode.kind !== 'directory') throw this.#refused(path, 'the root can only be a directory')
      this.root = { ...inode, children: this.root.children }
      return
    }
    const parent = this.#makeParent(path)
    if (inode.kind !== 'directory') {
      parent.children.set(name, inode)
      return
    }
    const before = parent.children.get(name)
    // Copied: the change may be applied again, and its Map must not be shared by two trees.
    const children = before?.kind === 'directory' ? before.children : new Map<ByteString, Inode>()
    parent.children.set(name, { ...inode, children })
  }

  /** The directory that the last component goes to; missing ones on the way are made. */
  #makeParent(path: CleanPath): Directory {
    this.#step(path.length)
    let at = this.root
    let plain = true
    for (let i = 0; i < path.length - 1 && plain; i++) {
      const next = at.children.get(path[i]!)
      if (next?.kind === 'directory') at = next
      else plain = false
    }
    if (plain) return at
    const { maxDepth } = this.#limits
    const onDepth = (depth: number) => {
      if (depth < maxDepth) return
      throw this.#refused(path, `it would stand more than ${maxDepth} levels deep`, 'limit-exceeded')
    }
    const parent = this.#walk(path.slice(0, -1), { onMade: this.#made, onDepth })
    if (parent === undefined)
      throw this.#refused(path, 'a parent of it is not a directory or a symlink that leads nowhere')
    return parent
  }

  /** What a path names, its last component not followed. */
  #find(path: CleanPath): Inode | undefined {
    const name = path.at(-1)
    if (name === undefined) return this.root
    return this.#walk(path.slice(0, -1))?.children.get(name)
  }

  #refused(
    path: CleanPath,
    cause: string,
    code: 'layer-invalid' | 'limit-exceeded' = 'layer-invalid',
  ): ImageError {
    const entry = printable(path.join('/') as ByteString)
    const layer = this.#number
    return new ImageError(code, `Cannot apply entry "/${entry}" of layer ${layer}: ${cause}`, {
      facts: { entry, layer, cause },
    })
  }
}

/** Files of lower layers by the path that a hard link names them by. */
type LinkTargets = ReadonlyMap<string, Inode>

/** What a layer itself puts at each path. */
type OwnPaths = ReadonlyMap<string, NonDirectory['kind'] | 'directory' | 'hardlink'>

function ownPaths(changes: readonly LayerChange[]): OwnPaths {
  const own = new Map<string, NonDirectory['kind'] | 'directory' | 'hardlink'>()
  for (const change of changes) {
    if (change.kind === 'inode') own.set(keyOf(change.path), change.inode.kind)
    else if (change.kind === 'hardlink') own.set(keyOf(change.path), 'hardlink')
  }
  return own
}

function keyOf(path: CleanPath): string {
  return path.join('/')
}

function show(path: CleanPath): string {
  return `"/${printable(path.join('/') as ByteString)}"`
}

function tooMuch(cause: string): ImageError {
  return new ImageError('limit-exceeded', `Cannot accept the image: ${cause}`, { facts: { cause } })
}
