/**
 * The errors of groot: one base, one class for each thing a caller would do differently, a stable code for each cause.
 *
 * Nobody recognises an error by its text. `code` and `facts` are the interface; docs/scripting.md lists every code.
 * Errors cross threads and come from drivers with their own copy of this file, so they are recognised by a brand and
 * not by `instanceof`.
 */

/** Every code there is, by the kind of error that carries it. */
export const ERROR_CODES = {
  usage: [
    'usage-invalid',
    'option-invalid',
    'configuration-invalid',
    'id-invalid',
    'reference-invalid',
    'reference-ambiguous',
    'platform-invalid',
    'store-closed',
  ],
  partial: ['clean-incomplete'],
  store: [
    'store-missing',
    'store-unmounted',
    'store-invalid',
    'store-exists',
    'store-version',
    'store-feature',
    'store-driver',
    'store-not-empty',
    'store-unsafe',
    'record-damaged',
  ],
  busy: ['lock-timeout', 'lock-lost', 'mount-busy', 'tree-changed', 'image-in-use', 'image-pinned'],
  exists: ['bundle-exists'],
  'not-found': [
    'bundle-missing',
    'image-missing',
    'platform-missing',
    'blob-missing',
    'file-missing',
    'object-missing',
    'base-missing',
  ],
  auth: ['auth-required', 'auth-denied', 'auth-realm-refused', 'credential-helper-failed'],
  registry: [
    'registry-blocked',
    'registry-unreachable',
    'registry-timeout',
    'registry-status',
    'registry-protocol',
    'redirect-refused',
    'blob-cut',
  ],
  integrity: [
    'digest-mismatch',
    'size-mismatch',
    'diff-id-mismatch',
    'object-damaged',
    'layer-damaged',
    'base-damaged',
    'digest-unexpected',
    'source-changed',
    'check-failed',
  ],
  image: [
    'archive-invalid',
    'layout-invalid',
    'manifest-invalid',
    'config-invalid',
    'index-invalid',
    'media-type-unsupported',
    'compression-invalid',
    'tar-invalid',
    'entry-refused',
    'layer-invalid',
    'limit-exceeded',
    'user-unknown',
    'id-unmapped',
    'composefs-invalid',
    'composefs-refused',
    'dump-invalid',
  ],
  quota: ['quota-exceeded'],
  unsupported: [
    'driver-unknown',
    'driver-unusable',
    'driver-invalid',
    'verity-unsupported',
    'lock-unsupported',
    'ownership-unsupported',
    'mapping-unsupported',
    'quota-unsupported',
    'system-unsupported',
    'compression-unsupported',
  ],
  system: ['system-call', 'disk-full', 'name-too-long', 'value-unrepresentable', 'module-unreadable'],
  bug: ['bug'],
  aborted: ['aborted'],
} as const

export type ErrorKind = keyof typeof ERROR_CODES
export type ErrorCode<K extends ErrorKind = ErrorKind> = (typeof ERROR_CODES)[K][number]

/** What a program reads of an error besides its code. Plain JSON values. */
export type ErrorFacts = Readonly<Record<string, string | number | boolean | null | readonly string[]>>

export interface ErrorOptions {
  readonly facts?: ErrorFacts
  readonly cause?: unknown
  /** Whether the same call may succeed later without anybody changing anything. */
  readonly temporary?: boolean
}

/** Exit status of the command for each kind of error. */
export const EXIT_STATUS = {
  usage: 2,
  partial: 3,
  store: 10,
  busy: 11,
  exists: 12,
  'not-found': 13,
  auth: 14,
  registry: 15,
  integrity: 16,
  image: 17,
  quota: 18,
  unsupported: 19,
  system: 20,
  bug: 70,
  aborted: 130,
} as const satisfies Record<ErrorKind, number>

const BRAND = Symbol.for('groot.error')
/** Chars of a text in an error. What images and registries say may have megabytes, and nobody's log shall. */
const MAX_TEXT = 8192

function cut(text: string): string {
  return text.length > MAX_TEXT ? `${text.slice(0, MAX_TEXT)}…` : text
}

function cutFact(fact: ErrorFacts[string]): ErrorFacts[string] {
  if (typeof fact === 'string') return cut(fact)
  return Array.isArray(fact) ? fact.map(cut) : fact
}

