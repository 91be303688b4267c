/**
 * Replaying a layer record through the tar reader and the policy: the layer's changes again, without its contents.
 *
 * The same reader and policy see the same bytes as at ingest, so there is one way from a tar to a tree.
 */
import { IntegrityError } from '../errors.js'
import type { Work } from '../linux/slices.js'
import type { LayerChange } from '../tree/change.js'
import { type Content, NO_CONTENT } from '../tree/model.js'
import type { TarEntry } from './entry.js'
import { LayerPolicy } from './layer-policy.js'
import type { LayerLimits } from './limits.js'
import type { DroppedXattr } from './policy.js'
import { TarReader, type TarSink } from './read-tar.js'
import { type RecordVisitor, readRecord, scanRecord } from './record.js'

/**
 * The changes of a recorded layer, in order.
 *
 * @throws {IntegrityError} `layer-damaged` when the record and its tar headers do not fit together
 */
export function replayLayer(
  path: string,
  limits: LayerLimits,
  onDropped?: (dropped: DroppedXattr) => void,
): LayerChange[] {
  const changes: LayerChange[] = []
  visitLayer(path, limits, collector(changes, limits, onDropped))
  return changes
}

/** The same as work that may be interrupted. Of a damaged record it says what comes up first, which may be anything. */
export function* replayInSteps(
  path: string,
  limits: LayerLimits,
  onDropped?: (dropped: DroppedXattr) => void,
): Work<LayerChange[]> {
  const changes: LayerChange[] = []
  const replay = new Replay(path, limits, collector(changes, limits, onDropped))
  yield* scanRecord(path, replay)
  replay.end()
  return changes
}

function collector(
  changes: LayerChange[],
  limits: LayerLimits,
  onDropped: ((dropped: DroppedXattr) => void) | undefined,
): LayerVisitor {
  const policy = new LayerPolicy(limits, onDropped)
  return {
    raw: () => {},
    entry: (entry, content) => {
      const change = policy.apply(entry, content)
      if (change !== null) changes.push(change)
    },
    stored: () => {},
  }
}

/** Receives a recorded layer, in the order of its tar. */
export interface LayerVisitor {
  /** Bytes of the tar that are not contents. */
  raw(bytes: Uint8Array): void
  /** A member with its content; before `stored`. */
  entry(entry: TarEntry, content: Content): void
  /** In place of the content's bytes in the tar: `length` stored bytes of the member last seen. */
  stored(entry: TarEntry, content: Content, length: number): void
}

/**
 * @throws {IntegrityError} `layer-damaged`; {ImageError} `limit-exceeded` when the limits are tighter than at ingest
 */
export function visitLayer(path: string, limits: LayerLimits, visitor: LayerVisitor): void {
  const replay = new Replay(path, limits, visitor)
  try {
    readRecord(path, replay)
    replay.end()
  } catch (error) {
    // A damaged record is read until its checksum is seen, and may look like a malformed tar before.
    readRecord(path, { raw: () => {}, content: () => {} })
    throw error
  }
}

class Replay implements RecordVisitor {
  readonly #path: string
  readonly #visitor: LayerVisitor
  readonly #reader: TarReader
  /** A file with content whose content segment has not come yet. */
  #waiting: TarEntry | null = null

  constructor(path: string, limits: LayerLimits, visitor: LayerVisitor) {
    this.#path = path
    this.#visitor = visitor
    this.#reader = new TarReader(this.#sink(), limits)
  }

  raw(bytes: Uint8Array): void {
    if (this.#waiting !== null) throw damaged(this.#path, 'a content is missing')
    this.#reader.write(bytes)
  }

  content(content: Exclude<Content, { kind: 'empty' }>): void {
    const entry = this.#waiting
    if (entry === null) throw damaged(this.#path, 'a content stands where there is none')
    this.#waiting = null
    if (content.kind === 'inline' && content.bytes.length !== entry.size) {
      throw damaged(this.#path, 'an inline content has the wrong length')
    }
    this.#visitor.entry(entry, content)
    const length = this.#reader.contentLeft
    this.#visitor.stored(entry, content, length)
    if (length > 0) this.#reader.skipContent(length)
  }

  end(): void {
    if (this.#waiting !== null) throw damaged(this.#path, 'a content is missing')
    this.#reader.end()
  }

  #sink(): TarSink {
    return {
      raw: (bytes) => this.#visitor.raw(bytes),
      entry: (entry) => {
        if (entry.size > 0) this.#waiting = entry
        else this.#visitor.entry(entry, NO_CONTENT)
      },
      content: () => {
        throw damaged(this.#path, 'raw bytes stand where a content should be')
      },
      entryEnd: () => {},
    }
  }
}

function damaged(path: string, cause: string): IntegrityError {
  return new IntegrityError('layer-damaged', `Cannot read layer record "${path}": ${cause}`, {
    facts: { path, cause },
  })
}
