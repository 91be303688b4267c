/**
 * Numbers and structures of btrfs (linux/btrfs.h, linux/btrfs_tree.h), the same on all that groot supports; checked against the
 * kernel's headers by the layout test.
 */

/** Type of the filesystem as statfs(2) gives it. */
export const BTRFS_SUPER_MAGIC = 0x9123683e
/** Inode number of the top of every subvolume, and of nothing else in one. */
export const BTRFS_FIRST_FREE_OBJECTID = 256

/** The numbers carry the sizes of the structures. */
export const BTRFS_IOC_SNAP_DESTROY = 0x5000940f
export const BTRFS_IOC_SNAP_CREATE_V2 = 0x50009417
export const BTRFS_IOC_SUBVOL_CREATE_V2 = 0x50009418
export const BTRFS_IOC_SUBVOL_GETFLAGS = 0x80089419
export const BTRFS_IOC_SUBVOL_SETFLAGS = 0x4008941a
export const BTRFS_IOC_TREE_SEARCH_V2 = 0xc0709411
export const BTRFS_IOC_INO_LOOKUP = 0xd0009412
export const BTRFS_IOC_FS_INFO = 0x8400941f
export const BTRFS_IOC_QUOTA_CTL = 0xc0109428
export const BTRFS_IOC_QGROUP_ASSIGN = 0x40189429
export const BTRFS_IOC_QGROUP_CREATE = 0x4010942a
export const BTRFS_IOC_QGROUP_LIMIT = 0x8030942b
export const BTRFS_IOC_GET_SUBVOL_INFO = 0x81f8943c

export const BTRFS_SUBVOL_RDONLY = 2
export const BTRFS_SUBVOL_QGROUP_INHERIT = 4

/** Since Linux 6.7; headers of before do not have it. */
export const QUOTA_CTL_ENABLE_SIMPLE = 4
export const BTRFS_QGROUP_LIMIT_MAX_RFER = 1
export const BTRFS_QGROUP_LIMIT_MAX_EXCL = 2

export const BTRFS_ROOT_TREE_OBJECTID = 1
export const BTRFS_QUOTA_TREE_OBJECTID = 8
export const BTRFS_ROOT_REF_KEY = 156
export const BTRFS_QGROUP_STATUS_KEY = 240
export const BTRFS_QGROUP_INFO_KEY = 242
export const BTRFS_QGROUP_LIMIT_KEY = 244
export const BTRFS_QGROUP_RELATION_KEY = 246

/** Flags of the status item. */
export const BTRFS_QGROUP_STATUS_FLAG_ON = 1
export const BTRFS_QGROUP_STATUS_FLAG_RESCAN = 2
export const BTRFS_QGROUP_STATUS_FLAG_INCONSISTENT = 4
/** Since Linux 6.7. */
export const QGROUP_STATUS_FLAG_SIMPLE = 8

/** struct btrfs_ioctl_vol_args */
export const VOL_ARGS = { size: 4096, fd: 0, name: 8 } as const
/** struct btrfs_ioctl_vol_args_v2 */
export const VOL_ARGS_V2 = { size: 4096, fd: 0, flags: 16, inheritSize: 24, inherit: 32, name: 56 } as const
/** struct btrfs_qgroup_inherit, whose list of groups follows. */
export const QGROUP_INHERIT = { size: 72, groups: 8 } as const
/** struct btrfs_qgroup_limit, also as an item of the quota tree. */
export const QGROUP_LIMIT = { size: 40, flags: 0, referenced: 8, exclusive: 16 } as const
/** struct btrfs_ioctl_qgroup_limit_args */
export const QGROUP_LIMIT_ARGS = { size: 48, group: 0, limit: 8 } as const
/** struct btrfs_qgroup_info_item */
export const QGROUP_INFO = { size: 40, referenced: 8, exclusive: 24 } as const
/** struct btrfs_qgroup_status_item; `enabledAt` since Linux 6.7, behind what older headers have. */
export const QGROUP_STATUS = { flags: 16, enabledAt: 32 } as const
/** struct btrfs_ioctl_search_args_v2 with the key at its beginning, and struct btrfs_ioctl_search_header. */
export const SEARCH_ARGS = {
  size: 112,
  tree: 0,
  minObject: 8,
  maxObject: 16,
  minOffset: 24,
  maxOffset: 32,
  minTransaction: 40,
  maxTransaction: 48,
  minType: 56,
  maxType: 60,
  items: 64,
  bufferSize: 104,
} as const
export const SEARCH_HEADER = { size: 32, object: 8, offset: 16, type: 24, length: 28 } as const
/** struct btrfs_ioctl_ino_lookup_args */
export const INO_LOOKUP = { size: 4096, tree: 0, object: 8 } as const
/** struct btrfs_ioctl_get_subvol_info_args */
export const SUBVOL_INFO = { size: 504, id: 0, createdAt: 352 } as const
/** struct btrfs_ioctl_fs_info_args */
export const FS_INFO = { size: 1024, nodeSize: 32 } as const

/** linux/fiemap.h */
export const FS_IOC_FIEMAP = 0xc020660b
export const FIEMAP_FLAG_SYNC = 1
export const FIEMAP_EXTENT_LAST = 1
export const FIEMAP_EXTENT_DATA_INLINE = 0x200
export const FIEMAP_EXTENT_SHARED = 0x2000
/** struct fiemap, whose list of extents follows, and struct fiemap_extent. */
export const FIEMAP = { size: 32, start: 0, length: 8, flags: 16, mapped: 20, count: 24 } as const
export const FIEMAP_EXTENT = { size: 56, logical: 0, length: 16, flags: 40 } as const
