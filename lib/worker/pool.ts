/**
 * A pool of ingest threads: heavy work off the thread that coordinates it. Threads are started when first needed, do one
 * job at a time, do not keep the process alive while idle, and are ended by trim.
 */
import type { Worker } from 'node:worker_threads'
import { AbortedError, BugError } from '../errors.js'
import type { IngestHooks } from '../layer/ingest.js'
import type { Job, JobResults } from './jobs.js'
import { startThread } from './threads.js'
import { fromWire, toWire, type WireError } from './wire-error.js'

export type ToThread =
  | { readonly kind: 'job'; readonly job: Job; readonly aborted: SharedArrayBuffer }
  | { readonly kind: 'chunk'; readonly bytes: Uint8Array }
  | { readonly kind: 'end'; readonly error: WireError | null }
  | { readonly kind: 'announced'; readonly error: null; readonly generation: string }
  | { readonly kind: 'announced'; readonly error: WireError }

export type ToPool =
  | { readonly kind: 'progress'; readonly bytes: number }
  | { readonly kind: 'consumed'; readonly bytes: number }
  | { readonly kind: 'recording' | 'recorded' }
  | { readonly kind: 'announce' }
  | { readonly kind: 'done'; readonly result: JobResults[Job['kind']] }
  | { readonly kind: 'failed'; readonly error: WireError }

export interface RunOptions {
  readonly signal: AbortSignal
  readonly onProgress?: (bytes: number) => void
  /** The blob, for jobs that take a stream. */
  readonly stream?: AsyncIterable<Uint8Array>
  /** Told of each further block of the record of an ingest. */
  readonly onRecording?: () => void
  /** Told that the record of an ingest is whole, before it is announced. */
  readonly onRecorded?: () => void
  /** Told what the layer of an ingest does, by those who work where the caller is; instead of `onRecording`. */
  readonly onChanges?: IngestHooks['changes'] | undefined
  /** Carries out `announce` of an ingest; must end when the signal fires. */
  readonly announce?: () => Promise<string>
  /** Called when the job is over, so that a stream that is being waited for ends. */
  readonly onStreamOver?: () => void
}

/** Who carries out jobs. */
export interface JobRunner {
  /** Waits for its turn when there are too many. */
  run<J extends Job>(job: J, options: RunOptions): Promise<JobResults[J['kind']]>
}

const BATCH_BYTES = 1024 * 1024
/** Worth sending to a thread that has nothing to read. */
const SMALL_BATCH_BYTES = 256 * 1024

/** Chunks sent and not read yet are at most this many bytes, plus one chunk. */
const WINDOW_BYTES = 2 * 1024 * 1024

export class WorkerPool implements JobRunner {
  readonly #size: number
  readonly #idle: Worker[] = []
  readonly #all = new Set<Worker>()
  readonly #waiting: ((worker: Worker | null) => void)[] = []
  #closed = false

  constructor(size: number) {
    this.#size = size
  }

  /** Runs a job on a free thread; waits for one when all are busy. */
  async run<J extends Job>(job: J, options: RunOptions): Promise<JobResults[J['kind']]> {
    const worker = await this.#take(options.signal)
    const run = new Run(worker, job, options)
    try {
      // The job's kind decides its result: runJob of jobs.ts is the other side.
      return (await run.result()) as JobResults[J['kind']]
    } finally {
      if (run.threadLost) this.#drop(worker)
      else this.#give(worker)
    }
  }

