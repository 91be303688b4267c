/**
 * groot pin: keeps an image from being cleaned; prints what is pinned.
 */
import { NotFoundError } from '../lib/index.js'
import { jsonLine, quoted, visible } from './text.js'
import { answer, callOptions, type Verb, withExistingStore } from './verb.js'

export const pin: Verb = async (context) => {
  const [name = ''] = context.operands
  const pinned = await withExistingStore(context, (store) => store.pin(name, callOptions(context)))
  if (pinned === null) {
    throw new NotFoundError('image-missing', `Cannot pin image ${quoted(name)}: there is no store yet`, {
      facts: { image: name },
    })
  }
  const { image, changed } = pinned
  return answer(`${context.options.json ? jsonLine({ image, changed }) : visible(image)}\n`)
}
