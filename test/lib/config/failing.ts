/** What a parser threw, for tests of parsers. */
import { type GrootError, isGrootError } from '../../../lib/errors.js'

function failure(work: () => unknown): GrootError {
  try {
    work()
  } catch (error) {
    if (isGrootError(error)) return error
    throw error
  }
  throw new Error('it was accepted')
}

/** Code, file and key of a complaint about configuration, and that the message has both. */
export function complaint(work: () => unknown): unknown[] {
  const { code, facts, message, exitStatus } = failure(work)
  const key = String(facts.key)
  if (!message.includes(String(facts.file)) || !message.includes(key)) throw new Error(message)
  return [code, exitStatus, facts.file, key]
}
