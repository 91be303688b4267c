/**
 * All that a driver may import: the contract, the errors, and the tools that drivers share. Built-in drivers import
 * nothing else of groot, and drivers from other packages get the same as `groot/driver-kit`.
 */

export { byteString } from '../bytes.js'
export { readHeader as readComposefsHeader } from '../composefs/format.js'
export { TreeImage } from '../composefs/tree-image.js'
export { VerityHasher, verityDigest } from '../composefs/verity.js'
export type { VerityDigest } from '../digest.js'
export * from '../errors.js'
export type { EventSink, GrootEvent } from '../events.js'
export {
  composefsMountWays,
  mountComposefs,
  mountOverDirectories,
  openImage,
} from '../linux/composefs-mount.js'
export { diskUsage, diskUsageInSlices } from '../linux/disk-usage.js'
export { unmount } from '../linux/mount-context.js'
export { isMountPoint } from '../linux/mount-points.js'
export { removeTree, removeTreeInSlices } from '../linux/remove-tree.js'
export { syncDirectory, syncFilesystem } from '../linux/sync.js'
export { enableVerity, measureVerity } from '../linux/verity.js'
export { BASE_ID } from '../store/base-id.js'
export { BUNDLE_ID } from '../store/bundle-id.js'
export { type ObjectReader, objectName } from '../store/objects.js'
export { contentsOf } from '../tree/contents.js'
export { type MaterialiseOptions, materialise } from '../tree/materialise.js'
export type * from '../tree/model.js'
export type * from './contract.js'
