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
  | { readonly kind: 'layer-start'; readonly diffId: string; readonly bytes: number }
  | { readonly kind: 'layer-progress'; readonly diffId: string; readonly bytes: number; readonly of: number }
  | {
      readonly kind: 'layer-done'
      readonly diffId: string
      readonly entries: number
      readonly newObjects: number
      readonly newBytes: number
    }
  | { readonly kind: 'tree-merged'; readonly entries: number }
  | { readonly kind: 'rootfs-ready'; readonly id: string }
  | { readonly kind: 'lock-wait'; readonly lock: string; readonly holder: string | null }
  | { readonly kind: 'check-progress'; readonly checked: number; readonly of: number }
  | { readonly kind: 'warning'; readonly code: string; readonly message: string; readonly facts?: ErrorFacts }

/** Receives events; must not throw. */
export type EventSink = (event: GrootEvent) => void
