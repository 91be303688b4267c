/**
 * What fields the requests of the library have, and of which types. What the values mean is looked at where they are used.
 */
import type { RegistrySettings } from '../config/settings.js'
import { UsageError } from '../errors.js'
import type { IdMappingRequest, IdRange } from '../ids/mapping.js'
import type {
  CallOptions,
  CheckOptions,
  CleanRequest,
  CreateRequest,
  Credentials,
  DeleteStoreOptions,
  DigestRequest,
  InitStoreOptions,
  LimitRequest,
  LoginRequest,
  LogoutRequest,
  MountStoreOptions,
  OpenStoreOptions,
  PullRequest,
  RemoveImagesRequest,
} from './api.js'
import type {
  FilterImages,
  InfoRequest,
  MakeComposefs,
  MakeFromDirectory,
  MakeFromDump,
  MeasureRequest,
  MissingObjectsRequest,
  MountImage,
} from './composefs/api.js'

interface Kind {
  /** As messages name it. */
  readonly wanted: string
  /**
   * Reads a value once.
   *
   * @param option its name, for errors of what is in it
   * @returns a copy that its giver cannot change any more, or REFUSED
   */
  readonly take: (value: unknown, option: string) => unknown
  readonly isNeeded?: true
  /** Whether a word that is refused is told. Others may be secrets that stand in the wrong place. */
  readonly isTold?: true
}

const REFUSED = Symbol('refused')

/** A kind for each field, so that none is forgotten. */
export type Fields<T> = { readonly [K in keyof T]-?: Kind }

/**
 * Reads a request once, its own fields and what it inherits, and leaves what no field is for.
 *
 * @returns a copy, which can be sent to another thread but for its functions
 * @throws {UsageError} `option-invalid`; the facts name the option, what it is and what it should be
 */
export function takeFields<T extends object>(fields: Fields<T>, request: T, within = ''): T {
  const taken: Record<string, unknown> = {}
  if (!isObject(request)) throw wrong(within === '' ? 'request' : within, 'an object', request)
  for (const name of Object.keys(fields) as (keyof T & string)[]) {
    const { wanted, take, isNeeded, isTold } = fields[name]
    const option = within === '' ? name : `${within}.${name}`
    const value = read(request, name, option)
    if (value === undefined && isNeeded !== true) continue
    const copy = take(value, option)
    if (copy === REFUSED) throw wrong(option, wanted, value, isTold)
    taken[name] = copy
  }
  return taken as T
}

function read<T extends object>(request: T, name: keyof T, option: string): unknown {
  try {
    return request[name]
  } catch (error) {
    const message = `Cannot use what is given as ${option}: reading it failed`
    throw new UsageError('option-invalid', message, { facts: { option }, cause: error })
  }
}

function wrong(option: string, wanted: string, value: unknown, isTold = false): UsageError {
  const found = value === null ? 'null' : Array.isArray(value) ? 'list' : typeof value
  const is = isTold && typeof value === 'string' ? JSON.stringify(value) : `of type ${found}`
  const message = `Cannot use what is given as ${option}: ${wanted} is needed, and it is ${is}`
  return new UsageError('option-invalid', message, { facts: { option, found, wanted } })
}

const isObject = (value: unknown): value is object =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
const isString = (value: unknown): value is string => typeof value === 'string'
const isFunction = (value: unknown): boolean => typeof value === 'function'
const isPath = (value: unknown): boolean => isString(value) && !value.includes('\0')

/** What cannot be changed is its own copy, and what is not data is left as it is. */
function kind(wanted: string, is: (value: unknown) => boolean): Kind {
  return { wanted, take: (value) => (is(value) ? value : REFUSED) }
}

