/**
 * Merging: layers, as lists of changes, become one tree (image-spec, layer.md, "Applying Changesets").
 *
 * Everything that a hostile layer can play with — links in parents, whiteouts, replaced types — is settled here, in
 * memory, where there is nothing to escape to. The result depends on the order of entries in a layer as far as later
 * entries replace earlier ones, and not on where its whiteouts stand.
 */
import { type ByteString, printable } from '../bytes.js'
import { ImageError } from '../errors.js'
import type { CleanPath, LayerChange } from './change.js'
import { type Directory, IMPLICIT_DIRECTORY, type Inode, type NonDirectory, type Tree } from './model.js'
import { walkToDirectory } from './walk.js'

/** Caps on the merged tree; see LayerLimits. */
export interface MergeLimits {
  readonly maxEntries: number
  readonly maxTotalBytes: number
}

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

/** A merge to which layers are added one by one. */
export class Merger {
  root: Directory = { ...IMPLICIT_DIRECTORY, kind: 'directory', children: new Map() }
  entries = 0
  bytes = 0
  readonly #limits: MergeLimits

  constructor(limits: MergeLimits) {
    this.#limits = limits
  }

  /** @param number position of the layer, base is 0; for messages */
  apply(changes: readonly LayerChange[], number: number): void {
    this.#count(changes, number)
    const own = number === 0 ? null : ownPaths(changes)
    if (own !== null) {
      const kept = this.#rememberLinkTargets(changes, own)
      this.#applyMarkers(changes, own)
      for (const change of changes) this.#add(change, number, kept)
    } else {
      for (const change of changes) this.#add(change, number, null)
    }
  }

  #count(changes: readonly LayerChange[], number: number): void {
    this.entries += changes.length
    for (const change of changes) {
      if (change.kind === 'inode' && change.inode.kind === 'file') this.bytes += change.inode.size
    }
    if (this.entries > this.#limits.maxEntries) {
      throw tooMuch(`it has more than ${this.#limits.maxEntries} entries up to layer ${number}`)
    }
    if (this.bytes > this.#limits.maxTotalBytes) {
      throw tooMuch(`its files hold more than ${this.#limits.maxTotalBytes} bytes up to layer ${number}`)
    }
  }

  /**
   * Hard links to files that only lower layers have, looked up before this layer's whiteouts can take the name away: a
   * layer that renames a file says "link new to old" and "old is gone", in either order.
   */
  #rememberLinkTargets(changes: readonly LayerChange[], own: OwnPaths): Map<string, Inode> | null {
    let kept: Map<string, Inode> | null = null
    for (const change of changes) {
      if (change.kind !== 'hardlink' || own.has(keyOf(change.target))) continue
      const found = this.#find(change.target)
      if (found === undefined) continue
      kept ??= new Map()
      kept.set(keyOf(change.target), found)
    }
    return kept
  }

  #applyMarkers(changes: readonly LayerChange[], own: OwnPaths): void {
    // All are looked up before any acts: one marker may remove a symlink that another goes through.
    const acts: (() => void)[] = []
    for (const change of changes) {
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
    return walkToDirectory(this.root, path, { replaced })
  }

  #add(change: LayerChange, number: number, kept: ReadonlyMap<string, Inode> | null): void {
    switch (change.kind) {
      case 'whiteout':
      case 'opaque':
        return
      case 'inode':
        return this.#place(change.path, change.inode, number)
      case 'hardlink': {
        const target = this.#find(change.target) ?? kept?.get(keyOf(change.target))
        if (target === undefined)
          throw refused(change.path, number, `its link target ${show(change.target)} does not exist`)
        if (target.kind === 'directory') {
          throw refused(change.path, number, `its link target ${show(change.target)} is a directory`)
        }
        return this.#place(change.path, target, number)
      }
      default:
        change satisfies never
    }
  }

  #place(path: CleanPath, inode: Inode, number: number): void {
    const name = path.at(-1)
    if (name === undefined) {
      if (inode.kind !== 'directory') throw refused(path, number, 'the root can only be a directory')
      this.root = { ...inode, children: this.root.children }
      return
    }
    const parent = this.#makeParent(path, number)
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
  #makeParent(path: CleanPath, number: number): Directory {
    let at = this.root
    let plain = true
    for (let i = 0; i < path.length - 1 && plain; i++) {
      const next = at.children.get(path[i]!)
      if (next?.kind === 'directory') at = next
      else plain = false
    }
    if (plain) return at
    const parent = walkToDirectory(this.root, path.slice(0, -1), { make: true })
    if (parent === undefined)
      throw refused(path, number, 'a parent of it is not a directory or a symlink that leads nowhere')
    return parent
  }

  /** What a path names, its last component not followed. */
  #find(path: CleanPath): Inode | undefined {
    const name = path.at(-1)
    if (name === undefined) return this.root
    return walkToDirectory(this.root, path.slice(0, -1))?.children.get(name)
  }
}

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

function refused(path: CleanPath, number: number, cause: string): ImageError {
  const entry = printable(path.join('/') as ByteString)
  return new ImageError('layer-invalid', `Cannot apply entry "/${entry}" of layer ${number}: ${cause}`, {
    facts: { entry, layer: number, cause },
  })
}

function tooMuch(cause: string): ImageError {
  return new ImageError('limit-exceeded', `Cannot accept the image: ${cause}`, { facts: { cause } })
}
