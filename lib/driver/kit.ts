/**
 * All that a driver may import: the contract, the errors, and the tools that drivers share. Built-in drivers import
 * nothing else of groot, and drivers from other packages get the same as `groot/driver-kit`.
 */

export * from '../errors.js'
export type { EventSink, GrootEvent } from '../events.js'
export { diskUsage } from '../linux/disk-usage.js'
export { removeTree, removeTreeInSlices } from '../linux/remove-tree.js'
export { syncDirectory, syncFilesystem } from '../linux/sync.js'
export { type ObjectReader, objectName } from '../store/objects.js'
export { type MaterialiseOptions, materialise } from '../tree/materialise.js'
export type * from '../tree/model.js'
export type * from './contract.js'
