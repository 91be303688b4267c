/**
 * groot unpin: undoes groot pin. An image that is not pinned is no error.
 */
import { jsonLine } from './text.js'
import { answer, callOptions, type Verb, withExistingStore } from './verb.js'

export const unpin: Verb = async (context) => {
  const [name = ''] = context.operands
  const undone = await withExistingStore(context, (store) => store.unpin(name, callOptions(context)))
  const { image, changed } = undone ?? { image: name, changed: false }
  if (!changed) {
    context.log.note('warn', {
      code: 'pin-missing',
      message: `There is no pin of "${image}"`,
      facts: { image },
    })
  }
  return answer(context.options.json ? `${jsonLine({ image, changed })}\n` : '')
}
