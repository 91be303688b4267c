/**
 * What a caller's thread and the engine thread say to each other. Plain data only.
 */
import type { GrootEvent } from '../events.js'
import type {
  CallOptions,
  CheckOptions,
  CleanRequest,
  CreateRequest,
  DigestRequest,
  GrootStore,
  LimitRequest,
  OpenStoreOptions,
  RemoveImagesRequest,
} from '../operations/api.js'
import type { WireError } from '../worker/wire-error.js'

/** Options that cross the threads; the signal and the event sink stay behind and become messages. */
export type PlainCallOptions = Omit<CallOptions, 'signal' | 'onEvent'>
export type PlainCheckOptions = Omit<CheckOptions, 'signal' | 'onEvent'>
export type PlainCleanRequest = Omit<CleanRequest, 'signal' | 'onEvent'>
export type PlainCreateRequest = Omit<CreateRequest, 'signal' | 'onEvent'>
export type PlainLimitRequest = Omit<LimitRequest, 'signal' | 'onEvent'>
export type PlainDigestRequest = Omit<DigestRequest, 'signal' | 'onEvent'>

export type PlainRemoveImagesRequest = Omit<RemoveImagesRequest, 'signal' | 'onEvent'>

export type Call =
  | { readonly method: 'create'; readonly request: PlainCreateRequest }
  | { readonly method: 'digest' | 'pull'; readonly request: PlainDigestRequest }
  | {
      readonly method: 'delete' | 'stats' | 'mount' | 'unmount'
      readonly bundle: string
      readonly options: PlainCallOptions
    }
  | { readonly method: 'limit'; readonly bundle: string; readonly request: PlainLimitRequest }
  | { readonly method: 'clean'; readonly request: PlainCleanRequest }
  | { readonly method: 'pin' | 'unpin'; readonly image: string; readonly options: PlainCallOptions }
  | { readonly method: 'removeImages'; readonly request: PlainRemoveImagesRequest }
  | { readonly method: 'list' | 'images' | 'locks'; readonly options: PlainCallOptions }
  | { readonly method: 'check'; readonly options: PlainCheckOptions }

export type CallResult<M extends Call['method']> = Awaited<ReturnType<GrootStore[M]>>

export type ToEngine =
  /** With the program of the caller's thread: the engine's own is the engine. */
  | { readonly kind: 'open'; readonly options: OpenStoreOptions; readonly program: string | null }
  | { readonly kind: 'call'; readonly id: number; readonly call: Call; readonly wantsEvents: boolean }
  | { readonly kind: 'abort'; readonly id: number }
  | { readonly kind: 'close' }

export type FromEngine =
  | { readonly kind: 'opened'; readonly path: string; readonly driver: string }
  | { readonly kind: 'open-failed'; readonly error: WireError }
  | { readonly kind: 'closed' }
  | { readonly kind: 'event'; readonly id: number; readonly event: GrootEvent }
  | { readonly kind: 'result'; readonly id: number; readonly value: unknown }
  | { readonly kind: 'failed'; readonly id: number; readonly error: WireError }
