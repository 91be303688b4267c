/**
 * The limits of what an image can hold, node by node. Whether nodes make a tree is looked after in tree-walk.ts.
 */
import type { ByteString } from '../bytes.js'
import { NodeFault, shown } from './faults.js'
import { type ComposefsNode, isBacked } from './node.js'

export const MAX_NAME_BYTES = 255
export const MAX_PAYLOAD_BYTES = 4095
export const MAX_CONTENT_BYTES = 5000
const MAX_XATTR_KEY_BYTES = 255
const MAX_XATTR_VALUE_BYTES = 65_535
/** What the xattrs of one inode may cost together: half of what EROFS has room for, the rest is for those of overlayfs. */
export const MAX_XATTR_COST = 32_767
/** 1024 chunks of the largest kind. */
export const MAX_BACKED_BYTES = 2 ** 53

const MAX_U32 = 0xffff_ffff
const MAX_U64 = 0xffff_ffff_ffff_ffffn
const MAX_I64 = 0x7fff_ffff_ffff_ffffn
const NOT_A_STRING = /[\0\u0100-\uffff]/ // the format ends strings with NUL; other chars than bytes are a caller's mistake
const NOT_A_NAME = /[/\0\u0100-\uffff]/
const NOT_BYTES = /[\u0100-\uffff]/

/** @throws {NodeFault} when no image can hold the node, its digest aside */
export function checkNode(node: ComposefsNode): void {
  if (!isUint32(node.nlink)) throw outOfRange('link count', node.nlink)
  if (!isUint32(node.uid)) throw outOfRange('uid', node.uid)
  if (!isUint32(node.gid)) throw outOfRange('gid', node.gid)
  if (!isUint32(node.rdev)) throw outOfRange('device number', node.rdev)
  if (!isUint32(node.mtimeNanoseconds)) throw outOfRange('number of nanoseconds', node.mtimeNanoseconds)
  if (node.mtimeSeconds > MAX_I64 || node.mtimeSeconds < -MAX_I64 - 1n) {
    throw new NodeFault('ERANGE', `its time is ${node.mtimeSeconds}, and seconds have 64 bits`)
  }
  checkSize(node)
  const { kind, mode } = node
  if (!Number.isInteger(mode) || mode < 0 || mode > 0o7777) {
    throw new NodeFault('EINVAL', `it is a ${kind} of mode ${mode.toString(8)}; modes end at 7777`)
  }
  if (kind === 'symlink' || kind === 'file') checkPayload(node)
  if (kind === 'file') checkContent(node)
  if ((node.children === null) === (kind === 'directory')) {
    const cause =
      kind === 'directory'
        ? 'it is a directory without entries of any kind, null'
        : `it is a ${kind} with entries`
    throw new NodeFault('ENOTDIR', cause)
  }
  if (node.xattrs.size > 0) checkXattrs(node.xattrs)
}

/** @throws {NodeFault} when no directory can hold the name */
export function checkName(name: ByteString): void {
  if (name.length > MAX_NAME_BYTES) {
    throw new NodeFault(
      'ENAMETOOLONG',
      `its name has ${name.length} bytes, and names end at ${MAX_NAME_BYTES}`,
    )
  }
  if (name === '' || name === '.' || name === '..')
    throw new NodeFault('EINVAL', `"${name}" is no name of an entry`)
  if (NOT_A_NAME.test(name)) throw new NodeFault('EINVAL', 'its name holds "/", NUL or what is no byte')
}

/** What an xattr costs of MAX_XATTR_COST; the first costs XATTR_BASE_COST more. */
export function xattrCost(keyLength: number, valueLength: number): number {
  return 7 + keyLength + valueLength
}

export const XATTR_BASE_COST = 12

