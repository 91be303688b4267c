/**
 * What operations report while they run. Subscribers draw, log and count; stories only emit.
 */
import type { ErrorFacts } from './errors.js'

export type GrootEvent =
  | {
      readonly kind: 'image-resolved'
      readonly reference: string
      readonly digest: string
      readonly layers: number
    }
  | { readonly kind: 'layer-known'; readonly diffId: string }
  /** A layer that the store lacks; what comes of it is told under its diff id. */
  | {
      readonly kind: 'layer-queued'
      readonly diffId: string
      readonly digest: string
      readonly bytes: number
    }
  | { readonly kind: 'layer-start'; readonly diffId: string; readonly bytes: number }
  | { readonly kind: 'layer-progress'; readonly diffId: string; readonly bytes: number; readonly of: number }
  | {
      readonly kind: 'layer-done'
      readonly diffId: string
      readonly entries: number
      readonly newObjects: number
      readonly newBytes: number
    }
  /** Something of a registry is asked for again, there or elsewhere. */
  | {
      readonly kind: 'retry'
      readonly what: 'manifest' | 'blob'
      /** Tag or digest. */
      readonly name: string
      /** `https://host[:port]` of who failed, and of who is asked next. */
      readonly endpoint: string
      readonly next: string
      /** How many requests for it have failed. */
      readonly attempt: number
      /** What went wrong: code and message of its error. */
      readonly code: string
      readonly message: string
      readonly waitMs: number
    }
  | { readonly kind: 'tree-merged'; readonly entries: number }
  | { readonly kind: 'base-ready'; readonly id: string; readonly digest: string; readonly bytes: number }
  | { readonly kind: 'rootfs-ready'; readonly id: string }
  | { readonly kind: 'lock-wait'; readonly lock: string; readonly holder: string | null }
  | {
      readonly kind: 'clean-removed'
      readonly what: string
      readonly name: string
      readonly bytes: number
    }
  /** Objects that are looked at and removed where nobody needs them any more. */
  | { readonly kind: 'clean-progress'; readonly removed: number; readonly of: number }
  | { readonly kind: 'check-progress'; readonly checked: number; readonly of: number }
  | { readonly kind: 'warning'; readonly code: string; readonly message: string; readonly facts?: ErrorFacts }

/** Receives events; must not throw. */
export type EventSink = (event: GrootEvent) => void
