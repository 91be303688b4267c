/**
 * Mapping the owners of a tree: pure, a tree gives a tree.
 *
 * Ids stand in more places than owners: access lists name users and groups, and capabilities of a file name the user who
 * is root where they count. No id without a range passes: it is refused, or becomes the overflow id of the container.
 */
import { type ByteString, EMPTY, printable } from '../bytes.js'
import { ImageError } from '../errors.js'
import { mapAcl, mapCapability } from '../ids/attributes.js'
import { hostIdOf, type IdMapping, type IdRange, OVERFLOW_ID, rangesText } from '../ids/mapping.js'
import { shown } from './entry-refusals.js'
import type { Directory, Inode, Tree, Xattrs } from './model.js'

/**
 * The tree as the host has to have it, for a container whose ids are mapped.
 *
 * The given tree is left as it is; contents are shared with it. Names of one file stay names of one file.
 *
 * @throws {ImageError} `id-unmapped`: the facts name path, kind and id; `entry-refused` for attributes whose ids cannot be read
 */
export function mapOwners(tree: Tree, mapping: IdMapping): Tree {
  const mapper = new OwnerMapper(mapping)
  const made = new Map<Inode, Inode>()
  const root = mapper.directory(tree.root, EMPTY)
  const todo = [{ from: tree.root, to: root, path: EMPTY }]
  for (let next = todo.pop(); next !== undefined; next = todo.pop()) {
    for (const [name, inode] of next.from.children) {
      const path = (next.path === EMPTY ? name : `${next.path}/${name}`) as ByteString
      if (inode.kind === 'directory') {
        const to = mapper.directory(inode, path)
        next.to.children.set(name, to)
        todo.push({ from: inode, to, path })
        continue
      }
      let mapped = made.get(inode)
      if (mapped === undefined) {
        mapped = mapper.inode(inode, path)
        made.set(inode, mapped)
      }
      next.to.children.set(name, mapped)
    }
  }
  return { root }
}

type IdKind = 'uid' | 'gid'

class OwnerMapper {
  readonly #uids: IdMap
  readonly #gids: IdMap

  constructor({ uid, gid, unmapped }: IdMapping) {
    this.#uids = new IdMap('uid', uid, unmapped === 'squash')
    this.#gids = new IdMap('gid', gid, unmapped === 'squash')
  }

  /** Its children are for the caller to add. */
  directory(inode: Directory, path: ByteString): Directory {
    return { ...this.inode(inode, path), children: new Map() }
  }

  inode<T extends Inode>(inode: T, path: ByteString): T {
    const uid = this.#uids.owner(inode.uid, path)
    const gid = this.#gids.owner(inode.gid, path)
    if (inode.xattrs.size === 0) return { ...inode, uid, gid }
    return { ...inode, uid, gid, xattrs: this.#xattrs(inode.xattrs, path) }
  }

  #xattrs(xattrs: Xattrs, path: ByteString): Xattrs {
    let mapped: Map<ByteString, ByteString> | null = null
    for (const [name, value] of xattrs) {
      const found = this.#value(name, value, path)
      if (found === value) continue
      mapped ??= new Map(xattrs)
      if (found === 'none') mapped.delete(name)
      else mapped.set(name, found)
    }
    return mapped ?? xattrs
  }

  #value(name: ByteString, value: ByteString, path: ByteString): ByteString | 'none' {
    const mapped = this.#mapValue(name, value, path)
    if (mapped !== null) return mapped
    const entry = shown(path)
    throw new ImageError(
      'entry-refused',
      `Cannot map the ids of "${entry}": its attribute "${printable(name)}" does not have the form that the kernel gives it`,
      { facts: { entry, xattr: printable(name) } },
    )
  }

  #mapValue(name: ByteString, value: ByteString, path: ByteString): ByteString | 'none' | null {
    if (name === 'security.capability') return mapCapability(value, (id) => this.#uids.root(id, path))
    if (!name.startsWith('system.posix_acl_')) return value
    return mapAcl(
      value,
      (id) => this.#uids.owner(id, path),
      (id) => this.#gids.owner(id, path),
    )
  }
}

/** The ranges of one kind of ids, and what to do about ids that are in none. */
class IdMap {
  readonly #kind: IdKind
  readonly #ranges: readonly IdRange[]
  readonly #overflow: number | null
  // Nearly all files of an image belong to a few users.
  #lastId = -1
  #lastHostId = -1

  constructor(kind: IdKind, ranges: readonly IdRange[], squashes: boolean) {
    this.#kind = kind
    this.#ranges = ranges
    this.#overflow = squashes ? hostIdOf(ranges, OVERFLOW_ID) : null
  }

  owner(id: number, path: ByteString): number {
    if (id === this.#lastId) return this.#lastHostId
    const hostId = hostIdOf(this.#ranges, id) ?? this.#overflow
    if (hostId === null) throw this.#unmapped(id, path)
    this.#lastId = id
    this.#lastHostId = hostId
    return hostId
  }

  /** Whose namespaces capabilities count in; null for nobody: the overflow user is not to become anybody's root. */
  root(id: number, path: ByteString): number | null {
    const hostId = hostIdOf(this.#ranges, id)
    if (hostId === null && this.#overflow === null) throw this.#unmapped(id, path)
    return hostId
  }

  #unmapped(id: number, path: ByteString): ImageError {
    const entry = shown(path)
    const ranges = rangesText(this.#ranges)
    return new ImageError(
      'id-unmapped',
      `Cannot map the ids of "${entry}": ${this.#kind} ${id} is in no range of the mapping ${ranges}`,
      { facts: { entry, kind: this.#kind, id, ranges } },
    )
  }
}
