/**
 * Nodes to a composefs image, byte for byte what mkcomposefs 1.0.8 writes for the same nodes.
 *
 * Pure: bytes come out piece by piece, and whoever takes them writes them somewhere. The nodes are not changed.
 */
import { UsageError } from '../errors.js'
import { BLOCK_BYTES, encodeHeader } from './format.js'
import { InodeWriter } from './inode-writer.js'
import { type ImageLayout, layOut } from './layout.js'
import type { ComposefsNode } from './node.js'
import type { Version } from './overlay.js'
import { Sink } from './sink.js'
import { tableOf } from './tree-walk.js'

export interface WriteOptions {
  /** The image has this version, unless the tree holds whiteouts and the greatest allows 1. Default: 0. */
  readonly minVersion?: number
  /** Default: 1. Less than the least counts as the least. */
  readonly maxVersion?: number
}

/** An image that is worked out and can be written, as often as wanted. It does not need the nodes any more. */
export interface PlannedImage {
  readonly version: Version
  /** Length of the file: a multiple of 4096. */
  readonly byteLength: number
  readonly inodes: number
  /** The bytes in order, in pieces of 64 KiB to 256 KiB but for the last; each piece is the taker's to keep. */
  chunks(): Generator<Uint8Array, void, undefined>
  /** The same with less memory: a piece is the taker's only until the next one is asked for. */
  lentChunks(): Generator<Uint8Array, void, undefined>
}

/**
 * Works out an image: checks the nodes, orders them and gives everything its place.
 *
 * Memory: what the image has of names, xattrs, targets and contents, and 100 bytes an entry.
 *
 * @throws {ImageError} `composefs-refused` when no image can hold the nodes; the facts name the path, the cause and its errno
 * @throws {UsageError} `option-invalid` when a version is neither 0 nor 1
 */
export function planComposefs(root: ComposefsNode, options: WriteOptions = {}): PlannedImage {
  const least = version('minVersion', options.minVersion ?? 0)
  const greatest = version('maxVersion', options.maxVersion ?? 1)
  const layout = layOut(tableOf(root, least, greatest > least ? greatest : least))
  const { header, byteLength } = layout
  return {
    version: header.version,
    byteLength,
    inodes: header.inodes,
    chunks: () => writeLayout(layout, false),
    lentChunks: () => writeLayout(layout, true),
  }
}

/** Plans an image and writes it; see planComposefs, whose errors come with the first piece. */
export function* writeComposefs(
  root: ComposefsNode,
  options: WriteOptions = {},
): Generator<Uint8Array, void, undefined> {
  yield* planComposefs(root, options).chunks()
}

function version(name: string, value: number): Version {
  if (value === 0 || value === 1) return value
  throw new UsageError(
    'option-invalid',
    `Cannot use ${name} "${value}": composefs images have version 0 or 1`,
    {
      facts: { option: name, value },
    },
  )
}

/**
 * The bytes of an image.
 *
 * @param isLent whether a piece is the taker's only until the next one is asked for
 */
export function* writeLayout(layout: ImageLayout, isLent: boolean): Generator<Uint8Array, void, undefined> {
  const { table, positions, blocks } = layout
  const writer = new InodeWriter(layout)
  const sink = new Sink(isLent)
  sink.put(encodeHeader(layout.header))
  for (let i = 0; i < table.count; i++) {
    if (sink.isFull) yield* sink.take()
    sink.skipTo(positions[i]!)
    sink.at = writer.inode(i, sink, sink.at)
  }
  sink.skipTo(layout.inodesEnd)
  for (const id of table.pool.shared) {
    if (sink.isFull) yield* sink.take()
    sink.at = table.pool.copyEntry(id, sink, sink.at)
  }
  sink.skipTo(layout.dataStart)
  for (let i = 0; i < table.count; i++) {
    for (let block = 0; block < blocks[i]!; block++) {
      if (sink.isFull) yield* sink.take()
      writer.block(i, block, sink, sink.at)
      sink.at += BLOCK_BYTES
    }
  }
  if (sink.at > 0) yield* sink.take()
}
