import { sha256, sha512 } from '@noble/hashes/sha2.js'

const BLOCK = 4096

/** The definition written down once more, with another hash library: levels of whole arrays. */
export function reference(content: Uint8Array, algorithm: 'sha256' | 'sha512' = 'sha256'): string {
  const hash = algorithm === 'sha256' ? sha256 : sha512
  const hashPadded = (part: Uint8Array): Uint8Array => {
    const block = new Uint8Array(BLOCK)
    block.set(part)
    return hash(block)
  }
  let level: Uint8Array[] = []
  for (let at = 0; at < content.length; at += BLOCK) level.push(hashPadded(content.subarray(at, at + BLOCK)))
  while (level.length > 1) {
    const joined = Buffer.concat(level)
    const next: Uint8Array[] = []
    for (let at = 0; at < joined.length; at += BLOCK) next.push(hashPadded(joined.subarray(at, at + BLOCK)))
    level = next
  }
  const descriptor = new Uint8Array(256)
  descriptor.set([1, algorithm === 'sha256' ? 1 : 2, 12, 0])
  new DataView(descriptor.buffer).setBigUint64(8, BigInt(content.length), true)
  if (level[0] !== undefined) descriptor.set(level[0], 16)
  return Buffer.from(hash(descriptor)).toString('hex')
}
