/**
 * What a verb of the command is given and what it gives back. A verb asks the library and words the answer; it writes
 * nothing itself.
 */

import type {
  ByteSink,
  composefs,
  deleteStore,
  initStore,
  login,
  logout,
  mountStore,
  openStore,
  RegistrySettings,
} from '../lib/index.js'
import {
  BUNDLE_ID,
  type GrootEvent,
  type GrootStore,
  isGrootError,
  NotFoundError,
  UsageError,
} from '../lib/index.js'
import type { Ask } from './ask.js'
import type { Log } from './log.js'
import type { OptionValues } from './options.js'
import type { Settings } from './settings.js'
import { quoted } from './text.js'

/** The part of the library that the command calls. */
export interface Library {
  readonly openStore: typeof openStore
  readonly initStore: typeof initStore
  readonly deleteStore: typeof deleteStore
  readonly mountStore: typeof mountStore
  readonly login: typeof login
  readonly logout: typeof logout
  readonly composefs: typeof composefs
}

export interface VerbContext {
  readonly options: OptionValues
  readonly operands: readonly string[]
  readonly settings: Settings
  /** Where registries are configured. */
  readonly registry: RegistrySettings
  readonly library: Library
  readonly signal: AbortSignal
  readonly log: Log
  /** Takes the events of the library. */
  readonly onEvent: (event: GrootEvent) => void
  /** Standard input; it is opened by the call, and ends with an error when the signal fires. */
  readonly stdin: () => AsyncIterable<Uint8Array>
  /** Standard output, for answers that are not text. */
  readonly stdout: ByteSink & { readonly isTerminal: boolean }
  readonly env: Readonly<Record<string, string | undefined>>
  /** Asks the person at the terminal; null when there is none. */
  readonly ask: Ask | null
  /** Tells of a failure that does not end the verb. Gives the exit status that it asks for. */
  report(thrown: unknown): number
}

export interface Answer {
  /** What goes to stdout: whole lines, or nothing; in pieces where it may be long. */
  readonly text: string | Iterable<string>
  readonly exitStatus: number
}

export type Verb = (context: VerbContext) => Promise<Answer>

export function answer(text: string | Iterable<string>, exitStatus = 0): Answer {
  return { text, exitStatus }
}

/** The options of every call of the library. */
export function callOptions({ options, signal, onEvent }: VerbContext) {
  const lockTimeoutMs = options['lock-timeout']
  return { signal, onEvent, ...(lockTimeoutMs === undefined ? {} : { lockTimeoutMs }) }
}

/** What a verb says of a bundle that is not there. @param doing `show` */
export function bundleMissing(doing: string, id: string): NotFoundError {
  return new NotFoundError('bundle-missing', `Cannot ${doing} bundle "${id}": there is none with this id`, {
    facts: { id },
  })
}

/** Opens the store, making it when it is not there, and closes it after the work. */
export async function withStore<T>(
  context: VerbContext,
  work: (store: GrootStore) => Promise<T>,
): Promise<T> {
  return await openAnd(context, true, work)
}

/**
 * The same for verbs that would not find anything in a new store: they leave a place without a store as it is.
 *
 * @returns null when there is no store, after a note
 */
export async function withExistingStore<T>(
  context: VerbContext,
  work: (store: GrootStore) => Promise<T>,
): Promise<T | null> {
  try {
    return await openAnd(context, false, work)
  } catch (error) {
    if (!isGrootError(error) || error.code !== 'store-missing') throw error
    const { store } = context.settings
    const message = `There is no store at "${store}" yet; the first create makes it`
    context.log.note('warn', { code: 'store-missing', message, facts: { path: store } })
    return null
  }
}

async function openAnd<T>(
  context: VerbContext,
  make: boolean,
  work: (store: GrootStore) => Promise<T>,
): Promise<T> {
  const { library, settings } = context
  const store = await library.openStore({
    path: settings.store,
    make,
    // A command has no event loop to keep free, and a thread of its own would only make it start later.
    thread: 'caller',
    ...(settings.driver === undefined ? {} : { driver: settings.driver }),
  })
  try {
    return await work(store)
  } finally {
    await store.close()
  }
}

/**
 * Checks an id before anything is touched, the store included.
 *
 * @throws {UsageError} `id-invalid`
 */
export function checkId(id: string): string {
  if (BUNDLE_ID.test(id)) return id
  throw new UsageError(
    'id-invalid',
    `Cannot use ${quoted(id)} as a bundle id: it needs 1 to 128 letters, digits, dots, underscores or dashes, a letter or digit first`,
    { facts: { pattern: BUNDLE_ID.source } },
  )
}
