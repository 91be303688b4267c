/**
 * Images to nodes: reads no more of an input than an image can have, and tells which image it was that is damaged.
 */
import { byteString } from '../../bytes.js'
import { type ComposefsImage, readComposefs } from '../../composefs/erofs-read.js'
import { BLOCK_BYTES, INODES_START, readHeader } from '../../composefs/format.js'
import type { ComposefsNode } from '../../composefs/node.js'
import { ImageError, isGrootError, throwIfAborted, UsageError } from '../../errors.js'
import type { ComposefsInput, FilterImages } from './api.js'
import { bytesOf, nameOf, pathOf } from './input.js'

/** Images of some five million entries; more would not fit into memory as nodes. */
const MAX_IMAGE_BYTES = 1024 ** 3

export interface ReadImage extends ComposefsImage {
  readonly bytes: Buffer
}

/**
 * @throws {ImageError} `composefs-invalid`, `limit-exceeded`; the facts name the path
 * @throws {NotFoundError} `file-missing`
 */
export async function readImage(input: ComposefsInput, signal: AbortSignal | undefined): Promise<ReadImage> {
  try {
    const bytes = await imageBytes(input, signal)
    throwIfAborted(signal)
    return { ...readComposefs(bytes), bytes }
  } catch (error) {
    if (!isGrootError(error) || error.code !== 'composefs-invalid') throw error
    const { cause, offset } = error.facts
    const where = typeof offset === 'number' && offset > 0 ? ` at byte ${offset}` : ''
    throw new ImageError(
      'composefs-invalid',
      `Cannot read ${nameOf(input)} as a composefs image${where}: ${cause}`,
      {
        facts: { ...error.facts, path: pathOf(input) },
        cause: error,
      },
    )
  }
}

/** The roots of images, with only what the filter names in them. */
export async function readRoots({ images, filter, signal }: FilterImages): Promise<FilteredRoot[]> {
  const names = filterNames(filter)
  const roots: FilteredRoot[] = []
  for (const input of images) {
    const { root } = await readImage(input, signal)
    roots.push({ image: pathOf(input), whole: root, root: names === null ? root : filtered(root, names) })
  }
  return roots
}

export interface FilteredRoot {
  readonly image: string | null
  /** The same node as `root` when there is no filter. */
  readonly whole: ComposefsNode
  readonly root: ComposefsNode
}

/** Stops as soon as there are more bytes than the header says. */
async function imageBytes(input: ComposefsInput, signal: AbortSignal | undefined): Promise<Buffer> {
  const pieces: Uint8Array[] = []
  let length = 0
  let expected: number | null = null
  for await (const piece of bytesOf(input, signal)) {
    pieces.push(piece)
    length += piece.length
    if (length < INODES_START) continue
    expected ??= readHeader(Buffer.concat(pieces)).blocks * BLOCK_BYTES
    if (expected > MAX_IMAGE_BYTES) throw tooLarge(input, expected)
    if (length > expected) break
  }
  return Buffer.concat(pieces)
}

function tooLarge(input: ComposefsInput, bytes: number): ImageError {
  const limit = MAX_IMAGE_BYTES
  const message = `Cannot read ${nameOf(input)}: its header says that it has ${bytes} bytes, and at most ${limit} are read`
  return new ImageError('limit-exceeded', message, { facts: { path: pathOf(input), bytes, limit } })
}

function filterNames(filter: readonly string[] | undefined): ReadonlySet<string> | null {
  if (filter === undefined || filter.length === 0) return null
  for (const name of filter) {
    if (!name.includes('/')) continue
    const message = `Cannot use ${JSON.stringify(name)} as a filter: it is the name of an entry of the top directory, without "/"`
    throw new UsageError('option-invalid', message, { facts: { option: 'filter', value: name } })
  }
  return new Set(filter.map(byteString))
}

function filtered(root: ComposefsNode, names: ReadonlySet<string>): ComposefsNode {
  return { ...root, children: new Map([...root.children!].filter(([name]) => names.has(name))) }
}
