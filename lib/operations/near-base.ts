/**
 * Which base is near to one that is to be made: what a driver with snapshots starts from.
 */
import { TreeImage } from '../composefs/tree-image.js'
import type { DiffId } from '../digest.js'
import type { NearBase } from '../driver/contract.js'
import { isGrootError } from '../errors.js'
import type { IdMapping } from '../ids/mapping.js'
import type { LayerLimits } from '../layer/limits.js'
import { baseIdOf } from '../store/base-id.js'
import { type BaseRecord, readBase } from '../store/bases.js'
import { mapOwners } from '../tree/map-owners.js'
import type { Tree } from '../tree/model.js'
import { mergeImage } from './layers.js'
import type { OpenedStore } from './opened-store.js'

/**
 * The base of the same layers without the mapping, else that of as many of the lower layers as there is one of.
 *
 * It only saves work: what is wrong with it counts as none, and a clean may remove it while it is used.
 *
 * @param own merges the image's tree
 */
export function nearBase(
  store: OpenedStore,
  layers: readonly DiffId[],
  mapping: IdMapping | null,
  own: () => Tree,
  limits: LayerLimits,
): NearBase | null {
  if (mapping !== null) {
    const unmapped = recorded(store, layers, null)
    if (unmapped !== null) return checked(unmapped, own)
  }
  for (let count = layers.length - 1; count > 0; count--) {
    const lower = layers.slice(0, count)
    const record = recorded(store, lower, mapping)
    if (record === null) continue
    // Its layers are some of the image's: whatever they have to say is said when that is merged.
    return checked(record, () => {
      const tree = mergeImage(store, lower, limits, () => {})
      return mapping === null ? tree : mapOwners(tree, mapping)
    })
  }
  return null
}

function recorded(
  { layout }: OpenedStore,
  layers: readonly DiffId[],
  mapping: IdMapping | null,
): BaseRecord | null {
  try {
    return readBase(layout, baseIdOf(layers, mapping))
  } catch (error) {
    if (isGrootError(error) && error.code === 'record-damaged') return null
    throw error
  }
}

/** Another version may have merged the same layers to another tree, and that is what the driver has. */
function checked({ id, rootfsDigest }: BaseRecord, make: () => Tree): NearBase | null {
  try {
    const tree = make()
    return new TreeImage(tree).digest() === rootfsDigest ? { id, tree } : null
  } catch (error) {
    if (isGrootError(error) && error.kind === 'image') return null
    throw error
  }
}
