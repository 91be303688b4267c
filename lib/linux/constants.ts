/**
 * Numbers of the kernel's interface. Those that differ between architectures come from Node, which was compiled there;
 * the others are the same on all that groot supports (checked against the kernel's headers by the layout test).
 */
import { constants as fs } from 'node:fs'

export const O_RDONLY = fs.O_RDONLY
export const O_WRONLY = fs.O_WRONLY
export const O_RDWR = fs.O_RDWR
export const O_CREAT = fs.O_CREAT
export const O_EXCL = fs.O_EXCL
export const O_NONBLOCK = fs.O_NONBLOCK
export const O_NOFOLLOW = fs.O_NOFOLLOW
export const O_DIRECTORY = fs.O_DIRECTORY
export const O_NOATIME = fs.O_NOATIME
export const O_CLOEXEC = 0o2000000
export const O_PATH = 0o10000000

export const AT_FDCWD = -100
export const AT_SYMLINK_NOFOLLOW = 0x100
export const AT_REMOVEDIR = 0x200
export const AT_NO_AUTOMOUNT = 0x800
export const AT_EMPTY_PATH = 0x1000

export const RENAME_NOREPLACE = 1
export const RENAME_EXCHANGE = 2

export const SEEK_SET = 0
export const SEEK_END = 2
export const SEEK_DATA = 3
export const SEEK_HOLE = 4

export const FICLONE = 0x40049409

export const SYNC_FILE_RANGE_WAIT_BEFORE = 1
export const SYNC_FILE_RANGE_WRITE = 2
export const SYNC_FILE_RANGE_WAIT_AFTER = 4

export const LOCK_SH = 1
export const LOCK_EX = 2
export const LOCK_NB = 4
export const LOCK_UN = 8

/** fsconfig(2): what a call does with its key and value (linux/mount.h). */
export const FSCONFIG = { setFlag: 0, setString: 1, create: 6 } as const
export const FSOPEN_CLOEXEC = 1
export const FSMOUNT_CLOEXEC = 1
export const MOUNT_ATTR_RDONLY = 1
export const MOVE_MOUNT_F_EMPTY_PATH = 4
export const MNT_DETACH = 2
export const UMOUNT_NOFOLLOW = 8
export const OPEN_TREE_CLONE = 1
export const OPEN_TREE_CLOEXEC = 0o2000000

/** linux/fsverity.h; the numbers carry the sizes of the structures. */
export const FS_IOC_ENABLE_VERITY = 0x40806685
export const FS_IOC_MEASURE_VERITY = 0xc0046686
/** struct fsverity_enable_arg and struct fsverity_digest. */
export const VERITY_ENABLE = { size: 128, version: 0, algorithm: 4, blockSize: 8 } as const
export const VERITY_DIGEST = { algorithm: 0, size: 2, digest: 4 } as const

/** linux/loop.h */
export const LOOP_CTL_GET_FREE = 0x4c82
export const LOOP_CONFIGURE = 0x4c0a
export const LOOP_SET_CAPACITY = 0x4c07
export const LOOP_GET_STATUS64 = 0x4c05
export const LO_FLAGS_READ_ONLY = 1
export const LO_FLAGS_AUTOCLEAR = 4
/** struct loop_info64, as far as it is looked at. */
export const LOOP_INFO64 = { size: 232, device: 0, inode: 8 } as const
/** struct loop_config; `flags` is that of the struct loop_info64 in it. */
export const LOOP_CONFIG = { size: 304, fd: 0, blockSize: 4, flags: 60 } as const

/** linux/fs.h: attributes of files, the project that they are counted for among them. */
export const FS_IOC_FSGETXATTR = 0x801c581f
export const FS_IOC_FSSETXATTR = 0x401c5820
export const FS_XFLAG_PROJINHERIT = 0x200
/** struct fsxattr */
export const FSXATTR = { size: 28, flags: 0, project: 12 } as const

