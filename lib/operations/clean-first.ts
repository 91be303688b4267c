/**
 * create --with-clean: a clean before a create, which must not keep it from being made.
 */
import { isGrootError } from '../errors.js'
import type { CreateRequest } from './api.js'
import { eventSink } from './call.js'
import type { OpenedStore } from './opened-store.js'

/** Cleans, when the request says so. What fails or is skipped is a warning. @throws {AbortedError} @throws {UsageError} */
export async function cleanFirst(store: OpenedStore, request: CreateRequest): Promise<void> {
  const { withClean, signal, onEvent, lockTimeoutMs } = request
  if (withClean === undefined) return
  const options = {
    ...(signal === undefined ? {} : { signal }),
    ...(onEvent === undefined ? {} : { onEvent }),
    ...(lockTimeoutMs === undefined ? {} : { lockTimeoutMs }),
  }
  try {
    const { cleanStore } = await import('./clean.js')
    const { skipped } = await cleanStore(store, { ...options, ...withClean })
    const [first] = skipped
    if (first !== undefined)
      warn(request, `skipped ${first.what} "${first.name}": ${first.message}`, skipped.length)
  } catch (error) {
    if (isGrootError(error) && (error.kind === 'aborted' || error.kind === 'usage')) throw error
    warn(request, error instanceof Error ? error.message : String(error), 0)
  }
}

function warn(request: CreateRequest, why: string, skipped: number): void {
  eventSink(request)({
    kind: 'warning',
    code: 'clean-failed',
    message: `The clean before the create of "${request.id}" did not do all of its work: ${why}`,
    facts: { id: request.id, skipped },
  })
}
