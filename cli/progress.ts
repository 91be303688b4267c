/**
 * Progress: events of the library as notes for people, few enough to read.
 */
import type { ErrorFacts, GrootEvent } from '../lib/index.js'
import { counted, humanBytes } from './text.js'

export interface Note {
  /** A word for programs: an error code, or the kind of an event. */
  readonly code: string
  readonly message: string
  readonly facts?: ErrorFacts
}

export type NoteLevel = 'warn' | 'info' | 'debug'

const TELL_EVERY_MS = 2000 // often enough to see that it moves, seldom enough for a log file

/** Turns the events of one command into notes; it remembers how far each layer is. */
export class Progress {
  readonly #now: () => number
  readonly #layers = new Map<string, { readonly bytes: number; readonly of: number }>()
  #done = 0
  #toldAt: number

  /** @param now milliseconds of a clock that only goes forward */
  constructor(now: () => number) {
    this.#now = now
    this.#toldAt = now()
  }

  /** What to tell of an event, and how important it is; null when it is not worth a line. */
  describe(event: GrootEvent): (Note & { readonly level: NoteLevel }) | null {
    switch (event.kind) {
      case 'warning':
        return { level: 'warn', code: event.code, message: event.message, facts: event.facts ?? {} }
      case 'layer-start':
        this.#layers.set(event.diffId, { bytes: 0, of: event.bytes })
        return told(event, 'debug', `Reading layer ${event.diffId}, ${humanBytes(event.bytes)}`)
      case 'layer-progress':
        this.#layers.set(event.diffId, { bytes: event.bytes, of: event.of })
        return this.#isTime() ? this.#layersSoFar() : null
      case 'layer-done':
        this.#done++
        return told(event, 'info', layerLine(event))
      case 'check-progress':
        return this.#isTime() ? told(event, 'info', `Checked ${event.checked} of ${event.of}`) : null
      case 'clean-progress':
        return this.#isTime()
          ? told(event, 'info', `Removed ${event.removed} of ${counted(event.of, 'object')}`)
          : null
      default:
        return describeSimple(event)
    }
  }

  #layersSoFar(): Note & { readonly level: NoteLevel } {
    let bytes = 0
    let of = 0
    for (const layer of this.#layers.values()) {
      bytes += layer.bytes
      of += layer.of
    }
    const facts = { done: this.#done, layers: this.#layers.size, bytes, of }
    const layers = `${this.#done} of ${counted(this.#layers.size, 'layer')} done`
    return {
      level: 'info',
      code: 'layer-progress',
      message: `${layers}, ${humanBytes(bytes)} of ${humanBytes(of)}`,
      facts,
    }
  }

  #isTime(): boolean {
    const now = this.#now()
    if (now - this.#toldAt < TELL_EVERY_MS) return false
    this.#toldAt = now
    return true
  }
}

type EventOf<Kind extends GrootEvent['kind']> = Extract<GrootEvent, { readonly kind: Kind }>
type SimpleEvent = EventOf<
  | 'image-resolved'
  | 'layer-known'
  | 'layer-queued'
  | 'retry'
  | 'tree-merged'
  | 'base-ready'
  | 'rootfs-ready'
  | 'clean-removed'
  | 'lock-wait'
>

function describeSimple(event: SimpleEvent): Note & { readonly level: NoteLevel } {
  switch (event.kind) {
    case 'image-resolved':
      return told(event, 'info', `${event.reference} is ${event.digest}, ${counted(event.layers, 'layer')}`)
    case 'layer-known':
      return told(event, 'debug', `Layer ${event.diffId} is in the store`)
    case 'layer-queued':
      return told(event, 'debug', `Layer ${event.diffId} is not in the store, ${humanBytes(event.bytes)}`)
    case 'retry':
      return told(event, 'info', `${event.message}; asking ${retryPlan(event)}`)
    case 'tree-merged':
      return told(event, 'debug', `Merged the layers: ${counted(event.entries, 'entry', 'entries')}`)
    case 'base-ready':
      return told(event, 'debug', `The tree has the digest ${event.digest}`)
    case 'rootfs-ready':
      return told(event, 'info', `The rootfs of "${event.id}" is ready`)
    case 'clean-removed':
      return told(event, 'debug', `Removed ${event.what} ${event.name}, ${humanBytes(event.bytes)}`)
    case 'lock-wait':
      return told(
        event,
        'info',
        `Waiting for "${event.lock}"${event.holder === null ? '' : `, held by ${event.holder}`}`,
      )
    default:
      return event satisfies never
  }
}

function retryPlan({ endpoint, next, waitMs }: EventOf<'retry'>): string {
  const when = waitMs < 100 ? 'now' : `in ${(waitMs / 1000).toFixed(1)} s`
  return next === endpoint ? `again ${when}` : `${next} ${when}`
}

function layerLine({ diffId, entries, newObjects, newBytes }: EventOf<'layer-done'>): string {
  const news = `${counted(newObjects, 'new file')} with ${humanBytes(newBytes)}`
  return `Layer ${diffId}: ${counted(entries, 'entry', 'entries')}, ${news}`
}

/** A note whose facts are the fields of its event. */
function told(event: Exclude<GrootEvent, EventOf<'warning'>>, level: NoteLevel, message: string) {
  const { kind: code, ...facts } = event
  return { level, code, message, facts }
}
