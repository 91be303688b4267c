/**
 * What an image is and holds, in numbers.
 */

import type { ByteString } from '../../bytes.js'
import { type ComposefsNode, isBacked, isInline } from '../../composefs/node.js'
import { imageFsVerity } from '../../composefs/verity.js'
import type { EntryKind, ImageInfo, InfoRequest } from './api.js'
import { pathOf } from './input.js'
import { walk } from './list.js'
import { readImage } from './read-image.js'

export async function infoOfImages({ images, hash = 'sha256', signal }: InfoRequest): Promise<ImageInfo[]> {
  const infos: ImageInfo[] = []
  for (const input of images) {
    const { header, root, bytes } = await readImage(input, signal)
    infos.push({
      image: pathOf(input),
      digest: imageFsVerity(bytes, hash),
      hash,
      version: header.version,
      acl: header.hasAcl,
      bytes: bytes.length,
      inodes: header.inodes,
      ...contentsOf(root),
      oldest: timeText(header.mtimeSeconds, header.mtimeNanoseconds),
    })
  }
  return infos
}

function contentsOf(
  root: ComposefsNode,
): Pick<ImageInfo, 'entries' | 'objects' | 'objectBytes' | 'inlineFiles' | 'verity'> {
  const entries: Record<EntryKind | 'links', number> = {
    file: 0,
    directory: 1,
    symlink: 0,
    char: 0,
    block: 0,
    fifo: 0,
    socket: 0,
    links: 0,
  }
  const sizes = new Map<ByteString, number>()
  const digests = new Set<number>()
  let inlineFiles = 0
  for (const { entry } of walk(root)) {
    if (entry.kind === 'link') {
      entries.links++
      continue
    }
    entries[entry.kind]++
    if (entry.kind !== 'file') continue
    if (isInline(entry)) inlineFiles++
    if (!isBacked(entry)) continue
    digests.add(entry.digest?.length ?? 0)
    if (entry.payload !== null) sizes.set(entry.payload, Number(entry.size))
  }
  let objectBytes = 0
  for (const size of sizes.values()) objectBytes += size
  return { entries, objects: sizes.size, objectBytes, inlineFiles, verity: verityOf(digests) }
}

const SHA256_DIGITS = 64

/** @param lengths of the digests that are demanded, 0 where none is */
function verityOf(lengths: ReadonlySet<number>): ImageInfo['verity'] {
  if (lengths.size === 0 || lengths.has(0)) return 'none'
  if (lengths.size > 1) return 'mixed'
  return lengths.has(SHA256_DIGITS) ? 'sha256' : 'sha512'
}

/** `seconds.nanoseconds`, as a fraction: times of files reach further than dates do. */
function timeText(seconds: bigint, nanoseconds: number): string {
  const total = seconds * 1_000_000_000n + BigInt(nanoseconds)
  const [sign, positive] = total < 0n ? ['-', -total] : ['', total]
  const fraction = (positive % 1_000_000_000n).toString().padStart(9, '0')
  return `${sign}${positive / 1_000_000_000n}.${fraction}`
}
