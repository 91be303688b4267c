/**
 * groot delete: deletes bundles, each for itself: one that fails does not keep the others.
 */
import { throwIfAborted } from '../lib/index.js'
import { answer, bundleMissing, callOptions, checkId, type Verb, withExistingStore } from './verb.js'

export const deleteBundles: Verb = async (context) => {
  const { options, operands, log } = context
  for (const id of operands) checkId(id)

  const absent = (id: string): number => {
    if (options['must-exist']) return context.report(bundleMissing('delete', id))
    log.note('warn', { code: 'bundle-missing', message: `There is no bundle "${id}"`, facts: { id } })
    return 0
  }

  let exitStatus = 0
  const noteStatus = (status: number): void => {
    exitStatus ||= status
  }
  const wasOpen = await withExistingStore(context, async (store) => {
    for (const id of new Set(operands)) {
      throwIfAborted(context.signal)
      try {
        const { existed } = await store.delete(id, callOptions(context))
        if (!existed) noteStatus(absent(id))
      } catch (error) {
        noteStatus(context.report(error))
      }
    }
    return true
  })
  if (wasOpen === null) for (const id of new Set(operands)) noteStatus(absent(id))
  return answer('', exitStatus)
}
