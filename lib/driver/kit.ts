/**
 * All that a driver may import: the contract, the errors, and the tools that drivers share. Built-in drivers import
 * nothing else of groot, and drivers from other packages get the same as `groot/driver-kit`.
 */

export { type ByteString, byteString } from '../bytes.js'
export { readHeader as readComposefsHeader } from '../composefs/format.js'
export { TreeImage } from '../composefs/tree-image.js'
export { VerityHasher, verityDigest } from '../composefs/verity.js'
export type { VerityDigest } from '../digest.js'
export * from '../errors.js'
export type { EventSink, GrootEvent } from '../events.js'
export { quotaState } from '../linux/btrfs-quota.js'
export {
  createSnapshot,
  createSubvolume,
  isBtrfs,
  setSubvolumeReadOnly,
} from '../linux/btrfs-subvolume.js'
export {
  composefsMountWays,
  mountImage,
  mountOverDirectories,
  mountOverImage,
  openImage,
} from '../linux/composefs-mount.js'
export { diskUsage, diskUsageInSlices } from '../linux/disk-usage.js'
export { extentUsage } from '../linux/extent-usage.js'
export { cloneMount, placeMount, settleMount, unmount } from '../linux/mount-context.js'
export { isMountPoint } from '../linux/mount-points.js'
export { namesIn } from '../linux/names.js'
export { forgetVolatile, type WritableLayers } from '../linux/overlay-mount.js'
export { removeAbandonedTree, removeTree, removeTreeInSlices } from '../linux/remove-tree.js'
export { runAtOnce, runInSlices, type Work } from '../linux/slices.js'
export { fileSize } from '../linux/stat.js'
export { syncDirectory, syncFilesystem, syncFilesystemOf } from '../linux/sync.js'
export { enableVerity, measureVerity } from '../linux/verity.js'
export { writeAll } from '../linux/write-all.js'
export { LimitedSpaces } from '../quota/limited-space.js'
export { SubvolumeLimits, usageByQuota } from '../quota/subvolume-limits.js'
export { BASE_ID } from '../store/base-id.js'
export { BUNDLE_ID } from '../store/bundle-id.js'
export { type ObjectReader, objectName } from '../store/objects.js'
export { contentsOf } from '../tree/contents.js'
export { type MaterialiseOptions, materialise } from '../tree/materialise.js'
export type * from '../tree/model.js'
export { openScanned, type ScannedEntry, scanDirectory } from '../tree/scan.js'
export { treeBytes, treeRoomBytes } from '../tree/size.js'
export { updateTree } from '../tree/update.js'
export { BaseNotes, baseDamaged, baseMissing } from './base-notes.js'
export type * from './contract.js'
export { LeftOut, type LeftOutKind, reportLeftOut } from './left-out.js'
export { makeProbeDirectory, type ProbeDirectory } from './probe-directory.js'
export { unmountRootfs } from './unmount-rootfs.js'
