/**
 * Base ids: what a base is made of, as a name. The same layers under the same id mapping give the same base id, in every
 * store.
 */
import type { DiffId } from '../digest.js'
import { type IdMapping, mappingFingerprint } from '../ids/mapping.js'
import { chainIds } from '../image/chain-id.js'

/** The chain id of the layers, as a file name: `sha256-<hex>` (or `sha512-<hex>`); mapped, `-<fingerprint>` follows. */
export type BaseId = string & { readonly __brand: 'BaseId' }

export const BASE_ID = /^(?:sha256-[0-9a-f]{64}|sha512-[0-9a-f]{128})(?:-[0-9a-f]{32})?$/

/**
 * @param layers base first; an image without layers has a base too
 * @param mapping null for owners as the image has them
 */
export function baseIdOf(layers: readonly DiffId[], mapping: IdMapping | null = null): BaseId {
  const chain = (chainIds(layers).at(-1) ?? NO_LAYERS).replace(':', '-')
  return (mapping === null ? chain : `${chain}-${mappingFingerprint(mapping)}`) as BaseId
}

const NO_LAYERS = `sha256:${'0'.repeat(64)}` // what no chain of layers hashes to

/** The base of the same layers with the owners that the image has. */
export function unmappedBaseId(id: BaseId): BaseId {
  return id.split('-', 2).join('-') as BaseId
}