/** @throws {NodeFault} when EROFS cannot hold the xattr */
export function checkXattr(key: ByteString, valueLength: number): void {
  if (key.length === 0 || key.length > MAX_XATTR_KEY_BYTES) {
    const cause = `the name of the xattr "${shown(key)}" has ${key.length} bytes; 1 to ${MAX_XATTR_KEY_BYTES} are possible`
    throw new NodeFault('ERANGE', cause)
  }
  if (valueLength > MAX_XATTR_VALUE_BYTES) {
    const cause = `the value of the xattr "${shown(key)}" has ${valueLength} bytes, and values end at ${MAX_XATTR_VALUE_BYTES}`
    throw new NodeFault('EINVAL', cause)
  }
}

export function xattrsTooLarge(cost: number): NodeFault {
  return new NodeFault('ERANGE', `its xattrs take ${cost} bytes together, and ${MAX_XATTR_COST} are possible`)
}

/** Objects of two algorithms would not be found in one place, so one image has digests of one length. */
export class DigestLength {
  #length = 0

  /** @throws {NodeFault} when digests have another length */
  check({ length }: string): void {
    if (length === this.#length) return
    // What digests are made of is looked at where they are made.
    if (length !== 64 && length !== 128)
      throw new NodeFault('EINVAL', `its digest has ${length} hex digits, not 64 or 128`)
    if (this.#length !== 0) {
      throw new NodeFault('EINVAL', 'its digest is by another algorithm than those of other files')
    }
    this.#length = length
  }
}

function checkXattrs(xattrs: ReadonlyMap<ByteString, ByteString>): void {
  let cost = XATTR_BASE_COST
  for (const [key, value] of xattrs) {
    checkXattr(key, value.length)
    if (NOT_A_STRING.test(key) || NOT_BYTES.test(value)) {
      throw new NodeFault('EINVAL', `the xattr "${shown(key)}" holds what is no byte, or NUL in its name`)
    }
    cost += xattrCost(key.length, value.length)
  }
  if (cost > MAX_XATTR_COST) throw xattrsTooLarge(cost)
}

function checkSize(node: ComposefsNode): void {
  const { size } = node
  const isSize =
    typeof size === 'bigint' ? size >= 0n && size <= MAX_U64 : Number.isInteger(size) && size >= 0
  if (!isSize || size > MAX_U64) throw new NodeFault('EINVAL', `its size is ${size}, and sizes have 64 bits`)
  if (size > MAX_BACKED_BYTES && isBacked(node)) {
    throw new NodeFault('EFBIG', `its size is ${size}, and files end at ${MAX_BACKED_BYTES}`)
  }
}

function checkPayload({ kind, payload }: ComposefsNode): void {
  const what = kind === 'symlink' ? 'target' : 'backing path'
  if (payload === null || payload === '') {
    if (kind === 'symlink') throw new NodeFault('EINVAL', 'it is a symlink without a target')
    return
  }
  if (payload.length > MAX_PAYLOAD_BYTES) {
    const cause = `its ${what} has ${payload.length} bytes, and they end at ${MAX_PAYLOAD_BYTES}`
    throw new NodeFault('ENAMETOOLONG', cause)
  }
  if (NOT_A_STRING.test(payload)) throw new NodeFault('EINVAL', `its ${what} holds NUL or what is no byte`)
}

function checkContent({ content, size }: ComposefsNode): void {
  if (content !== null && content.length > 0) {
    if (content.length > MAX_CONTENT_BYTES) {
      const cause = `its content in the image has ${content.length} bytes, and that ends at ${MAX_CONTENT_BYTES}`
      throw new NodeFault('EINVAL', cause)
    }
    if (size !== content.length) {
      throw new NodeFault('EINVAL', `its size is ${size}, and its content has ${content.length} bytes`)
    }
  }
}

function isUint32(value: number): boolean {
  return Number.isInteger(value) && value >= 0 && value <= MAX_U32
}

function outOfRange(what: string, value: number): NodeFault {
  return new NodeFault('ERANGE', `its ${what} is ${value}, and it has 32 bits`)
}