export abstract class GrootError extends Error {
  abstract readonly kind: ErrorKind
  readonly code: ErrorCode
  readonly facts: ErrorFacts
  readonly temporary: boolean
  readonly [BRAND] = true

  constructor(code: ErrorCode, message: string, options: ErrorOptions = {}) {
    super(cut(message), options.cause === undefined ? undefined : { cause: options.cause })
    this.name = new.target.name
    this.code = code
    this.facts = Object.fromEntries(
      Object.entries(options.facts ?? {}).map(([name, fact]) => [name, cutFact(fact)]),
    )
    this.temporary = options.temporary ?? false
  }

  /** Exit status that the command ends with. */
  get exitStatus(): number {
    return EXIT_STATUS[this.kind]
  }
}

/** The request itself is wrong: change the command line or the arguments. */
export class UsageError extends GrootError {
  readonly kind = 'usage'
  constructor(code: ErrorCode<'usage'>, message: string, options?: ErrorOptions) {
    super(code, message, options)
  }
}

/** The work was done as far as possible; what was left out is told beside it. */
export class PartialError extends GrootError {
  readonly kind = 'partial'
  constructor(code: ErrorCode<'partial'>, message: string, options?: ErrorOptions) {
    super(code, message, options)
  }
}

/** The store is missing, foreign, newer or damaged. */
export class StoreError extends GrootError {
  readonly kind = 'store'
  constructor(code: ErrorCode<'store'>, message: string, options?: ErrorOptions) {
    super(code, message, options)
  }
}

/** Someone else holds what is needed: try again later. */
export class BusyError extends GrootError {
  readonly kind = 'busy'
  constructor(code: ErrorCode<'busy'>, message: string, options?: ErrorOptions) {
    super(code, message, { temporary: true, ...options })
  }
}

export class ExistsError extends GrootError {
  readonly kind = 'exists'
  constructor(code: ErrorCode<'exists'>, message: string, options?: ErrorOptions) {
    super(code, message, options)
  }
}

export class NotFoundError extends GrootError {
  readonly kind = 'not-found'
  constructor(code: ErrorCode<'not-found'>, message: string, options?: ErrorOptions) {
    super(code, message, options)
  }
}

/** Credentials are missing, wrong, or were asked for by someone who must not have them. */
export class AuthError extends GrootError {
  readonly kind = 'auth'
  constructor(code: ErrorCode<'auth'>, message: string, options?: ErrorOptions) {
    super(code, message, options)
  }
}

/** A registry could not be reached or did not keep to the protocol. */
export class RegistryError extends GrootError {
  readonly kind = 'registry'
  constructor(code: ErrorCode<'registry'>, message: string, options?: ErrorOptions) {
    super(code, message, options)
  }
}

/** Bytes are not what their digest or size says. */
export class IntegrityError extends GrootError {
  readonly kind = 'integrity'
  constructor(code: ErrorCode<'integrity'>, message: string, options?: ErrorOptions) {
    super(code, message, options)
  }
}

/** The image is malformed, hostile, or of a kind that groot does not read. */
export class ImageError extends GrootError {
  readonly kind = 'image'
  constructor(code: ErrorCode<'image'>, message: string, options?: ErrorOptions) {
    super(code, message, options)
  }
}

export class QuotaError extends GrootError {
  readonly kind = 'quota'
  constructor(code: ErrorCode<'quota'>, message: string, options?: ErrorOptions) {
    super(code, message, options)
  }
}

/** This machine, user, filesystem or version cannot do what was asked. */
export class UnsupportedError extends GrootError {
  readonly kind = 'unsupported'
  constructor(code: ErrorCode<'unsupported'>, message: string, options?: ErrorOptions) {
    super(code, message, options)
  }
}

/** The operating system refused a call. Facts: `syscall`, `path`, `errno`. */
export class SystemError extends GrootError {
  readonly kind = 'system'
  constructor(code: ErrorCode<'system'>, message: string, options?: ErrorOptions) {
    super(code, message, options)
  }
}

/** A fault of groot's own. */
export class BugError extends GrootError {
  readonly kind = 'bug'
  constructor(message: string, options?: ErrorOptions) {
    super('bug', message, options)
  }
}

/** The caller's AbortSignal fired, or the process was told to end. */
export class AbortedError extends GrootError {
  readonly kind = 'aborted'
  constructor(message = 'The operation was aborted', options?: ErrorOptions) {
    super('aborted', message, options)
  }
}