/** linux/dqblk_xfs.h, which is the interface to quotas of all filesystems; space is counted in units of 512 bytes. */
export const PRJQUOTA = 2
export const Q_XGETQUOTA = 0x5803
export const Q_XSETQLIM = 0x5804
export const Q_XGETQSTATV = 0x5808
export const FS_PROJ_QUOTA = 2
export const FS_DQUOT_VERSION = 1
export const FS_QSTATV_VERSION1 = 1
export const FS_QUOTA_PDQ_ACCT = 0x10
export const FS_QUOTA_PDQ_ENFD = 0x20
export const FS_DQ_BSOFT = 4
export const FS_DQ_BHARD = 8
/** struct fs_disk_quota */
export const DISK_QUOTA = {
  size: 112,
  version: 0,
  flags: 1,
  fields: 2,
  id: 4,
  hardBlocks: 8,
  softBlocks: 16,
  blocks: 40,
  inodes: 48,
} as const
/** struct fs_quota_statv */
export const QUOTA_STAT = { size: 160, version: 0, flags: 2 } as const

/** fs/ext4/ext4.h: grows a mounted filesystem to a number of blocks. */
export const EXT4_IOC_RESIZE_FS = 0x40086610

/** File types in the upper bits of a mode. */
export const S_IFMT = 0o170000
export const S_IFSOCK = 0o140000
export const S_IFLNK = 0o120000
export const S_IFREG = 0o100000
export const S_IFBLK = 0o060000
export const S_IFDIR = 0o040000
export const S_IFCHR = 0o020000
export const S_IFIFO = 0o010000

export const STATX_SIZE = 0x200
export const STATX_BASIC_STATS = 0x7ff
export const STATX_MNT_ID = 0x1000
export const STATX_ATTR_MOUNT_ROOT = 0x2000

/** struct statx (linux/stat.h): offsets of what is read. */
export const STATX = {
  size: 256,
  mask: 0,
  attributes: 8,
  nlink: 16,
  uid: 20,
  gid: 24,
  mode: 28,
  ino: 32,
  fileSize: 40,
  blocks: 48,
  attributesMask: 56,
  mtimeSeconds: 112,
  mtimeNanoseconds: 120,
  rdevMajor: 128,
  rdevMinor: 132,
  devMajor: 136,
  devMinor: 140,
  mountId: 144,
} as const

/** struct timespec, with 64-bit times. */
export const TIMESPEC = { size: 16, seconds: 0, nanoseconds: 8 } as const

/** struct statfs (asm/statfs.h, the 64-bit form). */
export const STATFS = {
  size: 120,
  type: 0,
  blocks: 16,
  blocksFree: 24,
  blocksAvailable: 32,
  files: 40,
  filesFree: 48,
  fragmentSize: 72,
} as const

/** struct linux_dirent64: the fixed part before the name. */
export const DIRENT = { ino: 0, recordLength: 16, type: 18, name: 19 } as const

/** sys/mman.h */
export const PROT_READ = 1
export const PROT_WRITE = 2
export const MAP_SHARED = 1

/** linux/io_uring.h */
export const IORING_OFF_SQ_RING = 0
export const IORING_OFF_SQES = 0x10000000
export const IORING_FEAT_SINGLE_MMAP = 1
export const IORING_SETUP_COOP_TASKRUN = 0x100
export const IORING_SETUP_SINGLE_ISSUER = 0x1000
export const IORING_SETUP_DEFER_TASKRUN = 0x2000
export const IORING_ENTER_GETEVENTS = 1
export const IORING_REGISTER_FILES2 = 13
export const IORING_REGISTER_IOWQ_MAX_WORKERS = 19
export const IORING_RSRC_REGISTER_SPARSE = 1
export const IOSQE_FIXED_FILE = 1
export const IOSQE_IO_LINK = 4
export const IORING_OP_OPENAT = 18
export const IORING_OP_CLOSE = 19
export const IORING_OP_WRITE = 23
/** struct io_uring_params, with struct io_sqring_offsets and struct io_cqring_offsets. */
export const URING_PARAMS = {
  size: 120,
  sqEntries: 0,
  cqEntries: 4,
  flags: 8,
  features: 20,
  sqTail: 44,
  sqArray: 64,
  cqHead: 80,
  cqTail: 84,
  cqes: 100,
} as const
/** struct io_uring_sqe */
export const URING_SQE = {
  size: 64,
  opcode: 0,
  flags: 1,
  fd: 4,
  offset: 8,
  address: 16,
  length: 24,
  openFlags: 28,
  userData: 32,
  fileIndex: 44,
} as const
/** struct io_uring_cqe */
export const URING_CQE = { size: 16, userData: 0, result: 8 } as const
/** struct io_uring_rsrc_register */
export const URING_REGISTER = { size: 32, count: 0, flags: 4 } as const
