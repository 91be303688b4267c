/**
 * For the tests of groot and of drivers from elsewhere: builders, readers of trees, and the cases that a driver must pass.
 */
export { type DriverCase, type DriverCasesOptions, driverCases } from './driver-cases.js'
export * from './layer.js'
export { linesOfTree } from './lines-of-tree.js'
export { LARGEST_DEVICE_OF_XFS, type PutObject, sampleTree, smallTree } from './sample-tree.js'
export { treeLines } from './tree-lines.js'
