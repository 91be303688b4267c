/**
 * The policy for the members of one layer, one after the other: beside what each may ask for, what all may hold together
 * (hardening: everything from outside has a limit).
 */
import { type LayerChange, metadataBytes } from '../tree/change.js'
import type { Content } from '../tree/model.js'
import type { TarEntry } from './entry.js'
import type { LayerLimits } from './limits.js'
import { applyPolicy, type DroppedXattr, refused } from './policy.js'

export class LayerPolicy {
  readonly #limits: LayerLimits
  readonly #onDropped: ((dropped: DroppedXattr) => void) | undefined
  #metadataBytes = 0

  constructor(limits: LayerLimits, onDropped?: (dropped: DroppedXattr) => void) {
    this.#limits = limits
    this.#onDropped = onDropped
  }

  /** @throws {ImageError} as applyPolicy does, and `limit-exceeded` for the first member that is too much */
  apply(entry: TarEntry, content: Content): LayerChange | null {
    const change = applyPolicy(entry, content, this.#limits, this.#onDropped)
    if (change === null) return null
    this.#metadataBytes += metadataBytes(change)
    const { maxMetadataBytes } = this.#limits
    if (this.#metadataBytes <= maxMetadataBytes) return change
    const cause = `with it names, link targets and attributes take more than ${maxMetadataBytes} bytes of memory`
    throw refused(entry, cause, 'limit-exceeded')
  }
}
