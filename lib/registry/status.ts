/**
 * What a registry means when it says no: its status, and what its error document says (distribution-spec, "Error Codes").
 */
import { byteString, printable } from '../bytes.js'
import { type GrootError, isGrootError, NotFoundError, RegistryError } from '../errors.js'
import { quote } from '../image/json.js'
import type { Answer } from './answer.js'
import { parseRetryAfter } from './retry.js'

/** What was asked for. */
export interface Wanted {
  readonly kind: 'manifest' | 'blob'
  /** `host[:port]` of the endpoint that is asked. */
  readonly registry: string
  readonly repository: string
  /** Tag or digest. */
  readonly reference: string
}

const MAX_ERROR_BODY = 64 * 1024
const MAX_SHOWN = 200

/**
 * Reads what the registry has to say about an error, for people: printable characters only, at most 200.
 *
 * @param redact takes out what is secret, should the registry repeat it
 * @returns null when it says nothing that is understood
 */
export async function readComplaint(
  answer: Answer,
  redact: (text: string) => string,
): Promise<string | null> {
  try {
    const bytes = await answer.read(MAX_ERROR_BODY)
    const text = bytes === null ? '' : firstError(JSON.parse(Buffer.from(bytes).toString('utf8')))
    // Redacted before it is cut, so that no half of a secret stays.
    return text === '' ? null : printable(byteString(redact(text).slice(0, MAX_SHOWN)))
  } catch (thrown) {
    // The status says enough; only an abort has to be heard.
    if (isGrootError(thrown) && thrown.code === 'aborted') throw thrown
    return null
  }
}

/** The error for a status that is neither success nor a matter of credentials. */
export function statusError(answer: Answer, wanted: Wanted, complaint: string | null): GrootError {
  const { status, url } = answer
  const { registry, repository, reference } = wanted
  const said = complaint === null ? '' : ` (${complaint})`
  const who = { registry, repository, reference, answeredBy: url.origin }
  const facts = { status, ...who, detail: complaint, ...retryAfter(answer) }
  if (status === 404 && wanted.kind === 'manifest') {
    const image = `${repository}${reference.includes(':') ? '@' : ':'}${reference}`
    return new NotFoundError('image-missing', `Cannot find image ${quote(image)} at "${registry}"${said}`, {
      facts,
    })
  }
  if (status === 404) {
    const what = `Cannot find blob ${quote(reference)} of "${repository}" at "${registry}"${said}`
    return new NotFoundError('blob-missing', what, { facts })
  }
  const what = `Cannot get the ${wanted.kind} ${quote(reference)} of "${repository}"`
  return new RegistryError(
    'registry-status',
    `${what}: "${url.host}" answered with status ${status}${said}`,
    {
      facts,
      temporary: status === 408 || status === 429 || status >= 500,
    },
  )
}

/** How long the server wants to be left alone, as a fact of errors: `retryAfterMs`, when it says so. */
export function retryAfter(answer: Answer): { readonly retryAfterMs?: number } {
  const ms = parseRetryAfter(answer.header('retry-after'), answer.header('date'), Date.now())
  return ms === null ? {} : { retryAfterMs: ms }
}

/** `CODE: message` of the first error in the document. */
function firstError(document: unknown): string {
  const errors = (document as { errors?: unknown } | null)?.errors
  const first: unknown = Array.isArray(errors) ? errors[0] : null
  const { code, message } = (first ?? {}) as { code?: unknown; message?: unknown }
  return [code, message].filter((part) => typeof part === 'string' && part !== '').join(': ')
}