const TEXT = kind('a string', isString)
const PATH = kind('a path without NUL', isPath)
const NUMBER = kind('a number', (value) => typeof value === 'number' && !Number.isNaN(value))
const MILLISECONDS = kind(
  'a number of milliseconds, from 0',
  (value) => typeof value === 'number' && value >= 0,
)
const FLAG = kind('true or false', (value) => typeof value === 'boolean')
const FUNCTION = kind('a function', isFunction)
const TEXTS = listOf(TEXT, 'a list of strings')
const PATHS = listOf(PATH, 'a list of paths without NUL')
const SIGNAL = kind(
  'an AbortSignal',
  (value) => isObject(value) && isFunction((value as Partial<AbortSignal>).addEventListener),
)
const INPUT = kind(
  'a path or an iterable of bytes',
  (value) => isPath(value) || (isObject(value) && Symbol.asyncIterator in value),
)
const SINK = kind(
  'a path or a sink of bytes',
  (value) => isPath(value) || (isObject(value) && 'write' in value),
)
const INPUTS = listOf(INPUT, 'a list of paths or iterables of bytes')
/** What store.json can hold. */
const JSON_VALUE: Kind = {
  wanted: 'a value of JSON',
  take: (value) => {
    try {
      const text = JSON.stringify(value)
      return text === undefined ? REFUSED : JSON.parse(text)
    } catch {
      return REFUSED
    }
  },
}
const VARIABLES: Kind = {
  wanted: 'an object of strings',
  take: (value) => {
    if (!isObject(value)) return REFUSED
    const entries = Object.entries(value).filter(([, text]) => text !== undefined)
    return entries.every(([, text]) => isString(text)) ? Object.fromEntries(entries) : REFUSED
  },
}

function oneOf<V extends string | number>(values: readonly V[]): Kind {
  const wanted = `one of ${values.join(', ')}`
  return { ...kind(wanted, (value) => values.includes(value as V)), isTold: true }
}

function listOf({ take }: Kind, wanted: string): Kind {
  return {
    wanted,
    take: (values, option) => {
      if (!Array.isArray(values)) return REFUSED
      const copies = Array.from(values, (value) => take(value, option))
      return copies.includes(REFUSED) ? REFUSED : copies
    },
  }
}

function needed(kind: Kind): Kind {
  return { ...kind, isNeeded: true }
}

function orNull({ wanted, take }: Kind): Kind {
  return {
    wanted: `${wanted} or null`,
    take: (value, option) => (value === null ? null : take(value, option)),
  }
}

function objectOf<T extends object>(fields: Fields<T>): Kind {
  return {
    wanted: 'an object',
    take: (value, option) => (isObject(value) ? takeFields(fields, value as T, option) : REFUSED),
  }
}

export const CALL: Fields<CallOptions> = { signal: SIGNAL, onEvent: FUNCTION, lockTimeoutMs: MILLISECONDS }
/** Of calls about one bundle or image, which is told by itself. */
export const ID = { id: needed(TEXT) }
export const IMAGE = { image: needed(TEXT) }

const CREDENTIALS = objectOf<Credentials>({ username: needed(TEXT), password: needed(TEXT) })
const REGISTRY = objectOf<RegistrySettings>({
  authFile: TEXT,
  certsDirectory: TEXT,
  registriesConf: TEXT,
  ignoreHostFiles: FLAG,
  environment: VARIABLES,
})
const RANGES = listOf(
  objectOf<IdRange>({ containerId: needed(NUMBER), hostId: needed(NUMBER), size: needed(NUMBER) }),
  'a list of ranges',
)
const MAPPING = orNull(
  objectOf<IdMappingRequest>({
    uid: needed(RANGES),
    gid: needed(RANGES),
    unmapped: oneOf(['refuse', 'squash']),
  }),
)

