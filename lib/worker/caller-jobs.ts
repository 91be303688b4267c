/**
 * Jobs on the thread that asks for them: small ones, and, for a command on a machine with few processors, a large one alone. The
 * kernel and Node's thread pool write, hash and decompress meanwhile; a thread of its own would start first, compile the same
 * code again, and what it finds out would have to be read again here.
 */
import { closeSync, openSync } from 'node:fs'
import { BugError, throwIfAborted } from '../errors.js'
import { syncFilesystemLater } from '../linux/sync.js'
import { isSyncing } from '../linux/sync-mode.js'
import { Turns } from '../linux/turns.js'
import { type Job, type JobResults, runJob } from './jobs.js'
import type { JobRunner, RunOptions } from './pool.js'

/** A connection gives some 16 KiB at a time, which would be more calls than work; and who decompresses must not wait for us. */
const PIECE_BYTES = 1024 * 1024

export class CallerJobs implements JobRunner {
  readonly #turns: Turns
  readonly #syncs: SharedSyncs

  /**
   * @param size how many take turns at most
   * @param store its directory
   */
  constructor(size: number, store: string) {
    this.#turns = new Turns(size)
    this.#syncs = new SharedSyncs(store)
  }

  run<J extends Job>(job: J, options: RunOptions): Promise<JobResults[J['kind']]> {
    return this.#turns.run(() => this.#run(job, options))
  }

  async #run<J extends Job>(job: J, options: RunOptions): Promise<JobResults[J['kind']]> {
    const { signal, onProgress, onRecorded, onChanges, announce = nobody, onStreamOver } = options
    try {
      throwIfAborted(signal)
      using syncs = this.#syncs.begin()
      const result = await runJob(job, {
        stream: gathered(options.stream ?? [], pieceBytesOf(job)),
        progress: (bytes) => onProgress?.(bytes),
        recording: () => {},
        recorded: () => (onChanges === undefined ? onRecorded?.() : undefined),
        changes: onChanges,
        syncFilesystem: () => syncs.sync(),
        announce,
        checkAborted: () => throwIfAborted(signal),
      })
      // The job's kind decides its result.
      return result as JobResults[J['kind']]
    } finally {
      onStreamOver?.()
    }
  }
}

interface SyncsUser extends Disposable {
  /** Syncs the filesystem. @throws what a sync failed with since this user began */
  sync(): Promise<void>
}

/**
 * Syncs of one filesystem: who asks while one is under way shares the next with all others that do.
 *
 * The kernel tells of contents that it could not write once, to each descriptor that was open then (syncfs(2)). So one is open
 * for as long as anybody works here, and what it tells is told to all who did then: it may have been theirs.
 */
class SharedSyncs {
  readonly #directory: string
  #witness = -1
  #users = 0
  #running: Promise<void> | null = null
  #next: Promise<void> | null = null
  #failures = 0
  #lastFailure: unknown = null

  constructor(directory: string) {
    this.#directory = directory
  }

  begin(): SyncsUser {
    if (this.#users === 0) this.#witness = openSync(this.#directory, 'r')
    this.#users++
    const failuresBefore = this.#failures
    return {
      sync: async () => {
        // Who does without must not begin what others rely on.
        if (!isSyncing()) return
        await this.#shared()
        if (this.#failures > failuresBefore) throw this.#lastFailure
      },
      [Symbol.dispose]: () => {
        this.#users--
        if (this.#users === 0) closeSync(this.#witness)
      },
    }
  }

  #shared(): Promise<void> {
    // What runs now may have begun before the last content was written.
    if (this.#running !== null) this.#next ??= this.#running.then(() => this.#start())
    return this.#next ?? this.#start()
  }

  #start(): Promise<void> {
    this.#next = null
    const running = syncFilesystemLater(this.#witness)
      .catch((error: unknown) => {
        this.#failures++
        this.#lastFailure = error
      })
      .finally(() => {
        if (this.#running === running) this.#running = null
      })
    this.#running = running
    return running
  }
}

/** The stream in larger pieces, one ahead of who asks. A piece is valid until the next is asked for. */
async function* gathered(
  stream: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  pieceBytes: number,
): AsyncGenerator<Uint8Array> {
  const pieces = piecesOf(stream, pieceBytes)
  let coming = pieces.next()
  try {
    for (;;) {
      const { done, value } = await coming
      if (done === true) return
      coming = pieces.next()
      // Told when it is asked for.
      coming.catch(() => {})
      yield value
    }
  } finally {
    void pieces.return(undefined).catch(() => {})
  }
}

/** Two pieces of memory in turn: one is filled while the other is used. */
async function* piecesOf(
  stream: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  pieceBytes: number,
): AsyncGenerator<Uint8Array, void, undefined> {
  let piece = Buffer.allocUnsafeSlow(pieceBytes)
  let other: Buffer<ArrayBuffer> | null = null
  let filled = 0
  for await (const chunk of stream) {
    for (let at = 0; at < chunk.length; ) {
      const part = chunk.subarray(at, at + pieceBytes - filled)
      piece.set(part, filled)
      at += part.length
      filled += part.length
      if (filled < pieceBytes) continue
      yield piece
      ;[piece, other] = [other ?? Buffer.allocUnsafeSlow(pieceBytes), piece]
      filled = 0
    }
  }
  if (filled > 0) yield piece.subarray(0, filled)
}

/** A blob that is shorter than a piece is one; and one byte more tells that it is longer than it should be. */
function pieceBytesOf(job: Job): number {
  return job.kind === 'ingest' ? Math.min(job.request.size + 1, PIECE_BYTES) : PIECE_BYTES
}

function nobody(): never {
  throw new BugError('Cannot announce a record: nobody said how')
}
