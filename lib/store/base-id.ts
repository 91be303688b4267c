/**
 * Base ids: what a base is made of, as a name. Equal trees with equal id maps have equal base ids.
 */

/** The digits of a chain id, and of an id map when there is one. Safe as a file name. */
export type BaseId = string & { readonly __brand: 'BaseId' }
