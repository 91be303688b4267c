import { describe, expect, it } from 'vitest'
import { byteString } from '../../../lib/bytes.js'
import { keepXattr, whyDropped, XATTR_RULES } from '../../../lib/layer/xattr-policy.js'

describe('keepXattr', () => {
  it.each([
    'user.note',
    'user.overlay',
    'user.overlays.x',
    'user.containers.other',
    'user.overlay.opaque',
    'trusted.overlay.redirect',
    'trusted.overlay.overlay.opaque',
    'security.capability',
    'trusted.md5',
    'trusted.overlayfs',
    'system.posix_acl_access',
    'system.posix_acl_default',
  ])('keeps %s', (name) => {
    expect(keepXattr(byteString(name))).toBe(true)
  })

  it.each([
    'user.fuseoverlayfs.opaque',
    'user.containers.override_stat',
    'user.rootlesscontainers',
    'security.selinux',
    'security.ima',
    'security.evm',
    'security.other',
    'security.capability2',
    'system.nfs4_acl',
    'btrfs.compression',
    'USER.note',
    'user',
    'user.',
    'trusted.',
    '',
  ])('drops %j', (name) => {
    expect(keepXattr(byteString(name))).toBe(false)
  })

  it('has a reason for each rule', () => {
    for (const rule of XATTR_RULES) expect(rule.why).not.toBe('')
  })
})

describe('whyDropped', () => {
  it('drops names of overlayfs that could not be escaped', () => {
    for (const prefix of ['trusted.overlay.', 'user.overlay.']) {
      expect(whyDropped(byteString(prefix.padEnd(247, 'x')), 'file')).toBeNull()
      expect(whyDropped(byteString(prefix.padEnd(248, 'x')), 'file')).toMatch(/too long/)
    }
  })

  const kinds = ['file', 'directory', 'symlink', 'char', 'block', 'fifo', 'socket'] as const
  const keptOn = (name: string) => kinds.filter((kind) => whyDropped(byteString(name), kind) === null)

  it('keeps what the kernel takes for a kind of file', () => {
    expect(keptOn('user.note')).toEqual(['file', 'directory'])
    expect(keptOn('trusted.note')).toEqual(kinds)
    expect(keptOn('security.capability')).toEqual(kinds)
    expect(keptOn('system.posix_acl_default')).toEqual(['directory'])
    expect(keptOn('system.posix_acl_access')).toEqual(kinds.filter((kind) => kind !== 'symlink'))
  })

  it('says why', () => {
    expect(whyDropped(byteString('user.note'), 'symlink')).toBe(
      'only files and directories have attributes of users',
    )
    expect(whyDropped(byteString('system.nfs4_acl'), 'file')).toBe(
      'its namespace is not one that images may set',
    )
  })
})
