/**
 * Faults of a tar, as found by the parts of the reader that know neither the member's name nor its place.
 *
 * They stay inside this room: the reader adds name and offset and throws an ImageError.
 */
import { type ByteString, printable } from '../bytes.js'

export type TarFaultCode = 'tar-invalid' | 'entry-refused' | 'limit-exceeded'

/** The message is the cause: what was found, and what would be right, without the member's name. */
export class TarFault extends Error {
  readonly code: TarFaultCode
  /** Which of the caller's limits it was, where that matters to callers. */
  readonly limit: 'maxFileBytes' | 'maxTotalBytes' | null

  constructor(code: TarFaultCode, cause: string, limit: TarFault['limit'] = null) {
    super(cause)
    this.code = code
    this.limit = limit
  }
}

/** A malformed member. Returned, so that the caller's `throw` shows where the way ends. */
export function invalid(cause: string): TarFault {
  return new TarFault('tar-invalid', cause)
}

const MAX_SHOWN_CHARS = 1024 // a hostile name can have a megabyte, and messages end in logs

/** A name or value as people read it, cut when it is very long. */
export function shown(value: ByteString): string {
  if (value.length <= MAX_SHOWN_CHARS) return printable(value)
  return `${printable(value.slice(0, MAX_SHOWN_CHARS) as ByteString)}…`
}
