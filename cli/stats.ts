/**
 * groot stats: prints what a bundle takes on disk, in the shape that GrootFS has.
 */
import type { DiskLimitInfo } from '../lib/index.js'
import { jsonLine } from './text.js'
import { answer, bundleMissing, callOptions, checkId, type Verb, withExistingStore } from './verb.js'

export const stats: Verb = async (context) => {
  const id = checkId(context.operands[0] ?? '')
  const found = await withExistingStore(context, (store) => store.stats(id, callOptions(context)))
  if (found === null) {
    throw bundleMissing('show', id)
  }
  const { total_bytes_used, exclusive_bytes_used } = found.disk_usage
  const { digest } = found
  const disk_usage = { total_bytes_used, exclusive_bytes_used }
  return answer(`${jsonLine({ disk_usage, digest, disk_limit: limitJson(found.disk_limit) })}\n`)
}

/** Exactly the documented fields, in the documented order. */
export function limitJson(limit: DiskLimitInfo | null): DiskLimitInfo | null {
  if (limit === null) return null
  const { size_bytes, exclude_image, writable_bytes, backend } = limit
  return { size_bytes, exclude_image, writable_bytes, backend }
}