  /** Starts a thread, so that the next job finds one. */
  warm(): void {
    if (this.#idle.length === 0 && this.#all.size < this.#size && !this.#closed)
      this.#idle.push(this.#start())
  }

  /** Ends the threads that have nothing to do: each holds some 40 MB, and starting one takes some 25 ms. */
  trim(): void {
    for (const worker of this.#idle.splice(0)) this.#drop(worker)
  }

  async close(): Promise<void> {
    this.#closed = true
    for (const wake of this.#waiting.splice(0)) wake(null)
    await Promise.all([...this.#all].map((worker) => worker.terminate()))
    this.#all.clear()
    this.#idle.length = 0
  }

  async #take(signal: AbortSignal): Promise<Worker> {
    if (signal.aborted) throw new AbortedError(undefined, { cause: signal.reason })
    if (this.#closed) throw new BugError('Cannot run a job: the pool is closed')
    const idle = this.#idle.pop()
    if (idle !== undefined) return idle
    if (this.#all.size < this.#size) return this.#start()
    const worker = await this.#waitForFree(signal)
    if (worker !== null) return worker
    throw new AbortedError(undefined, { cause: signal.reason })
  }

  /** Null when the signal fires or the pool is closed first. */
  #waitForFree(signal: AbortSignal): Promise<Worker | null> {
    return new Promise((resolve) => {
      const settle = (worker: Worker | null): void => {
        signal.removeEventListener('abort', abort)
        resolve(worker)
      }
      const abort = (): void => {
        this.#waiting.splice(this.#waiting.indexOf(settle), 1)
        settle(null)
      }
      this.#waiting.push(settle)
      signal.addEventListener('abort', abort, { once: true })
    })
  }

  #start(): Worker {
    const worker = startThread('#ingest')
    worker.unref()
    this.#all.add(worker)
    // Whoever runs a job on it is told; one that ends while it is idle is nobody's any more.
    worker.on('error', () => {})
    worker.once('exit', () => this.#forget(worker))
    return worker
  }

  #forget(worker: Worker): void {
    this.#all.delete(worker)
    const at = this.#idle.indexOf(worker)
    if (at !== -1) this.#idle.splice(at, 1)
  }

  #give(worker: Worker): void {
    worker.unref()
    const next = this.#waiting.shift()
    if (next !== undefined) next(worker)
    else this.#idle.push(worker)
  }

  #drop(worker: Worker): void {
    this.#forget(worker)
    void worker.terminate()
    const next = this.#waiting.shift()
    if (next !== undefined) next(this.#start())
  }
}

/** One job on one thread. */
class Run {
  threadLost = false
  readonly #worker: Worker
  readonly #job: Job
  readonly #options: RunOptions
  readonly #aborted = new SharedArrayBuffer(4)
  #unread = 0
  #finished = false
  #wakePump: (() => void) | null = null

  constructor(worker: Worker, job: Job, options: RunOptions) {
    this.#worker = worker
    this.#job = job
    this.#options = options
  }

  async result(): Promise<JobResults[Job['kind']]> {
    const { signal, stream } = this.#options
    const abort = () => this.#abort()
    this.#worker.ref()
    signal.addEventListener('abort', abort, { once: true })
    try {
      const answer = this.#answer()
      this.#send({ kind: 'job', job: this.#job, aborted: this.#aborted })
      const pump = stream === undefined ? null : this.#pump(stream)
      try {
        return await answer
      } finally {
        this.#finished = true
        this.#wakePump?.()
        this.#options.onStreamOver?.()
        await pump
      }
    } finally {
      signal.removeEventListener('abort', abort)
    }
  }

  #answer(): Promise<JobResults[Job['kind']]> {
    const worker = this.#worker
    return new Promise((resolve, reject) => {
      const settle = (act: () => void) => {
        worker.off('message', onMessage)
        worker.off('error', onError)
        worker.off('exit', onExit)
        act()
      }
      const lost = (cause: unknown) => {
        this.threadLost = true
        const message = cause instanceof Error ? cause.message : String(cause)
        settle(() => reject(new BugError(`Cannot finish a job: its thread ended: ${message}`, { cause })))
      }
      const onError = (error: unknown) => lost(error)
      const onExit = (status: number) => lost(new Error(`exit ${status}`))
      const onMessage = (message: ToPool) => {
        switch (message.kind) {
          case 'progress':
            return this.#options.onProgress?.(message.bytes)
          case 'consumed':
            this.#unread -= message.bytes
            return this.#wakePump?.()
          case 'recording':
            return this.#options.onRecording?.()
          case 'recorded':
            return this.#options.onRecorded?.()
          case 'announce':
            return void this.#announce()
          case 'done':
            return settle(() => resolve(message.result))
          case 'failed':
            return settle(() => reject(fromWire(message.error)))
          default:
            message satisfies never
        }
      }
      worker.on('message', onMessage)
      worker.on('error', onError)
      worker.on('exit', onExit)
    })
  }

  async #announce(): Promise<void> {
    try {
      const { announce } = this.#options
      if (announce === undefined) throw new BugError('Cannot announce a record: nobody said how')
      this.#send({ kind: 'announced', error: null, generation: await announce() })
    } catch (error) {
      this.#send({ kind: 'announced', error: toWire(error) })
    }
  }

  #abort(): void {
    Atomics.store(new Int32Array(this.#aborted), 0, 1)
    // For a thread that waits for the next chunk.
    this.#send({ kind: 'end', error: toWire(new AbortedError()) })
    this.#wakePump?.()
  }

  /** Feeds the blob to the thread, never far ahead of it. Its failure reaches the job, which then fails with it. */
  async #pump(stream: AsyncIterable<Uint8Array>): Promise<void> {
    try {
      for await (const bytes of batches(stream, () => this.#unread === 0)) {
        if (this.#finished) return
        this.#unread += bytes.length
        this.#send({ kind: 'chunk', bytes }, [bytes.buffer])
        while (this.#unread >= WINDOW_BYTES && !this.#finished && !this.#options.signal.aborted)
          await this.#wait()
        if (this.#options.signal.aborted) return
      }
      this.#send({ kind: 'end', error: null })
    } catch (error) {
      this.#send({ kind: 'end', error: toWire(error) })
    }
  }

  #wait(): Promise<void> {
    return new Promise((resolve) => {
      this.#wakePump = () => {
        this.#wakePump = null
        resolve()
      }
    })
  }

  #send(message: ToThread, transfer: ArrayBuffer[] = []): void {
    if (!this.#finished) this.#worker.postMessage(message, transfer)
  }
}

/**
 * The stream in pieces that are worth sending, each in memory of its own. A connection gives some 16 KiB at a time; a thread
 * that is busy takes one piece a turn, and what decompresses beside it stands still when that is used up.
 *
 * @param isIdle whether the thread waits
 */
async function* batches(
  stream: AsyncIterable<Uint8Array>,
  isIdle: () => boolean,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  let batch: Uint8Array<ArrayBuffer> | null = null
  let filled = 0
  for await (const chunk of stream) {
    if (batch === null && chunk.length >= BATCH_BYTES) {
      yield owned(chunk)
      continue
    }
    for (let at = 0; at < chunk.length; ) {
      batch ??= new Uint8Array(BATCH_BYTES)
      const part = chunk.subarray(at, at + BATCH_BYTES - filled)
      batch.set(part, filled)
      at += part.length
      filled += part.length
      if (filled < BATCH_BYTES && !(filled >= SMALL_BATCH_BYTES && isIdle())) continue
      yield filled < BATCH_BYTES ? batch.slice(0, filled) : batch
      batch = null
      filled = 0
    }
  }
  if (batch !== null) yield batch.slice(0, filled)
}

/** The chunk in memory of its own, so that it can be handed over without a copy where it had that already. */
function owned(chunk: Uint8Array): Uint8Array<ArrayBuffer> {
  const whole = chunk.byteOffset === 0 && chunk.byteLength === chunk.buffer.byteLength
  if (whole && chunk.buffer instanceof ArrayBuffer) return new Uint8Array(chunk.buffer)
  return Uint8Array.prototype.slice.call(chunk) as Uint8Array<ArrayBuffer>
}
