/**
 * Reading the trees that btrfs is made of, item by item. Only root may.
 */
import {
  BTRFS_FIRST_FREE_OBJECTID,
  BTRFS_IOC_TREE_SEARCH_V2,
  BTRFS_ROOT_REF_KEY,
  BTRFS_ROOT_TREE_OBJECTID,
  SEARCH_ARGS,
  SEARCH_HEADER,
} from './btrfs-constants.js'
import { failed, uninterrupted } from './files.js'

/** Where in a tree to look: keys are ordered by object, type and offset. */
export interface KeyRange {
  readonly tree: number
  readonly object: bigint
  readonly type: number
  /** All offsets when it is not given. */
  readonly offset?: bigint
}

export interface TreeItem {
  readonly object: bigint
  readonly offset: bigint
  /** Valid until the next item is asked for. */
  readonly data: Buffer
}

const BUFFER_BYTES = 16 * 1024
const MAX = 0xffff_ffff_ffff_ffffn
const MAX_SUBVOLUMES = 100_000 // in one place; somebody who makes more must not fill our memory

/**
 * The items of one object and type.
 *
 * @param fd any file of the filesystem
 * @throws ENOENT when there is no such tree, EPERM for all but root
 */
export function* treeItems(fd: number, range: KeyRange): Generator<TreeItem, void, void> {
  const last = range.offset ?? MAX
  for (let offset = range.offset ?? 0n; ; ) {
    const args = Buffer.alloc(SEARCH_ARGS.size + BUFFER_BYTES)
    args.writeBigUInt64LE(BigInt(range.tree), SEARCH_ARGS.tree)
    args.writeBigUInt64LE(range.object, SEARCH_ARGS.minObject)
    args.writeBigUInt64LE(range.object, SEARCH_ARGS.maxObject)
    args.writeBigUInt64LE(offset, SEARCH_ARGS.minOffset)
    args.writeBigUInt64LE(last, SEARCH_ARGS.maxOffset)
    args.writeBigUInt64LE(MAX, SEARCH_ARGS.maxTransaction)
    args.writeUInt32LE(range.type, SEARCH_ARGS.minType)
    args.writeUInt32LE(range.type, SEARCH_ARGS.maxType)
    args.writeUInt32LE(0xffff_ffff, SEARCH_ARGS.items)
    args.writeBigUInt64LE(BigInt(BUFFER_BYTES), SEARCH_ARGS.bufferSize)
    if (uninterrupted((libc) => libc.ioctlMemory(fd, BTRFS_IOC_TREE_SEARCH_V2, args)) < 0)
      failed('ioctl BTRFS_IOC_TREE_SEARCH_V2')
    const count = args.readUInt32LE(SEARCH_ARGS.items)
    if (count === 0) return
    let at = SEARCH_ARGS.size
    for (let i = 0; i < count; i++) {
      const length = args.readUInt32LE(at + SEARCH_HEADER.length)
      offset = args.readBigUInt64LE(at + SEARCH_HEADER.offset)
      const object = args.readBigUInt64LE(at + SEARCH_HEADER.object)
      const begins = at + SEARCH_HEADER.size
      at = begins + length
      yield { object, offset, data: args.subarray(begins, at) }
    }
    if (offset === last) return
    offset++
  }
}

/** The first item of an object and type; null when there is none. */
export function treeItem(fd: number, range: KeyRange): TreeItem | null {
  for (const item of treeItems(fd, range)) return item
  return null
}

/** The ids of all subvolumes that stand in a subvolume, at any depth; itself not among them. */
export function subvolumesIn(fd: number, id: bigint): bigint[] {
  const found: bigint[] = []
  for (const todo = [id]; todo.length > 0 && found.length < MAX_SUBVOLUMES; ) {
    const range = { tree: BTRFS_ROOT_TREE_OBJECTID, object: todo.pop()!, type: BTRFS_ROOT_REF_KEY }
    for (const { offset } of treeItems(fd, range)) {
      if (offset < BigInt(BTRFS_FIRST_FREE_OBJECTID)) continue
      found.push(offset)
      todo.push(offset)
    }
  }
  return found
}
