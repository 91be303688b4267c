/**
 * groot stats: prints what a bundle takes on disk, in the shape that GrootFS has.
 */
import { NotFoundError } from '../lib/index.js'
import { jsonLine } from './text.js'
import { answer, callOptions, checkId, type Verb, withExistingStore } from './verb.js'

export const stats: Verb = async (context) => {
  const id = checkId(context.operands[0] ?? '')
  const found = await withExistingStore(context, (store) => store.stats(id, callOptions(context)))
  if (found === null) {
    throw new NotFoundError('bundle-missing', `Cannot show bundle "${id}": there is none with this id`, {
      facts: { id },
    })
  }
  const { total_bytes_used, exclusive_bytes_used } = found.disk_usage
  const { digest } = found
  return answer(`${jsonLine({ disk_usage: { total_bytes_used, exclusive_bytes_used }, digest })}\n`)
}
