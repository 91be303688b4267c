/**
 * A composefs image to nodes. Takes only what the writer writes: the nodes are written again, and the bytes must be the same.
 *
 * Pure, and safe on any bytes. Time follows the length of the image. Memory: at most 64 times its length, and a megabyte, which
 * takes very many names of xattrs; for images of real trees it is about three times.
 */
import { asBuffer } from '../bytes.js'
import { ImageError } from '../errors.js'
import { writeLayout } from './erofs-write.js'
import { ImageFault, NodeFault } from './faults.js'
import { BLOCK_BYTES, type ComposefsHeader, readHeader } from './format.js'
import { walkImage } from './image-walk.js'
import { layOut } from './layout.js'
import type { ComposefsNode } from './node.js'

export interface ComposefsImage {
  readonly header: ComposefsHeader
  /** Written with the header's version as least and greatest, this gives the image again. */
  readonly root: ComposefsNode
}

/**
 * Reads an image that is at hand as a whole.
 *
 * Where the image leaves two readings, one is taken: an inode with two names next to each other in breadth-first order
 * belongs to the first; a device, fifo or socket whose inode is extended for its unwritten size has the size 2^32.
 *
 * @throws {ImageError} `composefs-invalid` for anything that the writer does not write; the facts say why, and where if known
 */
export function readComposefs(image: Uint8Array): ComposefsImage {
  const header = readHeader(image)
  const bytes = asBuffer(image)
  try {
    if (header.blocks * BLOCK_BYTES !== bytes.length) {
      const cause = `it has ${bytes.length} bytes, and its header tells of ${header.blocks} blocks of ${BLOCK_BYTES}`
      throw new ImageFault(0, cause)
    }
    const { root, table } = walkImage(bytes, header)
    compare(bytes, writeLayout(layOut(table), true))
    return { header, root }
  } catch (fault) {
    if (fault instanceof ImageFault) throw invalid(fault.message, fault.offset, fault)
    if (fault instanceof NodeFault) throw invalid(fault.message, null, fault)
    throw fault
  }
}

function compare(bytes: Buffer, pieces: Iterable<Uint8Array>): void {
  let at = 0
  for (const piece of pieces) {
    const found = bytes.subarray(at, at + piece.length)
    if (!found.equals(piece)) {
      let same = 0
      while (same < found.length && found[same] === piece[same]) same++
      throw new ImageFault(at + same, 'it is not what the writer writes for the tree in it')
    }
    at += piece.length
  }
  if (at !== bytes.length) throw new ImageFault(at, 'something follows its end')
}

function invalid(cause: string, offset: number | null, fault: unknown): ImageError {
  const where = offset === null ? '' : ` at byte ${offset}`
  return new ImageError('composefs-invalid', `Cannot read the composefs image${where}: ${cause}`, {
    facts: { cause, offset },
    cause: fault,
  })
}
