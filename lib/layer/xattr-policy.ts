/**
 * Which extended attributes of an image reach a root filesystem (hardening rules 11 and 12).
 *
 * An allow list: what is not named here is dropped and reported. Values are bytes and never looked at.
 */
import type { ByteString } from '../bytes.js'
import type { Inode } from '../tree/model.js'

export interface XattrRule {
  /** A whole name, or the start of names when it ends with a dot. */
  readonly match: string
  readonly keep: boolean
  readonly why: string
}

/** The first rule that matches decides; a name that none matches is dropped. */
export const XATTR_RULES: readonly XattrRule[] = [
  { match: 'user.fuseoverlayfs.', keep: false, why: 'fuse-overlayfs would obey it' },
  {
    match: 'user.containers.override_stat',
    keep: false,
    why: 'fuse-overlayfs would show another owner and mode',
  },
  {
    match: 'user.rootlesscontainers',
    keep: false,
    why: 'tools for rootless containers would show another owner',
  },
  { match: 'user.', keep: true, why: 'belongs to programs' },
  {
    match: 'security.capability',
    keep: true,
    why: 'the privileges of a program, as much its own as a set-user-id bit',
  },
  {
    match: 'trusted.',
    keep: true,
    why: 'belongs to privileged programs; what overlayfs would obey is escaped on its way to a disk',
  },
  { match: 'system.posix_acl_access', keep: true, why: 'permissions of the file' },
  { match: 'system.posix_acl_default', keep: true, why: 'permissions of files made in the directory' },
  { match: 'security.selinux', keep: false, why: 'labels are the choice of the host, by its own policy' },
  {
    match: 'security.ima',
    keep: false,
    why: 'a signature for another machine; a wrong one makes the file unreadable',
  },
  { match: 'security.evm', keep: false, why: 'sealed with the key of another machine' },
]

const MAX_NAME = 255 // XATTR_NAME_MAX
const OVERLAY_LEVEL = 'overlay.'.length // what one more level adds

/** Why names that no rule matches are dropped. */
const NOT_LISTED = 'its namespace is not one that images may set'

/** Whether an attribute of this name may come out of an image. */
export function keepXattr(name: ByteString): boolean {
  return findRule(name)?.keep ?? false
}

/** Why an attribute is dropped from an inode of this kind; null when it is kept. */
export function whyDropped(name: ByteString, kind: Inode['kind']): string | null {
  const rule = findRule(name)
  if (rule === undefined) return NOT_LISTED
  if (!rule.keep) return rule.why
  // The kernel refuses these, so that no driver could make them: xattr(7), acl(5).
  if (name.startsWith('user.') && kind !== 'file' && kind !== 'directory') {
    return 'only files and directories have attributes of users'
  }
  if (/^(?:trusted|user)\.overlay\./.test(name) && name.length > MAX_NAME - OVERLAY_LEVEL) {
    return 'its name would be too long when it is escaped'
  }
  if (name === 'system.posix_acl_default' && kind !== 'directory')
    return 'only directories have default permissions'
  if (name === 'system.posix_acl_access' && kind === 'symlink') return 'symlinks have no permissions'
  return null
}

function findRule(name: ByteString): XattrRule | undefined {
  return XATTR_RULES.find(({ match }) => {
    const isPrefix = match.endsWith('.')
    return isPrefix ? name.startsWith(match) && name.length > match.length : name === match
  })
}
