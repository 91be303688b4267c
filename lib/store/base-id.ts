/**
 * Base ids: what a base is made of, as a name. Equal trees with equal id maps have equal base ids.
 */
import type { ChainId } from '../digest.js'

/** The chain id's hex digits; an id map appends its own digest. Safe as a file name. */
export type BaseId = string & { readonly __brand: 'BaseId' }

export function baseId(chainId: ChainId): BaseId {
  return chainId.replace(':', '-') as BaseId
}
