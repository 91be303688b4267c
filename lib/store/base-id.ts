/**
 * Base ids: what a base is made of, as a name. The same layers give the same base id, in every store.
 */
import type { DiffId } from '../digest.js'
import { chainIds } from '../image/chain-id.js'

/** The chain id of the layers, as a file name: `sha256-<hex>` (or `sha512-<hex>`). */
export type BaseId = string & { readonly __brand: 'BaseId' }

export const BASE_ID = /^(?:sha256-[0-9a-f]{64}|sha512-[0-9a-f]{128})$/

/** @param layers base first; an image without layers has a base too */
export function baseIdOf(layers: readonly DiffId[]): BaseId {
  const chain = chainIds(layers).at(-1) ?? NO_LAYERS
  return chain.replace(':', '-') as BaseId
}

const NO_LAYERS = `sha256:${'0'.repeat(64)}` // what no chain of layers hashes to
