/** Mappings turned round, for tests that go there and back. */
import type { IdRange } from '../../../lib/ids/mapping.js'

/** Ranges that lead back: what hostIdOf makes of an id, this makes that id of. */
export function inverseRanges(ranges: readonly IdRange[]): IdRange[] {
  const turned = ranges.map(({ containerId, hostId, size }) => ({
    containerId: hostId,
    hostId: containerId,
    size,
  }))
  return turned.sort((a, b) => a.containerId - b.containerId)
}