/** Whether a value is one of groot's errors, whichever copy of this module made it. */
export function isGrootError(value: unknown): value is GrootError {
  return typeof value === 'object' && value !== null && (value as { [BRAND]?: unknown })[BRAND] === true
}

/** An errno error as Node's fs and the calls of lib/linux throw it. */
export interface ErrnoError extends Error {
  readonly code: string
  readonly syscall?: string
  readonly path?: string
}

export function isErrno(value: unknown, ...codes: string[]): value is ErrnoError {
  nameErrno(value)
  const code = (value as { code?: unknown } | null)?.code
  if (typeof code !== 'string' || isGrootError(value) || !/^E[A-Z0-9]+$/.test(code)) return false
  return codes.length === 0 || codes.includes(code)
}

/** What filesystems say and Node has no name for: it calls each `UNKNOWN` or `Unknown system error -N`, by where it is. */
const UNNAMED: Readonly<Record<number, readonly [code: string, meaning: string]>> = {
  74: ['EBADMSG', 'bad message'],
  116: ['ESTALE', 'stale file handle'],
  117: ['EUCLEAN', 'structure needs cleaning'],
  122: ['EDQUOT', 'disk quota exceeded'],
  123: ['ENOMEDIUM', 'no medium found'],
}
const NODES_WORDS = /^(?:UNKNOWN: unknown error|Unknown system error -\d+: Unknown system error -\d+)/

/** Gives an errno error of Node's the name that it should have; also in its message. */
function nameErrno(value: unknown): void {
  const error = value as { code?: unknown; errno?: unknown; message?: unknown } | null
  if (typeof error?.code !== 'string' || typeof error.errno !== 'number') return
  if (error.code !== 'UNKNOWN' && !error.code.startsWith('Unknown system error -')) return
  const number = Math.abs(error.errno)
  const [code, meaning] = UNNAMED[number] ?? [`E${number}`, 'unknown system error']
  if (typeof error.message === 'string')
    error.message = error.message.replace(NODES_WORDS, `${code}: ${meaning}`)
  error.code = code
}

/**
 * Turns anything thrown into one of groot's errors; those pass unchanged.
 *
 * Errno errors become SystemError (`disk-full` for ENOSPC, QuotaError for EDQUOT), an abort becomes AbortedError, and
 * what is left is a fault of groot's own.
 *
 * @param doing what could not be done, to begin the message: `Cannot write object ab12`
 */
export function toGrootError(thrown: unknown, doing = 'Cannot finish the operation'): GrootError {
  if (isGrootError(thrown)) return thrown
  // What went wrong first matters, not what went wrong when things were put away after it.
  if (isSuppressed(thrown)) return toGrootError(thrown.suppressed, doing)
  if ((thrown as { name?: unknown } | null)?.name === 'AbortError')
    return new AbortedError(undefined, { cause: thrown })
  if (isErrno(thrown)) {
    const facts = {
      errno: thrown.code,
      syscall: thrown.syscall ?? null,
      path: thrown.path?.toString() ?? null,
    }
    const message = `${doing}: ${thrown.message}`
    if (thrown.code === 'EDQUOT') return new QuotaError('quota-exceeded', message, { facts, cause: thrown })
    const code = thrown.code === 'ENOSPC' ? 'disk-full' : 'system-call'
    return new SystemError(code, message, { facts, cause: thrown })
  }
  const text = thrown instanceof Error ? thrown.message : String(thrown)
  // Node says so whatever kept it from reading a module, also that there are too many open files.
  const { code } = (thrown ?? {}) as { readonly code?: unknown }
  if (code === 'MODULE_NOT_FOUND' || code === 'ERR_MODULE_NOT_FOUND') {
    const facts = { cause: text.split('\n', 1)[0] ?? '' }
    return new SystemError('module-unreadable', `${doing}: ${facts.cause}`, { facts, cause: thrown })
  }
  return new BugError(`${doing}: ${text}`, { cause: thrown })
}

/** What `using` throws when an error was on its way already; TypeScript makes one where there is none of that name. */
function isSuppressed(thrown: unknown): thrown is Error & { readonly suppressed: unknown } {
  return thrown instanceof Error && thrown.name === 'SuppressedError' && 'suppressed' in thrown
}

/** Throws AbortedError when the signal has fired. */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (!signal?.aborted) return
  if (isGrootError(signal.reason)) throw signal.reason
  throw new AbortedError(undefined, { cause: signal.reason })
}
