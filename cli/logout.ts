/**
 * groot logout: forgets the credentials for a registry.
 */
import { quoted } from './text.js'
import { answer, callOptions, type Verb } from './verb.js'

export const logout: Verb = async (context) => {
  const { operands, library, log } = context
  const { host, existed } = await library.logout({
    ...callOptions(context),
    host: operands[0] ?? '',
    registry: context.registry,
  })
  if (!existed) {
    const message = `There was no login at ${quoted(host)} in the file`
    log.note('info', { code: 'login-missing', message, facts: { host } })
  }
  return answer('')
}
