/**
 * groot delete-store: deletes the store and all that groot put there.
 */
import { answer, type Verb } from './verb.js'

export const deleteStore: Verb = async ({ options, settings, library }) => {
  await library.deleteStore({ path: settings.store, force: options.force ?? false })
  return answer('')
}
