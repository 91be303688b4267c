/**
 * groot limit: another disk limit for a bundle that has one.
 */
import { limitJson } from './stats.js'
import { jsonLine } from './text.js'
import { readValue } from './values.js'
import { answer, bundleMissing, callOptions, checkId, type Verb, withExistingStore } from './verb.js'

export const limit: Verb = async (context) => {
  const { options, operands } = context
  const id = checkId(operands[0] ?? '')
  // Read as the option of create is, whose value it replaces.
  const diskLimitSizeBytes = Number(readValue('disk-limit-size-bytes', operands[1] ?? '', 'the limit'))
  const request = { ...callOptions(context), diskLimitSizeBytes }
  const result = await withExistingStore(context, (store) => store.limit(id, request))
  if (result === null) {
    throw bundleMissing('limit', id)
  }
  return answer(options.json ? `${jsonLine({ id, disk_limit: limitJson(result.disk_limit) })}\n` : '')
}
