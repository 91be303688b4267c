/**
 * The threads of one scan, and the batches that wait for them. The caller is one of the crew: what waits is its to take,
 * too. Threads are started when there is more to do than those at work get through, for starting one takes as long as
 * reading a thousand small files, and at first it is slow.
 */
import type { Worker } from 'node:worker_threads'
import { BugError, throwIfAborted } from '../errors.js'
import type { FileRecord, ScanBatch, ScanSettings } from './scan-files.js'
import { type PackedRecords, unpackRecords } from './scan-records.js'
import { giveBackScanThread, listenTo, takeScanThread } from './scan-threads.js'
import { fromWire, type WireError } from './wire-error.js'

export type ToScanThread =
  | { readonly kind: 'begin'; readonly settings: ScanSettings; readonly aborted: SharedArrayBuffer }
  | { readonly kind: 'batch'; readonly id: number; readonly batch: ScanBatch }
  /** Nothing more comes of this scan. */
  | { readonly kind: 'end' }

export type ToCrew =
  | { readonly kind: 'done'; readonly id: number; readonly packed: PackedRecords }
  | { readonly kind: 'failed'; readonly error: WireError }
  /** Nothing of the scan is open any more. */
  | { readonly kind: 'ended' }

/** Names to read, and what the caller wants to know again when they are read. */
export interface CrewBatch<Place> {
  readonly batch: ScanBatch
  /** One for each name. */
  readonly places: readonly Place[]
}

/** Takes what was read: the first names of the batch, as many as there are records. */
export type Received<Place> = (read: CrewBatch<Place>, records: readonly FileRecord[]) => void

interface CrewThread {
  /** Numbers of the batches that it has. */
  readonly given: Set<number>
  readonly unlisten: () => void
}

/** Batches that wait for each one at work before another thread is started: some 100 ms of work. */
const WAITING_PER_THREAD = 16
/** Batches that a thread has at a time, so that it does not wait for us between two. */
const AHEAD = 2

export class ScanCrew<Place> {
  readonly #settings: ScanSettings
  readonly #maxThreads: number
  readonly #received: Received<Place>
  readonly #waiting: CrewBatch<Place>[] = []
  readonly #threads = new Map<Worker, CrewThread>()
  readonly #given = new Map<number, CrewBatch<Place>>()
  readonly #aborted = new SharedArrayBuffer(4)
  #waitingPerThread = WAITING_PER_THREAD
  #lastId = 0
  #failure: Error | null = null
  #wake: (() => void) | null = null

  /** @param threads how many read at the same time, the caller included */
  constructor(settings: ScanSettings, threads: number, received: Received<Place>) {
    this.#settings = settings
    this.#maxThreads = threads - 1
    this.#received = received
  }

  /** Batches that nobody has taken. */
  get waiting(): number {
    return this.#waiting.length
  }

  add(batch: CrewBatch<Place>): void {
    this.#waiting.push(batch)
    this.#handOut()
  }

  /** A batch for the caller to read, which goes back by `finish`; undefined when none waits. */
  take(): CrewBatch<Place> | undefined {
    return this.#waiting.pop()
  }

  /** Takes what was read of a batch; the rest, if one was left, waits again. */
  finish(read: CrewBatch<Place>, records: readonly FileRecord[]): void {
    this.#received(read, records)
    const done = records.length
    const left = read.places.length - done
    if (left === 0) return
    // The files are large, so each is worth a thread.
    this.#waitingPerThread = 0
    this.add(part(read, done, 1))
    if (left > 1) this.add(part(read, done + 1, left - 1))
  }

  /**
   * Whether a batch waits again: resolves when one does, with true, or when all batches are read.
   *
   * @throws what a thread failed with
   * @throws {AbortedError}
   */
  async more(signal: AbortSignal | undefined): Promise<boolean> {
    const wake = () => this.#wakeUp()
    signal?.addEventListener('abort', wake)
    try {
      for (;;) {
        throwIfAborted(signal)
        this.check()
        if (this.#waiting.length > 0) return true
        if (this.#given.size === 0) return false
        await new Promise<void>((resolve) => {
          this.#wake = resolve
        })
      }
    } finally {
      signal?.removeEventListener('abort', wake)
    }
  }

  /** @throws what a thread failed with */
  check(): void {
    if (this.#failure !== null) throw this.#failure
  }

  /** Lets the threads go; what they are at is given up. When this returns, they have nothing of the scan open. */
  async close(): Promise<void> {
    Atomics.store(new Int32Array(this.#aborted), 0, 1)
    const threads = [...this.#threads]
    this.#threads.clear()
    for (const [, { unlisten }] of threads) unlisten()
    await Promise.all(threads.map(([worker]) => giveBackScanThread(worker)))
  }

  #handOut(): void {
    for (const [worker, { given }] of this.#threads) {
      while (given.size < AHEAD && this.#waiting.length > 0) this.#give(worker, given, this.#waiting.shift()!)
    }
    const isBehind = this.#waiting.length > this.#waitingPerThread * (this.#threads.size + 1)
    if (isBehind && this.#threads.size < this.#maxThreads && this.#failure === null) this.#start()
  }

  #give(worker: Worker, given: Set<number>, batch: CrewBatch<Place>): void {
    const id = ++this.#lastId
    given.add(id)
    this.#given.set(id, batch)
    this.#send(worker, { kind: 'batch', id, batch: batch.batch })
  }

  #start(): void {
    const worker = takeScanThread()
    const given = new Set<number>()
    const unlisten = listenTo(worker, {
      message: (message) => this.#receive(worker, given, message),
      error: (error) => this.#fail(lost(error)),
      exit: (status) => {
        if (this.#threads.delete(worker)) this.#fail(lost(new Error(`exit ${status}`)))
      },
    })
    this.#threads.set(worker, { given, unlisten })
    this.#send(worker, { kind: 'begin', settings: this.#settings, aborted: this.#aborted })
    this.#handOut()
  }

  #receive(worker: Worker, given: Set<number>, message: ToCrew): void {
    if (!this.#threads.has(worker)) return
    if (message.kind === 'failed') return this.#fail(fromWire(message.error))
    if (message.kind === 'ended') return
    const batch = this.#given.get(message.id)!
    given.delete(message.id)
    this.#given.delete(message.id)
    this.finish(batch, unpackRecords(message.packed))
    this.#handOut()
    this.#wakeUp()
  }

  #fail(error: Error): void {
    this.#failure ??= error
    this.#wakeUp()
  }

  #wakeUp(): void {
    this.#wake?.()
    this.#wake = null
  }

  #send(worker: Worker, message: ToScanThread): void {
    worker.postMessage(message)
  }
}

function part<Place>({ batch, places }: CrewBatch<Place>, start: number, count: number): CrewBatch<Place> {
  const end = start + count
  return {
    batch: {
      directories: batch.directories,
      names: batch.names.slice(start, end),
      directoryOf: batch.directoryOf.slice(start, end),
    },
    places: places.slice(start, end),
  }
}

function lost(cause: unknown): BugError {
  const message = cause instanceof Error ? cause.message : String(cause)
  return new BugError(`Cannot finish the scan: a thread ended: ${message}`, { cause })
}
