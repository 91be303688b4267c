/**
 * Chain ids: names for a stack of layers, so that equal stacks share what was made of them.
 */
import { byteString, toBytes } from '../bytes.js'
import { type ChainId, type DiffId, sha256 } from '../digest.js'

/**
 * Computes the chain id of a stack of layers.
 *
 * For one layer it is the diff id itself; for more, sha256 over `<chain id below> <diff id>`
 * (image-spec, config.md, "Layer ChainID").
 *
 * @param diffIds digests of the plain tars, base first
 * @returns one chain id per layer, same order; none for no layers
 */
export function chainIds(diffIds: readonly DiffId[]): readonly ChainId[] {
  const known = KNOWN.get(diffIds)
  if (known !== undefined) return known
  const chain: ChainId[] = []
  for (const diffId of diffIds) {
    const below = chain.at(-1)
    const id = below === undefined ? diffId : sha256(toBytes(byteString(`${below} ${diffId}`)))
    chain.push(id as string as ChainId) // a digest over a whole chain is its chain id
  }
  KNOWN.set(diffIds, chain)
  return chain
}

/** A config's list of layers is asked for its names each time that the image is used, and never changes. */
const KNOWN = new WeakMap<readonly DiffId[], readonly ChainId[]>()
