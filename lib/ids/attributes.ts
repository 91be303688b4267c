/**
 * Ids in the values of extended attributes: access lists (acl(5), linux/posix_acl_xattr.h) and capabilities of files
 * (capabilities(7), linux/capability.h). Values only: which file has them, and whether an id has a new one, callers know.
 *
 * Of a value that does not have its form nobody can say which ids are in it; the answer is null.
 */
import { type ByteString, fromBytes, toBytes } from '../bytes.js'

const ACL_VERSION = 2
const ACL_HEADER_BYTES = 4
const ACL_ENTRY_BYTES = 8
const ACL_USER = 0x02
const ACL_GROUP = 0x08

/** An access list with other ids for its named users and groups; its entries keep their order, as the kernel demands. */
export function mapAcl(
  value: ByteString,
  mapUser: (id: number) => number,
  mapGroup: (id: number) => number,
): ByteString | null {
  const bytes = toBytes(value)
  if (bytes.length < ACL_HEADER_BYTES || (bytes.length - ACL_HEADER_BYTES) % ACL_ENTRY_BYTES !== 0)
    return null
  if (bytes.readUInt32LE(0) !== ACL_VERSION) return null
  for (let at = ACL_HEADER_BYTES; at < bytes.length; at += ACL_ENTRY_BYTES) {
    const tag = bytes.readUInt16LE(at)
    if (tag === ACL_USER) bytes.writeUInt32LE(mapUser(bytes.readUInt32LE(at + 4)), at + 4)
    else if (tag === ACL_GROUP) bytes.writeUInt32LE(mapGroup(bytes.readUInt32LE(at + 4)), at + 4)
  }
  return fromBytes(bytes)
}

const REVISION_MASK = 0xff00_0000
const REVISION_2 = 0x0200_0000
const REVISION_3 = 0x0300_0000
/** Bytes of each revision: its number, 32 or 64 bits of two sets, and with the third the user who is root. */
const REVISION_BYTES: ReadonlyMap<number, number> = new Map([
  [0x0100_0000, 12],
  [REVISION_2, 20],
  [REVISION_3, 24],
])
const ROOT_ID_AT = 20

/**
 * Capabilities that count in namespaces whose root is another user than before; what names no user means user 0.
 *
 * Without a user they would count in every namespace, the host's own among them, for whoever can run the file there.
 *
 * @param mapRoot the new user; `null` to have nobody: then the result is `none`
 */
export function mapCapability(
  value: ByteString,
  mapRoot: (id: number) => number | null,
): ByteString | 'none' | null {
  const bytes = toBytes(value)
  if (bytes.length < 4) return null
  const magic = bytes.readUInt32LE(0)
  const revision = (magic & REVISION_MASK) >>> 0
  if (REVISION_BYTES.get(revision) !== bytes.length) return null
  const root = mapRoot(revision === REVISION_3 ? bytes.readUInt32LE(ROOT_ID_AT) : 0)
  if (root === null) return 'none'
  // The kernel takes user 0 for none, and shows the shorter form of it.
  const mapped = Buffer.alloc(root === 0 ? ROOT_ID_AT : ROOT_ID_AT + 4)
  bytes.copy(mapped, 0, 0, Math.min(bytes.length, ROOT_ID_AT))
  const flags = (magic & ~REVISION_MASK) >>> 0
  mapped.writeUInt32LE(((root === 0 ? REVISION_2 : REVISION_3) | flags) >>> 0, 0)
  if (root !== 0) mapped.writeUInt32LE(root, ROOT_ID_AT)
  return fromBytes(mapped)
}
