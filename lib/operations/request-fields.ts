/**
 * What fields the requests of the library have, and of which types. What the values mean is looked at where they are used.
 */
import { UsageError } from '../errors.js'
import type {
  CallOptions,
  CheckOptions,
  CleanRequest,
  CreateRequest,
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
  readonly is: (value: unknown) => boolean
  readonly isNeeded?: true
  readonly fields?: Readonly<Record<string, Kind>>
}

/** A kind for each field, so that none is forgotten. */
export type Fields<T> = { readonly [K in keyof T]-?: Kind }

/** @throws {UsageError} `option-invalid`; the facts name the option, what it is and what it should be */
export function checkFields(fields: Readonly<Record<string, Kind>>, request: object, within = ''): void {
  if (!isObject(request)) throw wrong(within === '' ? 'request' : within, 'an object', request)
  for (const name in fields) {
    const { wanted, is, isNeeded, fields: inner } = fields[name]!
    const value = (request as Readonly<Record<string, unknown>>)[name]
    if (value === undefined && isNeeded !== true) continue
    const option = within === '' ? name : `${within}.${name}`
    if (!is(value)) throw wrong(option, wanted, value)
    if (inner !== undefined && value !== null) checkFields(inner, value as object, option)
  }
}

function wrong(option: string, wanted: string, value: unknown): UsageError {
  const found = value === null ? 'null' : Array.isArray(value) ? 'list' : typeof value
  const message = `Cannot use what is given as ${option}: ${wanted} is needed, and it is of type ${found}`
  return new UsageError('option-invalid', message, { facts: { option, found, wanted } })
}

const isObject = (value: unknown): value is object =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
const isString = (value: unknown): value is string => typeof value === 'string'
const isFunction = (value: unknown): boolean => typeof value === 'function'

const ANY: Kind = { wanted: 'anything', is: () => true }
const TEXT: Kind = { wanted: 'a string', is: isString }
const NUMBER: Kind = { wanted: 'a number', is: (value) => typeof value === 'number' }
const FLAG: Kind = { wanted: 'true or false', is: (value) => typeof value === 'boolean' }
const OBJECT: Kind = { wanted: 'an object', is: isObject }
const FUNCTION: Kind = { wanted: 'a function', is: isFunction }
const TEXTS = listOf(TEXT, 'a list of strings')
const SIGNAL: Kind = {
  wanted: 'an AbortSignal',
  is: (value) => isObject(value) && isFunction((value as Partial<AbortSignal>).addEventListener),
}
const INPUT: Kind = {
  wanted: 'a path or an iterable of bytes',
  is: (value) => isString(value) || (isObject(value) && Symbol.asyncIterator in value),
}
const SINK: Kind = {
  wanted: 'a path or a sink of bytes',
  is: (value) => isString(value) || (isObject(value) && 'write' in value),
}
const INPUTS = listOf(INPUT, 'a list of paths or iterables of bytes')

function listOf({ is }: Kind, wanted: string): Kind {
  return { wanted, is: (value) => Array.isArray(value) && value.every(is) }
}

function needed(kind: Kind): Kind {
  return { ...kind, isNeeded: true }
}

function objectOf(fields: Readonly<Record<string, Kind>>): Kind {
  return { ...OBJECT, fields }
}

export const CALL: Fields<CallOptions> = { signal: SIGNAL, onEvent: FUNCTION, lockTimeoutMs: NUMBER }
/** Of calls about one bundle or image, which is told by itself. */
export const ID = { id: needed(TEXT) }
export const IMAGE = { image: needed(TEXT) }

const CREDENTIALS = objectOf({ username: needed(TEXT), password: needed(TEXT) })
const REGISTRY = objectOf({
  authFile: TEXT,
  certsDirectory: TEXT,
  registriesConf: TEXT,
  ignoreHostFiles: FLAG,
  environment: OBJECT,
})
const MAPPING: Kind = { wanted: 'an object or null', is: (value) => value === null || isObject(value) }

export const DIGEST: Fields<DigestRequest> = {
  ...CALL,
  ...IMAGE,
  platform: TEXT,
  insecureRegistries: TEXTS,
  credentials: CREDENTIALS,
  registry: REGISTRY,
  limits: objectOf({
    maxFileBytes: NUMBER,
    maxTotalBytes: NUMBER,
    maxEntries: NUMBER,
    maxMetadataBytes: NUMBER,
  }),
  noSync: FLAG,
  pull: TEXT,
}
export const PULL: Fields<PullRequest> = { ...DIGEST, mapping: MAPPING }
export const CREATE: Fields<CreateRequest> = {
  ...PULL,
  ...ID,
  readOnly: FLAG,
  withoutMount: FLAG,
  verity: TEXT,
  expectDigest: TEXT,
  ignoreOwnership: FLAG,
  withClean: objectOf({ thresholdBytes: NUMBER }),
  diskLimitSizeBytes: NUMBER,
  excludeImageFromQuota: FLAG,
  quotaBackend: TEXT,
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
  thread: TEXT,
}
export const INIT_STORE: Fields<InitStoreOptions> = {
  path: needed(TEXT),
  driver: TEXT,
  driverOptions: ANY,
  mapping: MAPPING,
  noSync: FLAG,
  filesystem: TEXT,
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

const MAKE = { signal: SIGNAL, image: SINK, minVersion: NUMBER, maxVersion: NUMBER, hash: TEXT }
const MAKE_FROM_DIRECTORY: Fields<MakeFromDirectory> = {
  ...MAKE,
  directory: needed(TEXT),
  digestStore: TEXT,
  useEpoch: FLAG,
  skipDevices: FLAG,
  xattrs: TEXT,
  hardLinks: TEXT,
  threads: NUMBER,
}
const MAKE_FROM_DUMP: Fields<MakeFromDump> = { ...MAKE, dump: needed(INPUT), strict: FLAG }
/** Which of the two it is, its field tells. */
export function makeFields(request: MakeComposefs): Fields<MakeComposefs> {
  return isObject(request) && 'dump' in request ? MAKE_FROM_DUMP : MAKE_FROM_DIRECTORY
}

export const FILTER: Fields<FilterImages> = { signal: SIGNAL, images: needed(INPUTS), filter: TEXTS }
export const INFO: Fields<InfoRequest> = { signal: SIGNAL, images: needed(INPUTS), hash: TEXT }
export const MISSING: Fields<MissingObjectsRequest> = { ...FILTER, basedir: needed(TEXT) }
export const MEASURE: Fields<MeasureRequest> = { signal: SIGNAL, files: needed(INPUTS), hash: TEXT }
export const MOUNT: Fields<MountImage> = {
  signal: SIGNAL,
  image: needed(TEXT),
  target: needed(TEXT),
  objects: needed(TEXTS),
  upper: TEXT,
  work: TEXT,
  readOnly: FLAG,
  verity: TEXT,
  digest: TEXT,
}