export const DIGEST: Fields<DigestRequest> = {
  ...CALL,
  ...IMAGE,
  platform: TEXT,
  insecureRegistries: TEXTS,
  credentials: CREDENTIALS,
  registry: REGISTRY,
  limits: objectOf<NonNullable<DigestRequest['limits']>>({
    maxFileBytes: NUMBER,
    maxTotalBytes: NUMBER,
    maxEntries: NUMBER,
    maxMetadataBytes: NUMBER,
  }),
  noSync: FLAG,
  pull: oneOf(['missing', 'always', 'never']),
}
export const PULL: Fields<PullRequest> = { ...DIGEST, mapping: MAPPING }
export const CREATE: Fields<CreateRequest> = {
  ...PULL,
  ...ID,
  readOnly: FLAG,
  withoutMount: FLAG,
  verity: oneOf(['require', 'try', 'off']),
  expectDigest: TEXT,
  ignoreOwnership: FLAG,
  withClean: objectOf<NonNullable<CreateRequest['withClean']>>({ thresholdBytes: NUMBER }),
  diskLimitSizeBytes: NUMBER,
  excludeImageFromQuota: FLAG,
  quotaBackend: oneOf(['native', 'loop']),
}
export const LIMIT: Fields<LimitRequest> = {
  ...CALL,
  diskLimitSizeBytes: needed(NUMBER),
  excludeImageFromQuota: FLAG,
}
export const CHECK: Fields<CheckOptions> = { ...CALL, repair: FLAG }
export const CLEAN: Fields<CleanRequest> = {
  ...CALL,
  thresholdBytes: NUMBER,
  olderThanMs: NUMBER,
  keep: TEXTS,
  dryRun: FLAG,
  maxDurationMs: NUMBER,
}
export const REMOVE_IMAGES: Fields<RemoveImagesRequest> = { ...CALL, images: needed(TEXTS), force: FLAG }

export const OPEN_STORE: Fields<OpenStoreOptions> = {
  path: needed(TEXT),
  driver: TEXT,
  make: FLAG,
  thread: oneOf(['engine', 'caller']),
}
export const INIT_STORE: Fields<InitStoreOptions> = {
  path: needed(TEXT),
  driver: TEXT,
  driverOptions: JSON_VALUE,
  mapping: MAPPING,
  noSync: FLAG,
  filesystem: oneOf(['ext4', 'xfs', 'btrfs']),
  storeSizeBytes: NUMBER,
  backingFile: TEXT,
}
export const MOUNT_STORE: Fields<MountStoreOptions> = { path: needed(TEXT) }
export const DELETE_STORE: Fields<DeleteStoreOptions> = { path: needed(TEXT), force: FLAG }
export const LOGOUT: Fields<LogoutRequest> = {
  signal: SIGNAL,
  onEvent: FUNCTION,
  host: needed(TEXT),
  registry: REGISTRY,
}
export const LOGIN: Fields<LoginRequest> = {
  ...LOGOUT,
  credentials: needed(CREDENTIALS),
  insecureRegistries: TEXTS,
}

const HASH = oneOf(['sha256', 'sha512'])
const VERSION = oneOf([0, 1])
const MAKE = { signal: SIGNAL, image: SINK, minVersion: VERSION, maxVersion: VERSION, hash: HASH }
const MAKE_FROM_DIRECTORY: Fields<MakeFromDirectory> = {
  ...MAKE,
  directory: needed(PATH),
  digestStore: PATH,
  useEpoch: FLAG,
  skipDevices: FLAG,
  xattrs: oneOf(['all', 'user', 'none']),
  hardLinks: oneOf(['keep', 'split']),
  threads: NUMBER,
}
const MAKE_FROM_DUMP: Fields<MakeFromDump> = { ...MAKE, dump: needed(INPUT), strict: FLAG }
/** Which of the two it is, its field tells. */
export function makeFields(request: MakeComposefs): Fields<MakeComposefs> {
  return isObject(request) && 'dump' in request ? MAKE_FROM_DUMP : MAKE_FROM_DIRECTORY
}

export const FILTER: Fields<FilterImages> = { signal: SIGNAL, images: needed(INPUTS), filter: TEXTS }
export const INFO: Fields<InfoRequest> = { signal: SIGNAL, images: needed(INPUTS), hash: HASH }
export const MISSING: Fields<MissingObjectsRequest> = { ...FILTER, basedir: needed(PATH) }
export const MEASURE: Fields<MeasureRequest> = { signal: SIGNAL, files: needed(INPUTS), hash: HASH }
export const MOUNT: Fields<MountImage> = {
  signal: SIGNAL,
  image: needed(PATH),
  target: needed(PATH),
  objects: needed(PATHS),
  upper: PATH,
  work: PATH,
  readOnly: FLAG,
  verity: oneOf(['require', 'off']),
  digest: TEXT,
}
