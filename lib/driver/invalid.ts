import { isGrootError, UnsupportedError } from '../errors.js'

/** A driver that is not what the contract says. */
export function invalidDriver(name: string, cause: string, thrown?: unknown): UnsupportedError {
  if (isGrootError(thrown)) throw thrown
  return new UnsupportedError('driver-invalid', `Cannot use driver "${name}": ${cause}`, {
    facts: { driver: name, cause },
    cause: thrown,
  })
}
